//! The forwarding modes: the frame that leaves for a backend.

pub mod l2_dsr;
pub mod nat;
pub mod tunnel;

use lb_common::{
    backend::{Backend, Forwarding},
    counters::DropReason,
};

use super::{Arrival, ip::Packet, link::Link};

/// Why there is no frame for the backend.
pub enum Refusal {
    /// It is dropped.
    Drop(DropReason),
    /// Only so many bytes fit.
    TooBig(u32),
}

/// The frame for the backend, from the flow's hash and, for an ICMP error, where its quotation has the ports.
pub fn rewrite(
    arrival: Arrival<'_>,
    link: &Link,
    packet: &Packet,
    backend: &Backend,
    (hash, quoted): (u64, Option<usize>),
) -> Result<Vec<u8>, Refusal> {
    if !backend.next_hop.is_resolved() {
        return Err(Refusal::Drop(DropReason::NoNextHop));
    }
    let (kind, above) = match Forwarding::from_number(backend.forwarding) {
        Some(Forwarding::L2Dsr) | None => l2_dsr::above(arrival.frame, link),
        Some(Forwarding::Nat) => nat::above(arrival.frame, link, packet, backend, quoted)?,
        Some(mode) => tunnel::above(arrival.frame, packet, backend, mode, hash)?,
    };
    let frame = [header(link, backend, kind), above].concat();
    if frame.len() > arrival.frame.len() + arrival.headroom {
        return Err(Refusal::Drop(DropReason::NoRoom));
    }
    Ok(frame)
}

/// Addresses, tags and type.
fn header(link: &Link, backend: &Backend, kind: u16) -> Vec<u8> {
    let mut header = [backend.next_hop.mac, backend.departure.mac].concat();
    for (tpid, control) in link.tags_by(backend.departure.vlan) {
        header.extend(tpid.to_be_bytes());
        header.extend(control.to_be_bytes());
    }
    header.extend(kind.to_be_bytes());
    header
}
