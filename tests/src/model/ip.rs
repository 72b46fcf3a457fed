//! IPv4 and IPv6: what a packet says of itself. The first thing that is wrong names the reason.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::{
    counters::PassReason,
    service::{TCP, UDP},
};

use super::wire::{byte, bytes, number};

/// A packet whose IP headers were read.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// TCP or UDP.
    pub protocol: u8,
    /// Where its header starts.
    pub transport: usize,
    /// Where the packet starts.
    pub start: usize,
    /// Where it ends, as it says itself; that may be behind the frame's end.
    pub end: usize,
}

/// Extension headers that are read.
const EXTENSIONS: usize = 6;

/// Reads it from `start` on; what version it should be, the link layer has said.
pub fn read(frame: &[u8], start: usize) -> Result<Packet, PassReason> {
    let ipv6 = number(frame, start - 2) == Some(0x86dd);
    if ipv6 { read_v6(frame, start) } else { read_v4(frame, start) }
}

fn read_v4(frame: &[u8], start: usize) -> Result<Packet, PassReason> {
    let header: [u8; 20] = bytes(frame, start).ok_or(PassReason::Truncated)?;
    let words = usize::from(header[0] % 16);
    if header[0] / 16 != 4 || words < 5 {
        return Err(PassReason::MalformedIp);
    }
    let protocol = header[9];
    if protocol != TCP && protocol != UDP {
        return Err(PassReason::OtherProtocol);
    }
    let (more, offset) = (header[6] & 0x20 != 0, u16::from_be_bytes([header[6], header[7]]) & 0x1fff);
    if more || offset > 0 {
        return Err(PassReason::Fragment);
    }
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if total < words * 4 {
        return Err(PassReason::MalformedIp);
    }
    Ok(Packet {
        source: Ipv4Addr::new(header[12], header[13], header[14], header[15]).into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        traffic_class: header[1],
        protocol,
        transport: start + words * 4,
        start,
        end: start + total,
    })
}

fn read_v6(frame: &[u8], start: usize) -> Result<Packet, PassReason> {
    let header: [u8; 40] = bytes(frame, start).ok_or(PassReason::Truncated)?;
    if header[0] / 16 != 6 {
        return Err(PassReason::MalformedIp);
    }
    let address = |at| bytes(frame, start + at).map(|bytes: [u8; 16]| Ipv6Addr::from(bytes));
    let (source, destination) = address(8).zip(address(24)).ok_or(PassReason::Truncated)?;
    // Nothing on the wire has such an address, so it is not looked at further.
    if destination.to_ipv4_mapped().is_some() {
        return Err(PassReason::NoService);
    }
    let end = start + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let (protocol, transport) = walk(frame, header[6], start + 40)?;
    if transport > end {
        return Err(PassReason::MalformedIp);
    }
    Ok(Packet {
        source: source.into(),
        destination: destination.into(),
        traffic_class: header[0] << 4 | header[1] >> 4,
        protocol,
        transport,
        start,
        end,
    })
}

/// Walks the extension headers: the protocol behind them, and where it starts.
fn walk(frame: &[u8], mut protocol: u8, mut at: usize) -> Result<(u8, usize), PassReason> {
    let mut seen = 0;
    loop {
        let is_extension = match protocol {
            TCP | UDP => return Ok((protocol, at)),
            44 => return Err(PassReason::Fragment),
            0 | 43 | 51 | 60 => true,
            _ => false,
        };
        if !is_extension {
            return Err(PassReason::OtherProtocol);
        }
        seen += 1;
        if seen > EXTENSIONS {
            return Err(PassReason::MalformedIp);
        }
        let (next, length) = byte(frame, at).zip(byte(frame, at + 1)).ok_or(PassReason::Truncated)?;
        // An authentication header counts in words and leaves two of them out, the others in pairs and leave one.
        at += if protocol == 51 { 4 * (usize::from(length) + 2) } else { 8 * (usize::from(length) + 1) };
        protocol = next;
    }
}
