//! ICMP (RFC 792) and `ICMPv6` (RFC 4443): echo, and errors that quote a packet.

use super::{
    Part, Transport, ipv4,
    l4::{Ports, balanced},
};
use crate::{
    cursor::{Cursor, load_u32x4},
    select::{Ends, Ends4, Ends6},
};
use network_types::ip::Ipv6Hdr;

/// The ICMP header, of both versions.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IcmpHeader {
    /// What it says.
    pub kind: u8,
    /// More exactly.
    pub code: u8,
    /// Over the message; for IPv6 with a pseudo-header.
    pub checksum: [u8; 2],
    /// Depends on the kind.
    pub rest: [u8; 4],
}

/// What an ICMP message is to the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An echo request.
    Echo,
    /// An error, which quotes the packet that it is about.
    Error,
    /// Anything else.
    Other,
}

/// The flow that an error is about, seen as the client's packets are.
#[derive(Clone, Copy)]
pub struct Quoted<E> {
    /// The client as the source, the service as the destination.
    pub ends: E,
    /// Ports in that order.
    pub ports: Ports,
    /// TCP or UDP.
    pub protocol: u8,
}

/// Numbers of message types.
pub mod kind {
    /// Echo reply (RFC 792).
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable (RFC 792); code 4: fragmentation needed.
    pub const UNREACHABLE: u8 = 3;
    /// Echo request (RFC 792).
    pub const ECHO: u8 = 8;
    /// Time exceeded (RFC 792).
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem (RFC 792).
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// Packet too big (RFC 4443 section 3.2).
    pub const PACKET_TOO_BIG_V6: u8 = 2;
    /// Echo request (RFC 4443 section 4.1).
    pub const ECHO_V6: u8 = 128;
    /// Echo reply (RFC 4443 section 4.2).
    pub const ECHO_REPLY_V6: u8 = 129;
}

/// What a message is; `None`: the frame ends before its header.
#[inline(always)]
#[must_use]
pub fn message(transport: &Transport<'_>, v6: bool) -> Option<Message> {
    let header = transport.cursor.peek::<IcmpHeader>()?;
    if transport.length < size_of::<IcmpHeader>() {
        return None;
    }
    Some(match (v6, header.kind) {
        (false, kind::ECHO) | (true, kind::ECHO_V6) => Message::Echo,
        (false, kind::UNREACHABLE | kind::TIME_EXCEEDED | kind::PARAMETER_PROBLEM) | (true, 1..=4) => {
            Message::Error
        }
        _ => Message::Other,
    })
}

/// The flow that an IPv4 error quotes; `None` where it does not name one.
#[inline(always)]
#[must_use]
pub fn quoted_v4(transport: &Transport<'_>) -> Option<Quoted<Ends4>> {
    let mut cursor = behind_header(transport)?;
    let packet = ipv4::parse(&mut cursor).ok()?;
    if matches!(packet.transport.part, Part::Later(_)) {
        return None;
    }
    quoted(transport, packet.ends, packet.transport.protocol, &cursor)
}

/// The flow that an IPv6 error quotes; `None` where it does not name one, or has extension headers before its ports:
/// servers send none, and walking them twice would be too much for the verifier.
#[inline(always)]
#[must_use]
pub fn quoted_v6(transport: &Transport<'_>) -> Option<Quoted<Ends6>> {
    let mut cursor = behind_header(transport)?;
    let header = cursor.take::<Ipv6Hdr>()?;
    if header.vcf[0] >> 4 != 6 {
        return None;
    }
    let ends = Ends6 { source: load_u32x4(&header.src_addr), destination: load_u32x4(&header.dst_addr) };
    quoted(transport, ends, header.next_hdr, &cursor)
}

#[inline(always)]
fn behind_header<'p>(transport: &Transport<'p>) -> Option<Cursor<'p>> {
    let mut cursor = transport.cursor;
    cursor.skip(size_of::<IcmpHeader>())?;
    Some(cursor)
}

/// The quoted packet went from the service to the client: its source is the service. An error quotes at least the ports
/// (RFC 792: 64 bits of the datagram); what is behind the error's own end is Ethernet's padding.
#[inline(always)]
fn quoted<E: Ends>(error: &Transport<'_>, ends: E, protocol: u8, cursor: &Cursor<'_>) -> Option<Quoted<E>> {
    let needed = cursor.offset() - error.cursor.offset() + size_of::<[u8; 4]>();
    if !balanced(protocol) || needed > error.length {
        return None;
    }
    let ports = Ports::at(cursor)?.reversed();
    Some(Quoted { ends: ends.reversed(), ports, protocol })
}
