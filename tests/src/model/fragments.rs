//! Fragments: the first one of a datagram has the ports, and later ones go where it went.

use std::{cell::RefCell, collections::BTreeMap, net::IpAddr};

use super::ip::Packet;

type Key = (IpAddr, IpAddr, u32, u8);

/// The datagrams whose first fragment was seen.
#[derive(Default)]
pub struct Fragments(RefCell<BTreeMap<Key, (u16, u16)>>);

impl Fragments {
    /// Remembers the ports of a first fragment.
    pub fn teach(&self, packet: &Packet, identification: u32, ports: (u16, u16)) {
        self.0.borrow_mut().insert(key(packet, identification), ports);
    }

    /// The ports of the datagram that a later fragment is of.
    pub fn recall(&self, packet: &Packet, identification: u32) -> Option<(u16, u16)> {
        self.0.borrow().get(&key(packet, identification)).copied()
    }
}

fn key(packet: &Packet, identification: u32) -> Key {
    (packet.source, packet.destination, identification, packet.protocol)
}
