//! Echo replies (RFC 792, RFC 4443 section 4.2), made of the request in place.

use super::checksum::replace;
use crate::{
    cursor::Writer,
    parse::{
        eth::Tags,
        icmp::{IcmpHeader, kind},
    },
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// Hops that a reply may take.
const HOP_LIMIT: u8 = 64;

/// Turns an IPv4 echo request into its reply. `None`: the frame is too short.
#[inline(always)]
#[must_use]
pub fn reply_v4(frame: &mut Writer<'_>, tags: &Tags) -> Option<()> {
    swap_macs(frame, tags)?;
    let ip = frame.take::<Ipv4Hdr>()?;
    core::mem::swap(&mut ip.src_addr, &mut ip.dst_addr);
    let (before, after) = ([ip.ttl, ip.proto], [HOP_LIMIT, ip.proto]);
    ip.check = replace(ip.check, before, after);
    ip.ttl = HOP_LIMIT;
    // Options lie between: they are walked in words, as many as the header tells.
    for word in 5..15 {
        if word < ip.vihl & 0x0f {
            frame.take::<[u8; 4]>()?;
        }
    }
    answer(frame.take::<IcmpHeader>()?, kind::ECHO_REPLY);
    Some(())
}

/// Turns an IPv6 echo request without extension headers into its reply. `None`: the frame is too short, or has some.
#[inline(always)]
#[must_use]
pub fn reply_v6(frame: &mut Writer<'_>, tags: &Tags) -> Option<()> {
    swap_macs(frame, tags)?;
    let ip = frame.take::<Ipv6Hdr>()?;
    core::mem::swap(&mut ip.src_addr, &mut ip.dst_addr);
    ip.hop_limit = HOP_LIMIT;
    let icmp = frame.take::<IcmpHeader>()?;
    if icmp.kind != kind::ECHO_V6 {
        return None;
    }
    answer(icmp, kind::ECHO_REPLY_V6);
    Some(())
}

#[inline(always)]
fn swap_macs(frame: &mut Writer<'_>, tags: &Tags) -> Option<()> {
    let to = frame.take::<[u8; 6]>()?;
    let from = frame.take::<[u8; 6]>()?;
    core::mem::swap(to, from);
    for index in 0..tags.tags.len() {
        if index < tags.count {
            frame.take::<[u8; 4]>()?;
        }
    }
    frame.take::<[u8; 2]>()?;
    Some(())
}

/// The request's header as the reply's; the checksum changes by the type alone, for the swapped addresses add up to the same.
#[inline(always)]
fn answer(icmp: &mut IcmpHeader, kind: u8) {
    let (before, after) = ([icmp.kind, icmp.code], [kind, icmp.code]);
    let checksum = replace(icmp.checksum, before, after);
    // Of a reply that is all zeros the sum is 0, and only its other form makes the whole 0xffff; of any other both do.
    icmp.checksum = if checksum == [0, 0] { [0xff, 0xff] } else { checksum };
    icmp.kind = kind;
}
