//! ICMP: echo requests, and errors that quote a flow.

use lb_common::service::{TCP, UDP};

use super::{
    ip::{self, Packet, Part},
    transport,
    wire::byte,
};

/// IP protocol number of ICMP over IPv4.
pub const ICMP: u8 = 1;
/// And over IPv6.
pub const ICMPV6: u8 = 58;
/// Bytes of the ICMP header.
const HEADER: usize = 8;

/// What a message is.
pub enum Message {
    /// An echo request.
    Echo,
    /// An error about the packet that it quotes.
    Error,
    /// None of ours.
    Other,
}

/// What the message is; `None`: packet or frame end before its header does.
#[must_use]
pub fn message(frame: &[u8], packet: &Packet) -> Option<Message> {
    if packet.transport + HEADER > packet.end.min(frame.len()) {
        return None;
    }
    Some(match (packet.protocol, byte(frame, packet.transport)?) {
        (ICMP, 8) | (ICMPV6, 128) => Message::Echo,
        (ICMP, 3 | 11 | 12) | (ICMPV6, 1..=4) => Message::Error,
        _ => Message::Other,
    })
}

/// The packet that an error quotes, turned round: as the client sends them. `None`: it tells no ports of TCP or UDP.
#[must_use]
pub fn quoted(frame: &[u8], packet: &Packet) -> Option<(Packet, (u16, u16))> {
    let start = packet.transport + HEADER;
    let quoted = if packet.protocol == ICMP {
        ip::read_v4(frame, start).ok()?
    } else {
        // Servers send no extension headers, so none are walked in a quotation.
        ip::read_v6_header(frame, start)?
    };
    let version = byte(frame, start)? / 16;
    let tells = [TCP, UDP].contains(&quoted.protocol)
        && !matches!(quoted.part, Part::Later(_))
        && version == if packet.protocol == ICMP { 4 } else { 6 }
        // What is behind the error's end is Ethernet's padding.
        && quoted.transport + 4 <= packet.end;
    let (source, destination) = transport::ports_at(frame, quoted.transport).filter(|_| tells)?;
    let turned = Packet { source: quoted.destination, destination: quoted.source, ..quoted };
    Some((turned, (destination, source)))
}
