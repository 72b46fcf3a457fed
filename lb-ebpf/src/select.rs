//! From a flow to its slot.

use crate::{
    cursor::{load_be16, load_u32, load_u32x4},
    forward::Inner,
};
use lb_common::{
    hash::flow_hash,
    service::{Service, ServiceKey},
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// The third word of an IPv4 address mapped into IPv6, as it lies in memory.
const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

/// What choosing needs of an IP header, the same for both versions.
pub trait Addresses {
    /// The destination as the address of a service.
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey;
    /// The flow's keyed hash; `ports` as made by [`lb_common::hash::ports_word`], `key` gives the key's words
    /// one by one, so that IPv4 loads no more of them than it uses.
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64;
    /// The packet as the inside of a tunnel.
    fn inner(&self) -> Inner;
}

impl Addresses for Ipv4Hdr {
    #[inline(always)]
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey {
        let last = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        // In words: from bytes, LLVM makes the ten leading zeros a call of its memset, byte by byte.
        bytemuck::cast([0, 0, MAPPED_PREFIX, load_u32(&self.dst_addr), last])
    }

    #[inline(always)]
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64 {
        let source = u32::from_le(load_u32(&self.src_addr));
        let destination = u32::from_le(load_u32(&self.dst_addr));
        let words = [source, destination, ports, u32::from(protocol)];
        flow_hash(words, [key(0), key(1), key(2), key(3)])
    }

    #[inline(always)]
    fn inner(&self) -> Inner {
        Inner { ipv6: false, length: usize::from(load_be16(&self.tot_len)), traffic_class: self.tos }
    }
}

impl Addresses for Ipv6Hdr {
    #[inline(always)]
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey {
        ServiceKey { address: self.dst_addr, port, protocol, reserved: 0 }
    }

    #[inline(always)]
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64 {
        let s = load_u32x4(&self.src_addr).map(u32::from_le);
        let d = load_u32x4(&self.dst_addr).map(u32::from_le);
        let words = [s[0], d[0], s[1], d[1], s[2], d[2], s[3], d[3], ports, u32::from(protocol)];
        let key = [key(0), key(1), key(2), key(3), key(4), key(5), key(6), key(7), key(8), key(9)];
        flow_hash(words, key)
    }

    #[inline(always)]
    fn inner(&self) -> Inner {
        let [high, low, ..] = self.vcf;
        let length = usize::from(load_be16(&self.payload_len)) + Self::LEN;
        Inner { ipv6: true, length, traffic_class: high << 4 | low >> 4 }
    }
}

/// Index in SLOTS of the flow's slot.
#[inline(always)]
#[must_use]
pub const fn slot_index(service: &Service, hash: u64) -> u32 {
    service.first_slot + (hash as u32 & service.slot_mask)
}
