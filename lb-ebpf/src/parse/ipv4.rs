//! IPv4 (RFC 791).

use super::{Packet, Part, Transport, l4};
use crate::{
    cursor::{Cursor, load_be16, load_u32},
    forward::Inner,
    select::Ends4,
};
use lb_common::counters::PassReason;
use network_types::ip::Ipv4Hdr;

/// The flag that more fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;
/// Where in the datagram the fragment belongs, in units of 8 bytes.
const OFFSET_MASK: u16 = 0x1fff;
/// IP protocol number of ICMP (RFC 792).
pub const ICMP: u8 = 1;

/// Takes the IPv4 header and its options off.
#[inline(always)]
pub fn parse<'p>(cursor: &mut Cursor<'p>) -> Result<Packet<'p, Ends4>, PassReason> {
    let header = cursor.take::<Ipv4Hdr>().ok_or(PassReason::Truncated)?;
    let header_length = usize::from(header.vihl & 0x0f) * 4;
    if header.vihl >> 4 != 4 || header_length < Ipv4Hdr::LEN {
        return Err(PassReason::MalformedIp);
    }
    let protocol = header.proto;
    if !l4::balanced(protocol) && protocol != ICMP {
        return Err(PassReason::OtherProtocol);
    }
    let total_length = usize::from(load_be16(&header.tot_len));
    if total_length < header_length {
        return Err(PassReason::MalformedIp);
    }
    if header_length > Ipv4Hdr::LEN {
        cursor.skip(header_length - Ipv4Hdr::LEN).ok_or(PassReason::MalformedIp)?;
    }
    let ends = Ends4 { source: load_u32(&header.src_addr), destination: load_u32(&header.dst_addr) };
    let inner = Inner { ipv6: false, length: total_length, traffic_class: header.tos };
    let length = total_length - header_length;
    Ok(Packet { ends, inner, transport: Transport { protocol, cursor: *cursor, length, part: part(header) } })
}

#[inline(always)]
fn part(header: &Ipv4Hdr) -> Part {
    let fragment = load_be16(&header.frags);
    match (fragment & OFFSET_MASK, fragment & MORE_FRAGMENTS) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First(u32::from(load_be16(&header.id))),
        _ => Part::Later(u32::from(load_be16(&header.id))),
    }
}
