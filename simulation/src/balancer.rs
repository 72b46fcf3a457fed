//! A balancer: a policy that makes weights every second, and the random choice by them.

use std::time::Duration;

use lb_common::slot::BackendIndex;
use lb_userspace::{
    table::{Member as TableMember, Move, changes_among, fill},
    weight::{Cause, ChurnCap, Controller, Law, LawError, Member, Sample, WEIGHT_SCALE, Weights},
};

use crate::{
    backend::Backend,
    random::Stream,
    scenario::Scenario,
    time::{Nanos, SECOND, duration, seconds},
};

/// How weights are made.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a few exist, and none is copied in a run's inner loop")]
pub enum Policy {
    /// All the same, as configured.
    Equal,
    /// In proportion to 1 / latency of the last second: the naive idea, as a negative control.
    Inverse,
    /// The control law.
    Law(Law),
    /// In proportion to the backends' true capacity, which only the simulation knows.
    Oracle,
}

impl Policy {
    /// Its name in tables and files.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Inverse => "naive 1/L",
            Self::Law(_) => "law",
            Self::Oracle => "oracle",
        }
    }
}

/// One balancer.
#[derive(Debug)]
pub struct Balancer {
    policy: Policy,
    controller: Option<Controller>,
    /// Latencies of the last second, for the naive policy: sum in seconds, and number.
    seen: Vec<(f64, u32)>,
    weights: Vec<u32>,
    /// Backends whose slots may move faster.
    urgent: Vec<bool>,
    table: Option<Table>,
    /// Share of each backend.
    shares: Vec<f64>,
    cumulative: Vec<f64>,
    requests: u64,
    begin: Nanos,
}

/// A slot table that moves as the planner would move it.
#[derive(Debug)]
struct Table {
    names: Vec<String>,
    slots: Vec<BackendIndex>,
    /// Until when each slot tracks its flows and does not move again.
    resting: Vec<Nanos>,
    cap: ChurnCap,
    moved: u64,
}

/// How long a slot that moved is left alone: W of the flow table.
const REST: Nanos = 360 * SECOND;
/// Every backend's configured weight.
const CONFIGURED: u32 = 100;

impl Balancer {
    /// A balancer before its first second: equal weights.
    ///
    /// # Errors
    /// Constants of the law that break its rules.
    pub fn new(scenario: &Scenario, policy: Policy) -> Result<Self, LawError> {
        let count = scenario.backends.len();
        let begin = duration(scenario.begin);
        let controller = match policy {
            Policy::Law(law) => Some(Controller::new(law, begin, members(count))?),
            Policy::Equal | Policy::Inverse | Policy::Oracle => None,
        };
        let law = if let Policy::Law(law) = policy { law } else { Law::default() };
        let mut balancer = Self {
            policy,
            controller,
            seen: vec![(0.0, 0); count],
            weights: vec![CONFIGURED * WEIGHT_SCALE; count],
            urgent: vec![false; count],
            table: scenario.slots.map(|slots| Table::new(&law, count, slots)),
            shares: Vec::new(),
            cumulative: Vec::new(),
            requests: 0,
            begin: scenario.begin,
        };
        balancer.share_out();
        Ok(balancer)
    }

    /// The backend of the next request or connection.
    pub fn pick(&mut self, stream: &mut Stream) -> usize {
        let unit = stream.unit();
        if let Some(table) = &self.table {
            let slot = (unit * table.slots.len() as f64) as usize;
            return table.slots.get(slot).map_or(0, |&index| position(index));
        }
        self.cumulative.partition_point(|&upper| upper <= unit).min(self.weights.len() - 1)
    }

    /// Counts a client's request.
    pub const fn count(&mut self) {
        self.requests += 1;
    }

    /// Takes what a request or probe was found to be.
    pub fn observe(&mut self, now: Nanos, backend: usize, latency: Nanos, success: bool) {
        if now < self.begin {
            return;
        }
        if let Some(controller) = &mut self.controller {
            let latency = duration(latency);
            let sample = if success { Sample::success(latency) } else { Sample::error(latency) };
            controller.observe(duration(now), index(backend), sample);
        }
        if let Some((sum, number)) = self.seen.get_mut(backend) {
            *sum += seconds(latency);
            *number += 1;
        }
    }

    /// Whether the policy wants to know of outstanding requests, and from which age, in nanoseconds.
    #[must_use]
    pub fn late_after(&self) -> Option<Nanos> {
        self.controller.as_ref().map(|controller| controller.law().cap.as_nanos() as Nanos)
    }

    /// Takes the ages of a backend's late requests.
    pub fn outstanding(&mut self, now: Nanos, backend: usize, ages: impl Iterator<Item = Nanos>) {
        if let Some(controller) = self.controller.as_mut().filter(|_| now >= self.begin) {
            controller.outstanding(duration(now), index(backend), ages.map(Duration::from_nanos));
        }
    }

    /// A second is over: new weights.
    pub fn tick(&mut self, now: Nanos, backends: &[Backend]) {
        if now < self.begin {
            return;
        }
        self.urgent.fill(false);
        match self.policy {
            Policy::Equal => {}
            Policy::Oracle => {
                let capacities = backends.iter().map(Backend::capacity);
                self.weights =
                    capacities.map(|capacity| (capacity * f64::from(WEIGHT_SCALE)).round() as u32).collect();
            }
            Policy::Inverse => self.invert(),
            Policy::Law(_) => {
                if let Some(weights) = self.step(now) {
                    self.urgent = weights.backends.iter().map(|backend| backend.urgent).collect();
                    self.weights = weights.backends.iter().map(|backend| backend.effective).collect();
                }
            }
        }
        self.seen.fill((0.0, 0));
        if let Some(table) = &mut self.table {
            // The oracle's changes are an operator's.
            let capped = self.policy != Policy::Oracle;
            table.follow(now, &self.weights, &self.urgent, capped);
        }
        self.share_out();
    }

    fn step(&mut self, now: Nanos) -> Option<Weights> {
        let requests = std::mem::take(&mut self.requests);
        let controller = self.controller.as_mut()?;
        controller.requests(requests);
        if let Some(table) = &self.table {
            let counts = table.counts(self.weights.len());
            controller.in_force((0..).zip(counts).map(|(backend, slots)| (index(backend), slots)));
        }
        Some(controller.step(duration(now)))
    }

    /// 1 / latency, scaled to a mean that leaves the integers enough digits.
    fn invert(&mut self) {
        for (weight, &(sum, number)) in self.weights.iter_mut().zip(&self.seen) {
            if number > 0 && sum > 0.0 {
                *weight = (f64::from(WEIGHT_SCALE) * f64::from(number) / sum).round() as u32;
            }
        }
    }

    fn share_out(&mut self) {
        self.shares = if let Some(table) = &self.table {
            let counts = table.counts(self.weights.len());
            counts.iter().map(|&slots| f64::from(slots) / table.slots.len() as f64).collect()
        } else {
            let total: f64 = self.weights.iter().map(|&weight| f64::from(weight)).sum();
            self.weights.iter().map(|&weight| f64::from(weight) / total).collect()
        };
        self.cumulative.clear();
        let mut sum = 0.0;
        for share in &self.shares {
            sum += share;
            self.cumulative.push(sum);
        }
    }

    /// Share of each backend in new requests or connections.
    #[must_use]
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// The controller, when the policy has one.
    #[must_use]
    pub const fn controller(&self) -> Option<&Controller> {
        self.controller.as_ref()
    }

    /// Slots that moved so far.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.table.as_ref().map_or(0, |table| table.moved)
    }
}

impl Table {
    fn new(law: &Law, backends: usize, slots: u32) -> Self {
        let names: Vec<_> = (0..backends).map(name).collect();
        let members = table_members(&names, &vec![CONFIGURED * WEIGHT_SCALE; backends]);
        Self {
            slots: fill(&members, slots),
            resting: vec![0; slots as usize],
            cap: ChurnCap::new(law, slots, Duration::ZERO),
            moved: 0,
            names,
        }
    }

    fn follow(&mut self, now: Nanos, weights: &[u32], urgent: &[bool], capped: bool) {
        let members = table_members(&self.names, weights);
        let rests = |slot: u32| self.resting.get(slot as usize).is_some_and(|&until| until > now);
        let moves = changes_among(&members, &self.slots, |slot| !rests(slot)).moves;
        let is_urgent = |index: BackendIndex| urgent.get(position(index)).is_some_and(|&urgent| urgent);
        let from = |change: &Move| self.slots.get(change.slot as usize).copied().unwrap_or(change.to);
        let (hurried, leisurely): (Vec<_>, Vec<_>) =
            moves.into_iter().partition(|change| is_urgent(change.to) || is_urgent(from(change)));
        let causes =
            if capped { [Cause::UrgentLatency, Cause::Latency] } else { [Cause::Exempt, Cause::Exempt] };
        for (moves, cause) in [hurried, leisurely].iter().zip(causes) {
            let granted = self.cap.take(duration(now), moves.len() as u32, cause);
            for change in moves.iter().take(granted as usize) {
                let place = change.slot as usize;
                if let (Some(slot), Some(rest)) = (self.slots.get_mut(place), self.resting.get_mut(place)) {
                    *slot = change.to;
                    *rest = now + REST;
                }
            }
            self.moved += u64::from(granted);
        }
    }

    fn counts(&self, backends: usize) -> Vec<u32> {
        let mut counts = vec![0; backends];
        for &slot in &self.slots {
            if let Some(count) = counts.get_mut(position(slot)) {
                *count += 1;
            }
        }
        counts
    }
}

fn table_members<'a>(names: &'a [String], weights: &[u32]) -> Vec<TableMember<'a>> {
    let pairs = (0..).zip(names.iter().zip(weights));
    pairs.map(|(backend, (name, &weight))| TableMember { name, index: index(backend), weight }).collect()
}

fn members(count: usize) -> impl Iterator<Item = Member> {
    (0..count).map(|backend| Member { index: index(backend), name: name(backend), weight: CONFIGURED })
}

/// A backend's name; two digits, so that names sort like numbers.
fn name(backend: usize) -> String {
    format!("backend-{:02}", backend + 1)
}

/// A backend's index in the data plane, where 0 names none.
const fn index(backend: usize) -> BackendIndex {
    backend as BackendIndex + 1
}

const fn position(index: BackendIndex) -> usize {
    index as usize - 1
}
