//! gue: generic UDP encapsulation, variant 1 (draft-ietf-intarea-gue-09 section 4): the IP packet follows the
//! UDP header directly, told by its version nibble.
//!
//! The UDP checksum is 0: always allowed over IPv4 (RFC 768), and over IPv6 for tunnels (RFC 6935), where the
//! receiver must allow it (`ip fou ... ` with `udp6zerocsumrx`; `xdp-lb decap` does).

use crate::cursor::store_words;
use lb_common::backend::Backend;

/// Lowest source port: the dynamic ports of RFC 6335, 14 bits of entropy.
const FIRST_SOURCE_PORT: u32 = 0xc000;
/// Bytes of the UDP header.
pub const HEADER: usize = 8;

/// Writes the UDP header. `inner`: bytes behind it.
#[inline(always)]
pub fn write(header: &mut [u8; HEADER], backend: &Backend, inner: usize, hash: u64) {
    let source = FIRST_SOURCE_PORT | (hash >> 50) as u32;
    let destination = u16::from_be_bytes(backend.port) as u32;
    let length = (inner + HEADER) as u32 & 0xffff;
    store_words(header, [source << 16 | destination, length << 16]);
}
