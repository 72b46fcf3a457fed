//! Ethernet II with at most two VLAN tags (IEEE 802.1Q), which stay on the frame.

use super::Version;
use crate::cursor::Cursor;
use lb_common::decap::DecapVerdict;
use network_types::eth::{EthHdr, EtherType};

/// A VLAN tag behind its `EtherType`: the tag's control information, and the next `EtherType`.
type Tag = [u16; 2];

/// The link-layer headers of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// What follows them.
    pub version: Version,
    /// Number of VLAN tags, at most 2.
    pub tags: usize,
}

/// Takes the Ethernet header and its tags off.
#[inline(always)]
pub fn parse(cursor: &mut Cursor<'_>) -> Result<Link, DecapVerdict> {
    let header = cursor.take::<EthHdr>().ok_or(DecapVerdict::Truncated)?;
    // The group bit: RFC 1122 section 3.3.6 wants unicast datagrams in link-layer broadcasts discarded, which is the
    // kernel's to do while it still sees the outer packet.
    if header.dst_addr[0] & 1 != 0 {
        return Err(DecapVerdict::GroupAddressed);
    }
    let mut ether_type = header.ether_type;
    let mut tags = 0;
    for _ in 0..2 {
        if ether_type != EtherType::Ieee8021q as u16 && ether_type != EtherType::Ieee8021ad as u16 {
            break;
        }
        ether_type = cursor.take::<Tag>().ok_or(DecapVerdict::Truncated)?[1];
        tags += 1;
    }
    let version = match ether_type {
        kind if kind == EtherType::Ipv4 as u16 => Version::V4,
        kind if kind == EtherType::Ipv6 as u16 => Version::V6,
        _ => return Err(DecapVerdict::NotIp),
    };
    Ok(Link { version, tags })
}
