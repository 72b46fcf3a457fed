//! Flow tracking in plain Rust, and the traces that it is driven with: packets of many flows, changes, sweeps and
//! crashes in any order, on a clock that stands still until it is told.
//!
//! * [`trace`]: steps, made from a seed and a shape; knows no maps
//! * [`Device`]: what a trace is run against: the maps with packets. [`packets::Model`] is one, in memory
//! * [`both::Both`]: the model and the program in the kernel side by side, which must agree at every step
//! * [`run`]: runs a trace on a device with the real planner and the real sweep, and watches every flow

pub mod both;
pub mod packets;
pub mod run;
pub mod trace;

use anyhow::Result;
use lb_common::{
    flow::{FlowKeyV4, FlowKeyV6},
    hash::ports_word,
    service::ServiceKey,
    slot::BackendIndex,
};
use lb_userspace::{
    config::Tracking,
    dataplane::{Dataplane, FlowKey, FlowTable},
};
use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// What a packet says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A SYN without ACK, or a QUIC Initial.
    Opens,
    /// A FIN or RST.
    Closes,
    /// Anything else of the flow.
    Data,
    /// An ICMP error that quotes a packet of the flow, or a later fragment.
    Quoted,
}

/// A flow, as its packets show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// Where its packets come from.
    pub client: SocketAddr,
    /// Where they go: never port 0.
    pub service: ServiceKey,
}

impl Flow {
    /// Both ports as the hash and the flow tables take them.
    #[must_use]
    pub fn ports(&self) -> u32 {
        let [a, b] = self.client.port().to_be_bytes();
        let [c, d] = self.service.port;
        ports_word([a, b, c, d])
    }

    /// The flow's key, to a service with this identifier.
    #[must_use]
    pub fn key(&self, service: u32) -> FlowKey {
        let ports = self.ports();
        match self.client.ip() {
            IpAddr::V4(source) => FlowKey::V4(FlowKeyV4 { source: source.octets(), ports, service }),
            IpAddr::V6(source) => FlowKey::V6(FlowKeyV6 { source: source.octets(), ports, service }),
        }
    }
}

/// The maps with packets: in memory, or the program in the kernel.
pub trait Device: Dataplane + FlowTable {
    /// Sends a packet; gives the index of the backend that it is forwarded to, 0 when it is dropped.
    fn packet(&mut self, flow: &Flow, signal: Signal) -> Result<BackendIndex>;

    /// Sets `CLOCK_MONOTONIC` for the packets to come.
    fn set_time(&mut self, since_boot: Duration) -> Result<()>;

    /// Packets so far for which a flow table was looked at.
    fn lookups(&self) -> Result<u64>;
}

/// A configuration's `learn`, `learn_udp`, `idle` and `flows`, short enough for tests.
#[must_use]
pub const fn short(learn: Duration, flows: u32) -> Tracking {
    Tracking { flows, learn, learn_udp: learn, idle: Duration::from_hours(1) }
}
