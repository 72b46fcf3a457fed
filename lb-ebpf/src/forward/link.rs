//! The link-layer header of a frame that changes its length on the way.

use crate::{
    cursor::Writer,
    parse::eth::{Network, Tags},
};
use lb_common::backend::{Departure, LinkAddress};

/// IPv4 and IPv6 as Ethernet types in wire order.
const fn ether_type(network: Network) -> [u8; 2] {
    match network {
        Network::Ipv4 => [0x08, 0x00],
        Network::Ipv6 => [0x86, 0xdd],
    }
}

/// Writes Ethernet header and tags. `None`: the frame is too short.
#[inline(always)]
#[must_use]
pub fn write(
    frame: &mut Writer<'_>,
    next_hop: LinkAddress,
    departure: Departure,
    tags: &Tags,
    network: Network,
) -> Option<()> {
    *frame.take::<[u8; 6]>()? = next_hop.mac;
    *frame.take::<[u8; 6]>()? = departure.mac;
    for (index, tag) in tags.tags.iter().enumerate() {
        if index < tags.count {
            *frame.take::<[u8; 4]>()? = *tag;
        }
    }
    *frame.take::<[u8; 2]>()? = ether_type(network);
    Some(())
}
