//! IPv4 (RFC 791).

use super::{Transport, l4};
use crate::cursor::{Cursor, load_be16};
use lb_common::counters::PassReason;
use network_types::ip::Ipv4Hdr;

/// "More fragments" and the fragment offset; both are 0 in a packet that is whole.
const FRAGMENT_MASK: u16 = 0x3fff;

/// Takes the IPv4 header and its options off.
#[inline(always)]
pub fn parse<'p>(cursor: &mut Cursor<'p>) -> Result<(&'p Ipv4Hdr, Transport<'p>), PassReason> {
    let header = cursor.take::<Ipv4Hdr>().ok_or(PassReason::Truncated)?;
    let header_length = usize::from(header.vihl & 0x0f) * 4;
    if header.vihl >> 4 != 4 || header_length < Ipv4Hdr::LEN {
        return Err(PassReason::MalformedIp);
    }
    if !l4::balanced(header.proto) {
        return Err(PassReason::OtherProtocol);
    }
    if load_be16(&header.frags) & FRAGMENT_MASK != 0 {
        return Err(PassReason::Fragment);
    }
    let total_length = usize::from(load_be16(&header.tot_len));
    if total_length < header_length {
        return Err(PassReason::MalformedIp);
    }
    if header_length > Ipv4Hdr::LEN {
        cursor.skip(header_length - Ipv4Hdr::LEN);
    }
    let length = total_length - header_length;
    Ok((header, Transport { protocol: header.proto, cursor: *cursor, length }))
}
