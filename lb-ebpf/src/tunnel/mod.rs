//! Taking tunnels off, on a backend: one file a step, in the order of the packet.
//!
//! ```text
//! link   Ethernet and at most two VLAN tags     [eth|tag|tag|outer IP|UDP|inner IP ...]
//! outer  its destination, what it carries                     └────────┘ overhead
//! inner  the header within, and its lengths
//! ecn    the outer congestion mark goes inside  [eth|tag|tag|inner IP ...]
//! ```
//!
//! Hop limits stay as they are: the packet was forwarded once, by the balancer, and taking a tunnel off is no hop (RFC 2003
//! section 3.1).

pub mod ecn;
pub mod inner;
pub mod link;
pub mod outer;
#[cfg(test)]
mod tests;

use lb_common::decap::AddressKey;
use network_types::eth::EtherType;

/// A version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// IPv4 (RFC 791).
    V4,
    /// IPv6 (RFC 8200).
    V6,
}

impl Version {
    /// Its `EtherType` in network byte order.
    #[inline(always)]
    #[must_use]
    pub const fn ether_type(self) -> u16 {
        match self {
            Self::V4 => EtherType::Ipv4 as u16,
            Self::V6 => EtherType::Ipv6 as u16,
        }
    }
}

/// An IPv4 address as a map has it.
#[inline(always)]
const fn mapped(address: &[u8; 4]) -> AddressKey {
    let [a, b, c, d] = crate::cursor::load_u32(address).to_ne_bytes();
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
