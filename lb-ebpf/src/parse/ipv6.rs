//! IPv6 (RFC 8200) and its extension headers.

use super::{Packet, Part, Transport, l4};
use crate::{
    cursor::{Cursor, load_be16, load_u32, load_u32x4},
    forward::Inner,
    select::Ends6,
};
use lb_common::{counters::PassReason, limits::MAX_EXTENSION_HEADERS};
use network_types::ip::Ipv6Hdr;

/// IP protocol number of `ICMPv6` (RFC 4443).
pub const ICMPV6: u8 = 58;

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
pub fn parse<'p>(cursor: &mut Cursor<'p>) -> Result<Packet<'p, Ends6>, PassReason> {
    let header = cursor.take::<Ipv6Hdr>().ok_or(PassReason::Truncated)?;
    if header.vcf[0] >> 4 != 6 {
        return Err(PassReason::MalformedIp);
    }
    let ends = Ends6 { source: load_u32x4(&header.src_addr), destination: load_u32x4(&header.dst_addr) };
    if is_mapped(ends.destination) {
        return Err(PassReason::NoService);
    }
    let payload = usize::from(load_be16(&header.payload_len));
    let mut walk = Walk { protocol: header.next_hdr, part: Part::Whole };
    let mut length = payload;
    if !carried(walk.protocol) {
        let from = cursor.offset();
        walk = walk_extensions(cursor, walk.protocol)?;
        length = payload.checked_sub(cursor.offset() - from).ok_or(PassReason::MalformedIp)?;
    }
    let Walk { protocol, part } = walk;
    let [high, low, ..] = header.vcf;
    let inner = Inner { ipv6: true, length: payload + Ipv6Hdr::LEN, traffic_class: high << 4 | low >> 4 };
    Ok(Packet { ends, inner, transport: Transport { protocol, cursor: *cursor, length, part } })
}

/// What the walk over extension headers found.
struct Walk {
    protocol: u8,
    part: Part,
}

/// Whether the walk ends here.
#[inline(always)]
const fn carried(protocol: u8) -> bool {
    l4::balanced(protocol) || protocol == ICMPV6
}

/// Whether it is an IPv4 address mapped into IPv6, `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2): it has no place on the wire,
/// and in SERVICES it would name an IPv4 service.
#[inline(always)]
fn is_mapped([first, second, third, _]: [u32; 4]) -> bool {
    third == 0xffff_u32.to_be() && first | second == 0
}

/// The fragment header (RFC 8200 section 4.5).
type FragmentHeader = [u8; 8];

/// Walks extension headers up to a transport header. Behind the fragment header of a later fragment there is none: the
/// walk then ends with the protocol that the fragment header names.
#[inline(always)]
fn walk_extensions(cursor: &mut Cursor<'_>, first: u8) -> Result<Walk, PassReason> {
    let mut walk = Walk { protocol: first, part: Part::Whole };
    for _ in 0..MAX_EXTENSION_HEADERS {
        let units = match walk.protocol {
            next_header::HOP_BY_HOP | next_header::ROUTING | next_header::DESTINATION_OPTIONS => 8,
            next_header::AUTHENTICATION => 4,
            next_header::FRAGMENT => {
                fragment(cursor, &mut walk)?;
                if carried(walk.protocol) || matches!(walk.part, Part::Later(_)) {
                    break;
                }
                continue;
            }
            _ => return Err(PassReason::OtherProtocol),
        };
        let start = cursor.peek::<ExtensionStart>().ok_or(PassReason::Truncated)?;
        // RFC 8200: 8-byte units, not counting the first; RFC 4302: 4-byte units, less 2.
        let length =
            if units == 8 { (usize::from(start[1]) + 1) * 8 } else { (usize::from(start[1]) + 2) * 4 };
        walk.protocol = start[0];
        cursor.skip(length).ok_or(PassReason::MalformedIp)?;
        if carried(walk.protocol) {
            break;
        }
    }
    match walk.protocol {
        protocol if carried(protocol) => Ok(walk),
        next_header::HOP_BY_HOP
        | next_header::ROUTING
        | next_header::DESTINATION_OPTIONS
        | next_header::AUTHENTICATION
        | next_header::FRAGMENT => Err(PassReason::MalformedIp),
        _ => Err(PassReason::OtherProtocol),
    }
}

/// Takes a fragment header. One that is all of its datagram (RFC 6946) changes nothing.
#[inline(always)]
fn fragment(cursor: &mut Cursor<'_>, walk: &mut Walk) -> Result<(), PassReason> {
    let header = cursor.peek::<FragmentHeader>().ok_or(PassReason::Truncated)?;
    cursor.skip(size_of::<FragmentHeader>()).ok_or(PassReason::MalformedIp)?;
    let [next, _, high, low, a, b, c, d] = *header;
    let (offset, more) = (u16::from_be_bytes([high, low]) >> 3, low & 1);
    let identification = load_u32(&[a, b, c, d]);
    walk.protocol = next;
    if offset != 0 {
        walk.part = Part::Later(identification);
    } else if more != 0 {
        walk.part = Part::First(identification);
    }
    Ok(())
}
