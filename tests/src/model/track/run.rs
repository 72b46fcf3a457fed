//! Runs a trace on a device with the real planner and the real sweep, and watches that no flow changes its backend.

use super::{
    Device, Signal, short,
    trace::{BACKENDS, Shape, Step, Trace, Wish, service_key},
};
use anyhow::{Context as _, Result};
use lb_common::{
    backend::{Departure, Forwarding, LinkAddress},
    hash::expand_key,
    service::service_flags,
    slot::{BackendIndex, NO_BACKEND},
};
use lb_userspace::{
    config::Algorithm,
    dataplane::{Operation, Sizes, Way},
    plan::plan,
    state::{DesiredBackend, DesiredService, Standing},
    tracking::{Census, Now, Sweep},
};
use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    net::IpAddr,
    time::Duration,
};

/// Time before the first step: slots' times of 0 would hide mistakes.
const BOOT: Duration = Duration::from_secs(1_000);
/// A connection whose opening is so slow may be forgotten, and one as slow as the second when the flow table is crowded.
const SLOW_OPENING: [Duration; 2] = [Duration::from_mins(1), Duration::from_secs(10)];
/// A flow that sent a FIN and was quiet for so long may be forgotten.
const CLOSING: Duration = Duration::from_mins(2);

/// Tables of a trace grow to this.
const MOST_SLOTS: u32 = 16_384;

/// Sizes of the maps for a trace.
#[must_use]
pub const fn sizes(shape: &Shape) -> Sizes {
    Sizes { services: 4, backends: 64, slots: 4 * MOST_SLOTS, flows: shape.room }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Packets of flows.
    pub packets: u64,
    /// Of those: checked against the backend that the flow had.
    pub checked: u64,
    /// Of those: for which a flow table was looked at.
    pub lookups: u64,
    /// Slots that were moved.
    pub moved: u64,
    /// Backends that were freed.
    pub freed: u64,
}

/// A flow went to another backend than before, with nothing to excuse it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Position in the trace.
    pub step: usize,
    /// The flow, by number.
    pub flow: usize,
    /// What the packet was.
    pub signal: Signal,
    /// The backend that the flow had, and its generation.
    pub had: (BackendIndex, u32),
    /// Where the packet went.
    pub got: BackendIndex,
    /// Time since the flow's last packet.
    pub gap: Duration,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, flow, signal, had, got, gap } = self;
        write!(f, "step {step}: {signal:?} of flow {flow} went to {got}, the flow was {had:?}'s {gap:?} ago")
    }
}

impl std::error::Error for Broken {}

/// What is known of a flow from outside.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    owner: Option<(BackendIndex, u32)>,
    /// When its last packet came.
    last: Duration,
    opening: bool,
    closing: bool,
    /// Its backend was dead or gone since.
    excused: bool,
}

struct Runner<'d, D> {
    device: &'d mut D,
    shape: Shape,
    secret: [u8; 16],
    now: Duration,
    /// What is wanted of each backend: weight and standing; `None`: it is not there.
    backends: [Option<(u32, Standing)>; BACKENDS],
    algorithm: Algorithm,
    slots: u32,
    evict: BTreeSet<String>,
    sweep: Sweep,
    alive: HashMap<BackendIndex, u32>,
    flows: Vec<Watched>,
    outcome: Outcome,
}

/// Runs the trace. `secret`: of the device's flow hash.
///
/// # Errors
/// [`Broken`] at the first flow that broke, or what the device could not do.
pub fn run<D: Device>(device: &mut D, trace: &Trace, secret: [u8; 16]) -> Result<Outcome> {
    let shape = trace.shape.clone();
    let mut runner = Runner {
        sweep: sweep_of(&shape, secret),
        algorithm: shape.algorithm,
        device,
        shape,
        secret,
        now: BOOT,
        backends: [Some((1, Standing::Serving)), Some((1, Standing::Serving)), None, None, None],
        slots: 64,
        evict: BTreeSet::new(),
        alive: HashMap::new(),
        flows: vec![Watched::default(); trace.flows.len()],
        outcome: Outcome::default(),
    };
    runner.device.set_time(runner.now)?;
    runner.reconcile(usize::MAX)?;
    for (number, step) in trace.steps.iter().enumerate() {
        runner.step(trace, number, step).with_context(|| format!("step {number}: {step:?}"))?;
    }
    runner.outcome.lookups = runner.device.lookups()?;
    Ok(runner.outcome)
}

fn sweep_of(shape: &Shape, secret: [u8; 16]) -> Sweep {
    Sweep::new(short(shape.learn, shape.room), expand_key(secret)).in_steps_of(shape.swept)
}

impl<D: Device> Runner<'_, D> {
    fn step(&mut self, trace: &Trace, number: usize, step: &Step) -> Result<()> {
        match step {
            Step::Advance(by) => {
                self.now += *by;
                self.device.set_time(self.now)?;
            }
            Step::Packet(flow, signal) => {
                let got = self.device.packet(&trace.flows[*flow], *signal)?;
                self.watch(*flow, *signal, got).map_err(|broken| Broken { step: number, ..broken })?;
            }
            Step::Plan(wish) => {
                self.wish(*wish);
                self.reconcile(usize::MAX)?;
            }
            Step::Crash(wish, after) => {
                self.wish(*wish);
                self.reconcile(*after)?;
            }
            Step::Start => {
                self.sweep = sweep_of(&self.shape, self.secret);
                self.reconcile(usize::MAX)?;
            }
            Step::Sweep => self.sweep()?,
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        let progress = self.sweep.tick(self.device, Now::new(self.now))?;
        for operation in &progress.operations {
            self.device.apply(operation)?;
        }
        if progress.settled {
            self.reconcile(usize::MAX)?;
        }
        Ok(())
    }

    /// Plans, and carries out at most so many operations.
    fn reconcile(&mut self, most: usize) -> Result<()> {
        let installed = self.device.installed()?;
        let census: &Census = self.sweep.census();
        let planned = plan(&installed, &[self.desired()], census, Now::new(self.now).seconds())?;
        let down = installed.backends.iter().filter(|have| have.record.next_hop.is_down());
        let mut dead: BTreeSet<_> = down.map(|have| have.index).collect();
        for operation in planned.operations.iter().take(most) {
            match operation {
                Operation::SetDown { index, down: true } => {
                    dead.insert(*index);
                }
                Operation::FreeBackend { index } if !dead.contains(index) => self.nobody_has(*index)?,
                _ => {}
            }
            self.device.apply(operation)?;
            self.outcome.freed += u64::from(matches!(operation, Operation::FreeBackend { .. }));
        }
        if planned.operations.len() <= most {
            self.evict.clear();
        }
        self.outcome.moved += u64::from(planned.report.moved());
        let installed = self.device.installed()?;
        self.sweep.install(&installed);
        let usable = installed.backends.iter().filter(|have| !have.record.next_hop.is_down());
        self.alive = usable.map(|have| (have.index, have.record.generation)).collect();
        for flow in &mut self.flows {
            let alive = |(index, generation)| self.alive.get(&index) == Some(&generation);
            flow.excused |= flow.owner.is_some_and(|owner| !alive(owner));
        }
        Ok(())
    }

    /// Whether a flow's last packet is too long ago for it to be remembered.
    fn is_late(&self, flow: &Watched) -> bool {
        let gap = self.now.saturating_sub(flow.last);
        let crowded = self.flows.len() > self.shape.room as usize / 2;
        let slow = flow.opening && gap >= SLOW_OPENING[usize::from(crowded)];
        gap >= self.shape.learn || slow || flow.closing && gap >= CLOSING
    }

    /// A backend that is freed without being dead has no flows.
    fn nobody_has(&self, index: BackendIndex) -> Result<(), Broken> {
        for (number, flow) in self.flows.iter().enumerate() {
            if let Some(had) = flow.owner
                && had.0 == index
                && !flow.excused
                && !self.is_late(flow)
            {
                let gap = self.now.saturating_sub(flow.last);
                return Err(Broken {
                    step: 0,
                    flow: number,
                    signal: Signal::Data,
                    had,
                    got: NO_BACKEND,
                    gap,
                });
            }
        }
        Ok(())
    }

    /// Looks where a packet of a flow went.
    fn watch(&mut self, number: usize, signal: Signal, got: BackendIndex) -> Result<(), Broken> {
        let flow = self.flows[number];
        let gap = self.now.saturating_sub(flow.last);
        let excused = flow.excused || self.is_late(&flow);
        // It opens a connection, or is a SYN that was sent before a change and again after it.
        let opens = signal == Signal::Opens;
        self.outcome.packets += 1;
        if let Some(had) = flow.owner
            && !excused
            && !opens
        {
            self.outcome.checked += 1;
            if self.alive.get(&got).map(|generation| (got, *generation)) != Some(had) {
                return Err(Broken { step: 0, flow: number, signal, had, got, gap });
            }
        }
        if signal == Signal::Quoted {
            return Ok(());
        }
        let owner = (got != NO_BACKEND).then(|| (got, self.alive.get(&got).copied().unwrap_or_default()));
        self.flows[number] = Watched {
            owner,
            last: self.now,
            opening: signal == Signal::Opens,
            closing: signal == Signal::Closes || flow.closing && signal == Signal::Data,
            excused: owner.is_some_and(|(_, generation)| generation == 0),
        };
        Ok(())
    }

    fn wish(&mut self, wish: Wish) {
        match wish {
            Wish::Weight(number, weight) => {
                let standing = self.backends[number].map_or(Standing::Serving, |(_, standing)| standing);
                self.backends[number] = Some((weight, standing));
            }
            Wish::Weights(weights) => {
                for (number, weight) in weights.into_iter().enumerate() {
                    self.backends[number] = Some((weight, Standing::Serving));
                }
            }
            Wish::Stand(number, standing) => {
                if let Some((_, stands)) = &mut self.backends[number] {
                    *stands = standing;
                }
            }
            Wish::Leave(number, now) => {
                if self.backends[number].take().is_some() && now {
                    self.evict.insert(name(number));
                }
            }
            Wish::Algorithm(algorithm) => self.algorithm = algorithm,
            Wish::Grow => self.slots = (self.slots * 2).min(MOST_SLOTS),
        }
    }

    fn desired(&self) -> DesiredService {
        let backends = (0..).zip(&self.backends);
        let backends = backends.filter_map(|(number, wanted)| wanted.map(|wanted| desired(number, wanted)));
        DesiredService {
            name: "web".to_owned(),
            key: service_key(self.shape.protocol),
            slots: self.slots,
            forwarding: Forwarding::L2Dsr,
            mss: 0,
            flags: flags(self.algorithm),
            algorithm: self.algorithm,
            backends: backends.collect(),
            evict: self.evict.clone(),
        }
    }
}

fn name(number: usize) -> String {
    format!("b{number}")
}

fn desired(number: usize, (weight, standing): (u32, Standing)) -> DesiredBackend {
    let last = number as u8 + 11;
    let way = Way {
        next_hop: LinkAddress::resolved([2, 0, 0, 0, 0, last]),
        departure: Departure { mac: [2, 0, 0, 0, 0, 1], vlan: 0 },
        ifindex: 1,
        mtu: 1500,
    };
    DesiredBackend {
        name: name(number),
        address: IpAddr::from([198, 18, 0, last]),
        weight,
        share: DesiredBackend::whole_share(weight),
        standing,
        port: 0,
        tunnel_source: None,
        way: Some(way),
    }
}

const fn flags(algorithm: Algorithm) -> u16 {
    match algorithm {
        Algorithm::Hash | Algorithm::Maglev => 0,
        Algorithm::RoundRobin { per_client: false } => service_flags::ROUND_ROBIN,
        Algorithm::RoundRobin { per_client: true } => service_flags::ROUND_ROBIN | service_flags::PER_CLIENT,
        Algorithm::LeastConnections => service_flags::LEAST_CONNECTIONS,
    }
}
