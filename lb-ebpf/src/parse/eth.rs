//! Ethernet II (IEEE 802.3).

use crate::cursor::Cursor;
use lb_common::counters::PassReason;
use network_types::eth::{EthHdr, EtherType};

/// What follows the Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 (RFC 894).
    Ipv4,
    /// IPv6 (RFC 2464).
    Ipv6,
}

/// Takes the Ethernet header off and names the layer above it.
#[inline(always)]
pub fn parse(cursor: &mut Cursor<'_>) -> Result<Network, PassReason> {
    let header = cursor.take::<EthHdr>().ok_or(PassReason::Truncated)?;
    // The group bit: RFC 1122 section 3.3.6 wants unicast datagrams in link-layer broadcasts left alone, and a balancer
    // that forwarded them would answer once for every balancer on the segment.
    if header.dst_addr[0] & 1 != 0 {
        return Err(PassReason::GroupAddressed);
    }
    match header.ether_type {
        kind if kind == EtherType::Ipv4 as u16 => Ok(Network::Ipv4),
        kind if kind == EtherType::Ipv6 as u16 => Ok(Network::Ipv6),
        _ => Err(PassReason::NotIp),
    }
}
