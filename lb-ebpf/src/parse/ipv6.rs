//! IPv6 (RFC 8200) and its extension headers.

use super::{Transport, l4};
use crate::cursor::{Cursor, load_be16, load_u32x4};
use lb_common::{counters::PassReason, limits::MAX_EXTENSION_HEADERS};
use network_types::ip::Ipv6Hdr;

/// Next-header numbers of the extension headers (RFC 8200 section 4, RFC 4302).
mod next_header {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The first two bytes that every extension header has: next header and length.
type ExtensionStart = [u8; 2];

/// Takes the IPv6 header and at most [`MAX_EXTENSION_HEADERS`] extension headers off.
#[inline(always)]
pub fn parse<'p>(cursor: &mut Cursor<'p>) -> Result<(&'p Ipv6Hdr, Transport<'p>), PassReason> {
    let header = cursor.take::<Ipv6Hdr>().ok_or(PassReason::Truncated)?;
    if header.vcf[0] >> 4 != 6 {
        return Err(PassReason::MalformedIp);
    }
    if is_mapped(&header.dst_addr) {
        return Err(PassReason::NoService);
    }
    let payload = usize::from(load_be16(&header.payload_len));
    let mut protocol = header.next_hdr;
    let mut walked = 0;
    if !l4::balanced(protocol) {
        (protocol, walked) = walk_extensions(cursor, protocol)?;
    }
    let length = payload.checked_sub(walked).ok_or(PassReason::MalformedIp)?;
    Ok((header, Transport { protocol, cursor: *cursor, length }))
}

/// Whether it is an IPv4 address mapped into IPv6, `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2): it has no place on the wire,
/// and in SERVICES it would name an IPv4 service.
#[inline(always)]
fn is_mapped(address: &[u8; 16]) -> bool {
    let [first, second, third, _] = load_u32x4(address);
    third == 0xffff_u32.to_be() && first | second == 0
}

/// Walks extension headers up to TCP or UDP: its number, and the bytes walked. What follows the last header that is
/// walked is still named: it may be any protocol, only not one more extension header.
#[inline(always)]
fn walk_extensions(cursor: &mut Cursor<'_>, first: u8) -> Result<(u8, usize), PassReason> {
    let mut protocol = first;
    let mut walked = 0;
    for headers in 0..=MAX_EXTENSION_HEADERS {
        let units = match protocol {
            protocol if l4::balanced(protocol) => return Ok((protocol, walked)),
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::DESTINATION_OPTIONS => 8,
            next_header::AUTHENTICATION => 4,
            next_header::FRAGMENT => return Err(PassReason::Fragment),
            _ => return Err(PassReason::OtherProtocol),
        };
        if headers == MAX_EXTENSION_HEADERS {
            break;
        }
        let start = cursor.peek::<ExtensionStart>().ok_or(PassReason::Truncated)?;
        // RFC 8200: 8-byte units, not counting the first; RFC 4302: 4-byte units, less 2.
        let length =
            if units == 8 { (usize::from(start[1]) + 1) * 8 } else { (usize::from(start[1]) + 2) * 4 };
        protocol = start[0];
        cursor.skip(length);
        walked += length;
    }
    Err(PassReason::MalformedIp)
}
