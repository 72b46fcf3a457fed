//! What the balancer says itself: echo replies, and that a packet does not fit.

use std::net::IpAddr;

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    icmpv4::DestUnreachableHeader,
};
use lb_common::counters::DropReason;

use super::{Arrival, ip::Packet, link::Link};

/// Bytes of the packet that an error quotes.
const QUOTED: usize = 504;
/// Hops that an answer may take.
const HOPS: u8 = 64;

/// The reply to an echo request: everything turned round, in place.
#[must_use]
pub fn echo(frame: &[u8], packet: &Packet) -> Vec<u8> {
    let mut reply = turned_macs(frame);
    reply.extend(&frame[12..]);
    let ip = packet.start;
    let (addresses, size) = if packet.source.is_ipv4() { (ip + 12, 4) } else { (ip + 8, 16) };
    let (source, destination) = (addresses..addresses + size, addresses + size..addresses + 2 * size);
    reply[source.clone()].copy_from_slice(&frame[destination.clone()]);
    reply[destination].copy_from_slice(&frame[source]);
    if packet.source.is_ipv4() {
        change(&mut reply, ip + 8, HOPS, ip + 10);
        change(&mut reply, packet.transport, 0, packet.transport + 2);
    } else {
        reply[ip + 7] = HOPS;
        change(&mut reply, packet.transport, 129, packet.transport + 2);
    }
    // Both stand for zero, but a message of nothing but zeros needs this one.
    let checksum = &mut reply[packet.transport + 2..packet.transport + 4];
    if *checksum == [0, 0] {
        checksum.fill(0xff);
    }
    reply
}

/// Sets the byte at an even place, and the checksum that covers it (RFC 1624): right stays right, wrong stays wrong.
fn change(frame: &mut [u8], at: usize, value: u8, checksum: usize) {
    let word = |frame: &[u8], at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let before = word(frame, at);
    frame[at] = value;
    let add = |a: u16, b: u16| {
        let (sum, carry) = a.overflowing_add(b);
        sum + u16::from(carry)
    };
    let sum = add(add(!word(frame, checksum), !before), word(frame, at));
    frame[checksum..checksum + 2].copy_from_slice(&(!sum).to_be_bytes());
}

/// The answer to a packet of which only `mtu` bytes would fit, from the virtual address.
pub fn too_big(arrival: Arrival<'_>, link: &Link, packet: &Packet, mtu: u32) -> Result<Vec<u8>, DropReason> {
    let frame = arrival.frame;
    let headers = if link.ipv6 { 48 } else { 28 };
    if headers > arrival.headroom {
        return Err(DropReason::NoRoom);
    }
    let quoted = frame.get(packet.start..packet.start + QUOTED).ok_or(DropReason::TooBig)?;
    Ok([&turned_macs(frame), &frame[12..link.end], &icmp(packet, quoted, mtu), quoted].concat())
}

/// IP and ICMP header.
#[expect(clippy::expect_used, reason = "lengths that are known to fit")]
fn icmp(packet: &Packet, quoted: &[u8], mtu: u32) -> Vec<u8> {
    let payload = (8 + quoted.len()) as u16;
    match (packet.destination, packet.source) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let next_hop_mtu = mtu as u16;
            let kind = DestUnreachableHeader::FragmentationNeeded { next_hop_mtu };
            let message = Icmpv4Header::with_checksum(Icmpv4Type::DestinationUnreachable(kind), quoted);
            let mut ip = Ipv4Header::new(payload, HOPS, IpNumber::ICMP, from.octets(), to.octets())
                .expect("a length of IPv4's");
            ip.dont_fragment = false;
            ip.header_checksum = ip.calc_header_checksum();
            [ip.to_bytes().as_slice(), message.to_bytes().as_slice()].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = Ipv6Header {
                traffic_class: 0,
                flow_label: Ipv6FlowLabel::ZERO,
                payload_length: payload,
                next_header: IpNumber::IPV6_ICMP,
                hop_limit: HOPS,
                source: from.octets(),
                destination: to.octets(),
            };
            let kind = Icmpv6Type::PacketTooBig { mtu };
            let message = Icmpv6Header::with_checksum(kind, ip.source, ip.destination, quoted)
                .expect("a length of ICMPv6's");
            [ip.to_bytes().as_slice(), message.to_bytes().as_slice()].concat()
        }
        _ => Vec::new(),
    }
}

fn turned_macs(frame: &[u8]) -> Vec<u8> {
    [&frame[6..12], &frame[..6]].concat()
}
