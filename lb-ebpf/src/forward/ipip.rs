//! ipip: IPv4 or IPv6 in IPv4 or IPv6 (RFC 2003, RFC 2473, RFC 4213).

use super::Inner;

/// The protocol number of the packet inside: IPv4 (RFC 2003) or IPv6 (RFC 2473).
#[inline(always)]
#[must_use]
pub const fn protocol(inner: &Inner) -> u8 {
    if inner.ipv6 { 41 } else { 4 }
}
