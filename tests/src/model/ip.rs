//! IPv4 and IPv6: what a packet says of itself. The first thing that is wrong names the reason.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    counters::PassReason,
    service::{TCP, UDP},
};

use super::{
    icmp::{ICMP, ICMPV6},
    wire::{byte, bytes, number},
};

/// Which part of a datagram a packet is, with the datagram's identification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment.
    First(u32),
    /// A later one.
    Later(u32),
}

/// A packet whose IP headers were read.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// TCP, UDP, or ICMP of the packet's version.
    pub protocol: u8,
    /// Whole or a fragment.
    pub part: Part,
    /// Where its header starts.
    pub transport: usize,
    /// Where the packet starts.
    pub start: usize,
    /// Where it ends, as it says itself; that may be behind the frame's end.
    pub end: usize,
}

/// Extension headers that are read.
const EXTENSIONS: usize = 6;
/// A header that ends behind this byte of the frame is not looked for.
const FARTHEST: usize = 0xfff;

/// Reads it from `start` on; what version it should be, the link layer has said.
pub fn read(frame: &[u8], start: usize) -> Result<Packet, PassReason> {
    let ipv6 = number(frame, start - 2) == Some(0x86dd);
    if ipv6 { read_v6(frame, start) } else { read_v4(frame, start) }
}

/// Reads an IPv4 packet from `start` on.
pub fn read_v4(frame: &[u8], start: usize) -> Result<Packet, PassReason> {
    let header: [u8; 20] = bytes(frame, start).ok_or(PassReason::Truncated)?;
    let words = usize::from(header[0] % 16);
    if header[0] / 16 != 4 || words < 5 {
        return Err(PassReason::MalformedIp);
    }
    let protocol = header[9];
    if ![TCP, UDP, ICMP].contains(&protocol) {
        return Err(PassReason::OtherProtocol);
    }
    let (more, offset) = (header[6] & 0x20 != 0, u16::from_be_bytes([header[6], header[7]]) & 0x1fff);
    let identification = u32::from(u16::from_be_bytes([header[4], header[5]]));
    let part = match (offset, more) {
        (0, false) => Part::Whole,
        (0, true) => Part::First(identification),
        _ => Part::Later(identification),
    };
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total < words * 4 {
        return Err(PassReason::MalformedIp);
    }
    Ok(Packet {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        traffic_class: header[1],
        protocol,
        part,
        transport: start + words * 4,
        start,
        end: start + total,
    })
}

fn read_v6(frame: &[u8], start: usize) -> Result<Packet, PassReason> {
    let packet = read_v6_header(frame, start).ok_or(PassReason::Truncated)?;
    if frame[start] / 16 != 6 {
        return Err(PassReason::MalformedIp);
    }
    // Nothing on the wire has such an address, so it is not looked at further.
    if let IpAddr::V6(v6) = packet.destination
        && v6.to_ipv4_mapped().is_some()
    {
        return Err(PassReason::NoService);
    }
    walk(frame, packet)
}

/// Reads the IPv6 header at `start` and no extension header.
#[must_use]
pub fn read_v6_header(frame: &[u8], start: usize) -> Option<Packet> {
    let header: [u8; 40] = bytes(frame, start)?;
    let address = |at| bytes(frame, start + at).map(|bytes: [u8; 16]| Ipv6Addr::from(bytes));
    Some(Packet {
        source: address(8)?.into(),
        destination: address(24)?.into(),
        traffic_class: header[0] << 4 | header[1] >> 4,
        protocol: header[6],
        part: Part::Whole,
        transport: start + 40,
        start,
        end: start + 40 + usize::from(u16::from_be_bytes([header[4], header[5]])),
    })
}

/// Walks the extension headers of a packet.
fn walk(frame: &[u8], mut packet: Packet) -> Result<Packet, PassReason> {
    for seen in 0.. {
        let is_extension = match packet.protocol {
            TCP | UDP | ICMPV6 => break,
            0 | 43 | 44 | 51 | 60 => true,
            _ => false,
        };
        if !is_extension {
            return Err(PassReason::OtherProtocol);
        }
        // Behind a later fragment's header there are no headers, whatever it names.
        if seen == EXTENSIONS || matches!(packet.part, Part::Later(_)) {
            return Err(PassReason::MalformedIp);
        }
        extension(frame, &mut packet)?;
    }
    if packet.transport > packet.end {
        return Err(PassReason::MalformedIp);
    }
    Ok(packet)
}

/// Takes one extension header.
fn extension(frame: &[u8], packet: &mut Packet) -> Result<(), PassReason> {
    let at = packet.transport;
    let (next, length) = byte(frame, at).zip(byte(frame, at + 1)).ok_or(PassReason::Truncated)?;
    let length = usize::from(length);
    packet.transport += match packet.protocol {
        44 => {
            let field = number(frame, at + 2).ok_or(PassReason::Truncated)?;
            let identification = bytes(frame, at + 4).ok_or(PassReason::Truncated)?;
            let identification = u32::from_be_bytes(identification);
            if field >> 3 > 0 {
                packet.part = Part::Later(identification);
            } else if field & 1 == 1 {
                packet.part = Part::First(identification);
            }
            8
        }
        // An authentication header counts in words and leaves two of them out, the others in pairs and leave one.
        51 => 4 * (length + 2),
        _ => 8 * (length + 1),
    };
    packet.protocol = next;
    if packet.transport > FARTHEST { Err(PassReason::MalformedIp) } else { Ok(()) }
}
