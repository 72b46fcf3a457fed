//! From a flow to its slot.

use lb_common::{
    hash::flow_hash,
    nat::ReturnKey,
    service::{Service, ServiceKey},
};

/// Source and destination of a packet, the same for both versions of IP.
pub trait Ends: Copy {
    /// The same for packets that go the other way.
    #[must_use]
    fn reversed(self) -> Self;
    /// The destination as the address of a service.
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey;
    /// The source as an address of the maps.
    fn source(&self) -> [u8; 16];
    /// The source as that of a backend's answer.
    fn return_key(&self, port: [u8; 2], protocol: u8) -> ReturnKey;
    /// The flow's keyed hash; `ports` as made by [`lb_common::hash::ports_word`], `key` gives the key's words
    /// one by one, so that IPv4 loads no more of them than it uses.
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64;
    /// Whether no packet can come from this source (RFC 1122 section 3.2.1.3, RFC 4291 section 2.7): loopback, unspecified,
    /// multicast, broadcast, or the destination itself.
    fn is_martian(&self) -> bool;
}

/// Addresses of an IPv4 packet, as they lie on the wire.
#[derive(Clone, Copy)]
pub struct Ends4 {
    /// The sender.
    pub source: u32,
    /// The receiver.
    pub destination: u32,
}

/// Addresses of an IPv6 packet, as they lie on the wire.
#[derive(Clone, Copy)]
pub struct Ends6 {
    /// The sender.
    pub source: [u32; 4],
    /// The receiver.
    pub destination: [u32; 4],
}

/// The third word of an IPv4 address mapped into IPv6, as it lies in memory.
const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

/// An IPv4 address mapped into IPv6. In words: from bytes, LLVM makes the ten leading zeros a call of its memset.
#[inline(always)]
fn mapped(address: u32) -> [u8; 16] {
    bytemuck::cast([0, 0, MAPPED_PREFIX, address])
}

impl Ends for Ends4 {
    #[inline(always)]
    fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    #[inline(always)]
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey {
        let last = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        bytemuck::cast([0, 0, MAPPED_PREFIX, self.destination, last])
    }

    #[inline(always)]
    fn source(&self) -> [u8; 16] {
        mapped(self.source)
    }

    #[inline(always)]
    fn return_key(&self, port: [u8; 2], protocol: u8) -> ReturnKey {
        let last = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        bytemuck::cast([0, 0, MAPPED_PREFIX, self.source, last])
    }

    #[inline(always)]
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64 {
        let words = [u32::from_le(self.source), u32::from_le(self.destination), ports, u32::from(protocol)];
        flow_hash(words, [key(0), key(1), key(2), key(3)])
    }

    #[inline(always)]
    fn is_martian(&self) -> bool {
        let [first, ..] = self.source.to_ne_bytes();
        first == 0 || first == 127 || first >= 224 || self.source == self.destination
    }
}

impl Ends for Ends6 {
    #[inline(always)]
    fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    #[inline(always)]
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey {
        ServiceKey { address: bytemuck::cast(self.destination), port, protocol, reserved: 0 }
    }

    #[inline(always)]
    fn source(&self) -> [u8; 16] {
        bytemuck::cast(self.source)
    }

    #[inline(always)]
    fn return_key(&self, port: [u8; 2], protocol: u8) -> ReturnKey {
        ReturnKey { address: self.source(), port, protocol, reserved: 0 }
    }

    #[inline(always)]
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64 {
        let s = self.source.map(u32::from_le);
        let d = self.destination.map(u32::from_le);
        let words = [s[0], d[0], s[1], d[1], s[2], d[2], s[3], d[3], ports, u32::from(protocol)];
        let key = [key(0), key(1), key(2), key(3), key(4), key(5), key(6), key(7), key(8), key(9)];
        flow_hash(words, key)
    }

    #[inline(always)]
    fn is_martian(&self) -> bool {
        let [a, b, c, d] = self.source;
        let multicast = a.to_ne_bytes()[0] == 0xff;
        // ::, ::1, and what is left of the IPv4-compatible addresses: nobody sends from there.
        let low = a | b | c == 0 && u32::from_be(d) <= 1;
        multicast || low || self.source == self.destination
    }
}

/// Index in SLOTS of the flow's slot.
#[inline(always)]
#[must_use]
pub const fn slot_index(service: &Service, hash: u64) -> u32 {
    service.first_slot + (hash as u32 & service.slot_mask)
}
