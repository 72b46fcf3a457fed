//! Ethernet and up to two VLAN tags.

use lb_common::counters::PassReason;

use super::wire::{byte, number};

/// A tag: its protocol identifier, then priority and VLAN.
pub type Tag = (u16, u16);

/// What is in front of the IP packet.
#[derive(Clone, Debug)]
pub struct Link {
    /// Outermost first.
    pub tags: Vec<Tag>,
    /// Whether IPv6 follows, and not IPv4.
    pub ipv6: bool,
    /// Where the IP packet starts.
    pub end: usize,
}

const ADDRESSES: usize = 12;
/// IEEE 802.1Q and 802.1ad.
const TPIDS: [u16; 2] = [0x8100, 0x88a8];

/// Reads it.
pub fn read(frame: &[u8]) -> Result<Link, PassReason> {
    let truncated = PassReason::Truncated;
    let mut at = ADDRESSES;
    let mut kind = number(frame, at).ok_or(truncated)?;
    if byte(frame, 0).is_some_and(|first| first % 2 == 1) {
        return Err(PassReason::GroupAddressed);
    }
    let mut tags = Vec::new();
    while tags.len() < 2 && TPIDS.contains(&kind) {
        // Tag and the type behind it come together or not at all.
        let (control, next) = number(frame, at + 2).zip(number(frame, at + 4)).ok_or(truncated)?;
        tags.push((kind, control));
        (kind, at) = (next, at + 4);
    }
    let ipv6 = match kind {
        0x0800 => false,
        0x86dd => true,
        _ => return Err(PassReason::NotIp),
    };
    Ok(Link { tags, ipv6, end: at + 2 })
}

impl Link {
    /// The tags of the frame when it leaves by an interface of `vlan`: that one alone, with the outer tag's priority. 0: as
    /// they came.
    #[must_use]
    pub fn tags_by(&self, vlan: u16) -> Vec<Tag> {
        if vlan == 0 {
            return self.tags.clone();
        }
        let priority = self.tags.first().map_or(0, |(_, control)| control >> 12);
        vec![(TPIDS[0], priority << 12 | vlan)]
    }
}
