//! The outer IP header of a tunnel.
//!
//! DSCP and ECN are those of the inner packet (RFC 2983 uniform model; RFC 6040 section 4.1, normal mode). The
//! outer IPv4 packet is atomic (RFC 6864): DF set, identification 0, because the balancer answers packets that do
//! not fit itself. The hop limit is of the tunnel's own.

use super::{
    Inner,
    checksum::{fold, halves},
};
use crate::cursor::{load_u32, load_u32x4, store_words};
use lb_common::backend::Backend;

/// Hops that a tunnel packet may take, as RFC 1700 recommends for any packet.
const HOP_LIMIT: u32 = 64;
/// "Don't fragment" in the second word of an IPv4 header.
const DONT_FRAGMENT: u32 = 0x4000;

/// Bits of the flow hash that vary the source address: not those that choose the slot, so that one backend's
/// flows still spread over its receive queues.
#[inline(always)]
const fn varied(hash: u64, bits: u8) -> u32 {
    let bits = if bits > 32 { 32 } else { bits };
    (hash >> 32) as u32 & ((1u64 << bits) - 1) as u32
}

/// Writes an outer IPv4 header (RFC 791). `payload`: bytes behind it; `protocol`: what they are.
#[inline(always)]
pub fn write_v4(
    header: &mut [u8; 20],
    backend: &Backend,
    inner: &Inner,
    payload: usize,
    protocol: u8,
    hash: u64,
) {
    let [.., source] = load_u32x4(&backend.tunnel_source);
    let [.., destination] = load_u32x4(&backend.address);
    let source = u32::from_be(source) | varied(hash, backend.source_bits);
    let destination = u32::from_be(destination);
    let length = (payload + header.len()) as u32 & 0xffff;
    let first = 0x4500_0000 | (inner.traffic_class as u32) << 16 | length;
    let time = HOP_LIMIT << 24 | (protocol as u32) << 16;
    let sum = halves(first) + DONT_FRAGMENT + halves(time) + halves(source) + halves(destination);
    let checksum = !fold(sum) as u32 & 0xffff;
    store_words(header, [first, DONT_FRAGMENT, time | checksum, source, destination]);
}

/// Writes an outer IPv6 header (RFC 8200); its flow label is made of the flow hash (RFC 6438).
#[inline(always)]
pub fn write_v6(
    header: &mut [u8; 40],
    backend: &Backend,
    inner: &Inner,
    payload: usize,
    protocol: u8,
    hash: u64,
) {
    let source = load_u32x4(&backend.tunnel_source).map(u32::from_be);
    let destination = load_u32x4(&backend.address).map(u32::from_be);
    let label = (hash >> 40) as u32 & 0x000f_ffff;
    let first = 6 << 28 | (inner.traffic_class as u32) << 20 | label;
    let second = (payload as u32 & 0xffff) << 16 | (protocol as u32) << 8 | HOP_LIMIT;
    let varied = source[3] | varied(hash, backend.source_bits);
    let [d0, d1, d2, d3] = destination;
    store_words(header, [first, second, source[0], source[1], source[2], varied, d0, d1, d2, d3]);
}

/// Whether the outer packet is IPv6: as the backend's address is.
#[inline(always)]
#[must_use]
pub fn is_v6(backend: &Backend) -> bool {
    let [a, b, c, _] = load_u32x4(&backend.address);
    // ::ffff:0:0/96
    a | b != 0 || c != load_u32(&[0, 0, 0xff, 0xff])
}
