//! The kernel's routing, as the balancer's namespace of a test has it: asked for the way of an answer.

use std::{collections::BTreeMap, net::IpAddr};

/// Routes of a namespace. What is in none of them has no route.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// The namespace's own addresses, anycast and broadcast ones included: nothing is routed to them.
    pub own: Vec<IpAddr>,
    /// Prefixes on the link that frames come in by.
    pub here: Vec<(IpAddr, u32)>,
    /// Prefixes behind another interface.
    pub elsewhere: Vec<(IpAddr, u32)>,
    /// Prefixes whose route says unreachable.
    pub unreachable: Vec<(IpAddr, u32)>,
    /// MAC addresses of neighbours that are known on the link.
    pub neighbours: BTreeMap<IpAddr, [u8; 6]>,
    /// The MAC address of the interface that frames come in by.
    pub mac: [u8; 6],
    /// Bytes of an IP packet that fit, on every interface.
    pub mtu: usize,
}

/// Where an answer goes (docs/decisions/0009-the-way-back.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Back out, to this neighbour.
    Here([u8; 6]),
    /// Where the kernel brings it.
    Kernel,
    /// Nowhere: the kernel tells the sender.
    Refused,
}

impl Routes {
    /// The way of a packet of `length` bytes; `whole`: nobody may fragment it.
    #[must_use]
    pub fn find(&self, to: IpAddr, length: usize, whole: bool) -> Way {
        let among =
            |prefixes: &[(IpAddr, u32)]| prefixes.iter().any(|&(prefix, bits)| within(to, prefix, bits));
        if self.own.contains(&to) {
            return Way::Kernel;
        }
        if among(&self.unreachable) {
            return Way::Refused;
        }
        let (here, elsewhere) = (among(&self.here), among(&self.elsewhere));
        if (here || elsewhere) && length > self.mtu {
            return if whole { Way::Refused } else { Way::Kernel };
        }
        let neighbour = self.neighbours.get(&to).filter(|_| here);
        neighbour.map_or(Way::Kernel, |&mac| Way::Here(mac))
    }
}

fn within(address: IpAddr, prefix: IpAddr, bits: u32) -> bool {
    match (address, prefix) {
        (IpAddr::V4(address), IpAddr::V4(prefix)) => {
            (address.to_bits() ^ prefix.to_bits()).leading_zeros() >= bits
        }
        (IpAddr::V6(address), IpAddr::V6(prefix)) => {
            (address.to_bits() ^ prefix.to_bits()).leading_zeros() >= bits
        }
        _ => false,
    }
}
