//! A balancer with one service `pool`, whose backends are `b1`, `b2` and so on, and the packets of its clients.

use std::{fmt::Write as _, net::SocketAddr};

use lb_common::{
    flow::{FlowClass, FlowEntry, Tick, TrackStats},
    service::{TCP, UDP},
    slot::{BackendIndex, Slot},
};
use lb_tests::fixture::{
    balancer::{Balancer, LOOPBACK, flow_hash_of, way},
    frame::{Frame, Packet, tcp_flags},
};
use lb_userspace::dataplane::{FlowCursor, FlowKey, FlowTable as _, Operation};

/// When the tests begin.
pub const START: Tick = 1_000_000;
/// Slots of the service.
pub const SLOTS: u32 = 64;

/// The balancer and what its clock shows.
pub struct Site {
    pub balancer: Balancer,
    pub vip: SocketAddr,
    protocol: u8,
    now: Tick,
}

/// What a packet does to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sends {
    Syn,
    Data,
    Fin,
    Rst,
}

impl Site {
    /// A service of `protocol` with backends of these weights; `keys`: more lines of its table. `daemon`: of the daemon's.
    pub fn new(vip: &str, protocol: u8, weights: &[u32], keys: &str, daemon: &str) -> Self {
        let vip: SocketAddr = vip.parse().unwrap();
        let name = if protocol == TCP { "tcp" } else { "udp" };
        let mut text = format!(
            "{daemon}\n[[service]]\nname = \"pool\"\naddress = \"{vip}\"\nprotocol = \"{name}\"\nslots = {SLOTS}\n{keys}\n"
        );
        let mut ways = Vec::new();
        for (number, weight) in (1u8..).zip(weights) {
            let address =
                if vip.is_ipv6() { format!("2001:db8:18::{number}") } else { format!("198.18.1.{number}") };
            text.push_str("[[service.backend]]\n");
            writeln!(text, "name = \"b{number}\"\naddress = \"{address}\"\nweight = {weight}").unwrap();
            ways.push(way(address.parse().unwrap(), [2, 0, 0, 0, 1, number], [2, 0, 0, 0, 0, 1], LOOPBACK));
        }
        let balancer = Balancer::load_at(&text, &ways, START).unwrap();
        Self { balancer, vip, protocol, now: START }
    }

    /// Time goes on.
    pub fn wait(&mut self, ticks: Tick) {
        self.now += ticks;
        self.balancer.set_clock(self.now).unwrap();
    }

    /// The client of this number.
    pub fn client(&self, number: u32) -> SocketAddr {
        let [_, a, b, c] = number.to_be_bytes();
        let port = 10_000 + (number % 50_000) as u16;
        match self.vip {
            SocketAddr::V4(_) => SocketAddr::from(([10, a, b, c], port)),
            SocketAddr::V6(_) => SocketAddr::from((
                [0x2001, 0xdb8, 0x99, 0, 0, 0, u16::from(a), u16::from_be_bytes([b, c])],
                port,
            )),
        }
    }

    /// A packet of a client.
    pub fn packet(&self, client: SocketAddr, sends: Sends) -> Packet {
        let packet = Packet::of(self.protocol, client, self.vip);
        if self.protocol == UDP {
            return packet.payload(b"datagram");
        }
        packet.flags(match sends {
            Sends::Syn => tcp_flags::SYN,
            Sends::Data => tcp_flags::ACK,
            Sends::Fin => tcp_flags::FIN | tcp_flags::ACK,
            Sends::Rst => tcp_flags::RST,
        })
    }

    /// The name of the backend that gets a frame; `None`: it is dropped.
    pub fn run(&self, frame: &Frame) -> Option<String> {
        let ran = self.balancer.run(frame).unwrap();
        (ran.action != "drop").then(|| self.balancer.receiver("pool", &ran.frame).unwrap())
    }

    /// The name of the backend that gets a packet of the client's.
    pub fn send(&self, client: SocketAddr, sends: Sends) -> String {
        self.run(&self.packet(client, sends).frame()).unwrap()
    }

    /// The index of a backend.
    pub fn index(&self, name: &str) -> BackendIndex {
        self.balancer.backend("pool", name).unwrap().index
    }

    /// The slot of a client's flow, as an index in SLOTS.
    pub fn slot_of(&self, client: SocketAddr) -> u32 {
        let record = self.balancer.service("pool").unwrap().record;
        let hash = flow_hash_of(client, self.vip, self.protocol).unwrap();
        record.first_slot + (hash as u32 & record.slot_mask)
    }

    /// Writes the slot of a client's flow.
    pub fn set_slot(&mut self, client: SocketAddr, slot: Slot) {
        let slots = vec![(self.slot_of(client), slot)];
        self.balancer.apply(&Operation::SetSlots { service: "pool".to_owned(), slots }).unwrap();
    }

    /// Writes all slots.
    pub fn set_slots(&mut self, slot: Slot) {
        let first = self.balancer.service("pool").unwrap().record.first_slot;
        let slots = (first..first + SLOTS).map(|index| (index, slot)).collect();
        self.balancer.apply(&Operation::SetSlots { service: "pool".to_owned(), slots }).unwrap();
    }

    /// The flow tables' entries.
    pub fn entries(&mut self) -> Vec<(FlowKey, FlowEntry)> {
        let (mut all, mut from) = (Vec::new(), None::<FlowCursor>);
        loop {
            let batch = self.balancer.kernel().flows(from, 1000).unwrap();
            all.extend(batch.entries);
            from = batch.next;
            if from.is_none() {
                return all;
            }
        }
    }

    /// Class of the only entry.
    pub fn class(&mut self) -> u16 {
        let entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].1.owner.class
    }

    /// What the flow table did for the service.
    pub fn stats(&mut self) -> TrackStats {
        let id = self.balancer.service("pool").unwrap().record.id;
        self.balancer.kernel().track_stats(id).unwrap()
    }
}

/// The number of a class in an entry.
pub const fn number(class: FlowClass) -> u16 {
    class as u16
}
