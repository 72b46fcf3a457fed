//! The model and the real program side by side: the same operations, packets and sweeps on both, and an error at the first
//! difference.

use super::{Device, Flow, Signal, packets::Model};
use crate::{
    bed::Pins,
    fixture::{
        balancer::HASH_KEY,
        frame::{Frame, Packet, icmp, tcp_flags},
    },
};
use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{Array, Map, MapData},
    programs::{TestRun as _, TestRunOptions},
};
use lb_common::{
    backend::LinkAddress,
    flow::{FlowEntry, Overflow, TICK_SHIFT, Tick},
    meta::features,
    service::TCP,
    slot::{BackendIndex, NO_BACKEND},
};
use lb_userspace::dataplane::{
    Dataplane, Error, FlowBatch, FlowCursor, FlowKey, FlowTable, Installed, Operation, Sizes,
    loader::{self, Loaded, Specialisation},
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// All that a trace can ask of the program.
const FEATURES: u32 = features::UDP
    | features::ROUND_ROBIN
    | features::PER_CLIENT
    | features::LEAST_CONNECTIONS
    | features::TEST_CLOCK;
/// `XDP_DROP`.
const DROP: u32 = 1;
/// Bytes of a datagram that can be a QUIC Initial.
const INITIAL: usize = 1200;

/// Both.
pub struct Both {
    model: Model,
    program: Loaded,
    clock: Array<MapData, u64>,
    // Last, so that the maps are closed before their pins go.
    _pins: Pins,
}

impl Both {
    /// Empty maps, in memory and in the kernel.
    pub fn new(sizes: Sizes) -> Result<Self> {
        let pins = Pins::new()?;
        let wanted = Specialisation { features: FEATURES, log_level: 0, answer_rate: 0, hash_key: HASH_KEY };
        let program = loader::load(&pins.dir(), sizes, wanted)?;
        let clock = MapData::from_pin(pins.dir().join("CLOCK"))?;
        let clock = Array::try_from(Map::Array(clock))?;
        Ok(Self { model: Model::new(sizes, HASH_KEY), program, clock, _pins: pins })
    }

    /// The backend that the program sends the packet to, by the MAC address that [`named`] gave it.
    fn run(&self, flow: &Flow, signal: Signal) -> Result<BackendIndex> {
        let frame = frame_of(flow, signal).0;
        let mut out = vec![0; frame.len() + 64];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut out),
            repeat: 1,
            ..TestRunOptions::default()
        };
        let ran = self.program.program.test_run(options)?;
        if ran.return_value == DROP {
            return Ok(NO_BACKEND);
        }
        Ok(BackendIndex::from_be_bytes([out[4], out[5]]))
    }

    /// All entries of both flow tables are the same.
    fn compare_entries(&mut self) -> Result<()> {
        let in_memory = entries(&mut self.model)?;
        let in_kernel = entries(&mut self.program.kernel)?;
        ensure!(in_memory == in_kernel, "flow tables differ: model {in_memory:?}, program {in_kernel:?}");
        Ok(())
    }
}

fn entries(table: &mut impl FlowTable) -> Result<BTreeMap<FlowKey, FlowEntry>, Error> {
    let (mut all, mut from) = (BTreeMap::new(), None);
    loop {
        let FlowBatch { entries, next } = table.flows(from, 256)?;
        all.extend(entries);
        from = next;
        if from.is_none() {
            return Ok(all);
        }
    }
}

fn frame_of(flow: &Flow, signal: Signal) -> Frame {
    let vip = SocketAddr::new(flow.service.ip(), flow.service.port());
    let packet = Packet::of(flow.service.protocol, flow.client, vip);
    let tcp = flow.service.protocol == TCP;
    match signal {
        Signal::Quoted => icmp::error(flow.client.ip(), &packet, [3, 4], [0; 4], 60).frame(),
        Signal::Opens if tcp => packet.flags(tcp_flags::SYN).frame(),
        Signal::Opens => {
            let mut initial = vec![0xc0, 0, 0, 0, 1];
            initial.resize(INITIAL, 0);
            packet.payload(&initial).frame()
        }
        Signal::Closes if tcp => packet.flags(tcp_flags::FIN | tcp_flags::ACK).frame(),
        Signal::Closes => packet.payload(b"the last").frame(),
        Signal::Data if tcp => packet.flags(tcp_flags::ACK).frame(),
        Signal::Data => packet.payload(b"datagram").frame(),
    }
}

/// The operation with MAC addresses that name the backend's index.
fn named(operation: &Operation) -> Operation {
    let mac = |index: BackendIndex, address: LinkAddress| {
        let [high, low] = index.to_be_bytes();
        LinkAddress { mac: [2, 0, 0, 0, high, low], ..address }
    };
    let mut operation = operation.clone();
    match &mut operation {
        Operation::AddBackend(backend) => {
            backend.record.next_hop = mac(backend.index, backend.record.next_hop);
        }
        Operation::SetWay { index, way } => way.next_hop = mac(*index, way.next_hop),
        _ => {}
    }
    operation
}

fn differs(what: &str) -> Error {
    Error::Machine(format!("model and program differ: {what}"))
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, model: &T, program: T) -> Result<T, Error> {
    if *model == program { Ok(program) } else { Err(differs(&format!("{what}: {model:?}, {program:?}"))) }
}

impl Device for Both {
    fn packet(&mut self, flow: &Flow, signal: Signal) -> Result<BackendIndex> {
        let expected = self.model.packet(flow, signal_of(flow, signal))?;
        let got = self.run(flow, signal)?;
        ensure!(
            expected == got,
            "{signal:?} of {flow:?} goes to {expected} in the model, to {got} in the program"
        );
        Ok(got)
    }

    fn set_time(&mut self, since_boot: Duration) -> Result<()> {
        self.model.set_time(since_boot)?;
        let tick = (since_boot.as_nanos() >> TICK_SHIFT) as Tick;
        self.clock.set(0, u64::from(tick), 0).context("cannot set the clock")
    }

    fn lookups(&self) -> Result<u64> {
        let lookups = self.program.kernel.track_stats(0)?.lookups;
        ensure!(lookups == self.model.lookups()?, "{lookups} look-ups instead of {}", self.model.lookups()?);
        Ok(lookups)
    }
}

/// Of UDP nothing tells an end.
fn signal_of(flow: &Flow, signal: Signal) -> Signal {
    if signal == Signal::Closes && flow.service.protocol != TCP { Signal::Data } else { signal }
}

impl Dataplane for Both {
    fn installed(&self) -> Result<Installed, Error> {
        same("the maps", &self.model.installed()?, self.program.kernel.installed()?)
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        let operation = named(operation);
        self.model.apply(&operation)?;
        self.program.kernel.apply(&operation)
    }
}

impl FlowTable for Both {
    fn flows(&mut self, from: Option<FlowCursor>, at_most: usize) -> Result<FlowBatch, Error> {
        self.compare_entries().map_err(|error| differs(&error.to_string()))?;
        self.program.kernel.flows(from, at_most)
    }

    fn forget(&mut self, keys: &[FlowKey]) -> Result<(), Error> {
        self.model.forget(keys)?;
        self.program.kernel.forget(keys)
    }

    fn overflow(&self, slot: u32) -> Result<Overflow, Error> {
        same("a mark", &self.model.overflow(slot)?, self.program.kernel.overflow(slot)?)
    }

    fn live(&self, backend: BackendIndex) -> Result<u64, Error> {
        same("live flows", &self.model.live(backend)?, self.program.kernel.live(backend)?)
    }

    fn add_live(&mut self, backend: BackendIndex, by: i64) -> Result<(), Error> {
        self.model.add_live(backend, by)?;
        self.program.kernel.add_live(backend, by)
    }
}
