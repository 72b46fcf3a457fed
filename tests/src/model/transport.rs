//! TCP and UDP.

use lb_common::{counters::DropReason, service::TCP};

use super::{
    ip::{Packet, Part},
    wire::{byte, number},
};

const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Source and destination port; `None` when packet or frame end before.
#[must_use]
pub fn ports(frame: &[u8], packet: &Packet) -> Option<(u16, u16)> {
    if packet.transport + 4 > packet.end {
        return None;
    }
    ports_at(frame, packet.transport)
}

/// The ports at a place.
#[must_use]
pub fn ports_at(frame: &[u8], at: usize) -> Option<(u16, u16)> {
    number(frame, at).zip(number(frame, at + 2))
}

/// Whether a packet whose header was checked is a TCP segment with RST.
#[must_use]
pub fn resets(frame: &[u8], packet: &Packet) -> bool {
    let header = packet.protocol == TCP && !matches!(packet.part, Part::Later(_));
    header && byte(frame, packet.transport + 13).is_some_and(|flags| flags & RST != 0)
}

/// Whether a packet to a service may reach a backend. `true`: it opens a connection.
pub fn check(frame: &[u8], packet: &Packet) -> Result<bool, DropReason> {
    if packet.end > frame.len() {
        return Err(DropReason::IpLength);
    }
    let length = packet.end - packet.transport;
    if packet.protocol == TCP {
        // A data offset behind the packet's end is none; the whole header must be in the frame at least.
        let offset = byte(frame, packet.transport + 12).map(|byte| usize::from(byte >> 4) * 4);
        match offset {
            Some(offset) if (20..=length).contains(&offset) => {
                let flags = frame[packet.transport + 13];
                Ok(flags & SYN != 0 && flags & ACK == 0)
            }
            _ => Err(DropReason::TcpHeader),
        }
    } else {
        match number(frame, packet.transport + 4) {
            // A first fragment is shorter than the datagram that it starts.
            Some(told) if told >= 8 && length >= 8 => {
                let fits = usize::from(told) <= length || packet.part != Part::Whole;
                if fits { Ok(false) } else { Err(DropReason::UdpHeader) }
            }
            _ => Err(DropReason::UdpHeader),
        }
    }
}
