//! The segment size that a SYN asks for, lowered where the service says so.

use super::{ip::Packet, wire::number};

/// Where a TCP header's options start.
const OPTIONS: usize = 20;
/// Options that are looked at.
const MOST: usize = 8;

/// The frame with a segment size of at most `most` bytes in its SYN. The checksum's error, if any, stays.
pub fn clamp(frame: &mut [u8], packet: &Packet, most: u16) {
    let tcp = packet.transport;
    let end = tcp + usize::from(frame[tcp + 12] >> 4) * 4;
    let mut at = tcp + OPTIONS;
    for _ in 0..MOST {
        if at + 4 > end {
            return;
        }
        match (frame[at], frame[at + 1]) {
            (1, _) => at += 1,
            (2, 4) => return lower(frame, tcp, at + 2, most),
            (0, _) | (_, 0..2) => return,
            (_, length) => at += usize::from(length),
        }
    }
}

fn lower(frame: &mut [u8], tcp: usize, at: usize, most: u16) {
    if number(frame, at).is_none_or(|asked| asked <= most) {
        return;
    }
    // Over the aligned words that hold the option's two bytes, one or two of them.
    let first = tcp + ((at - tcp) & !1);
    let words = first..first + if (at - tcp).is_multiple_of(2) { 2 } else { 4 };
    let before = frame[words.clone()].to_vec();
    frame[at..at + 2].copy_from_slice(&most.to_be_bytes());
    let mut sum = u64::from(!u16::from_be_bytes([frame[tcp + 16], frame[tcp + 17]]));
    for (old, new) in before.chunks(2).zip(frame[words].chunks(2)) {
        sum += u64::from(!u16::from_be_bytes([old[0], old[1]]))
            + u64::from(u16::from_be_bytes([new[0], new[1]]));
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    frame[tcp + 16..tcp + 18].copy_from_slice(&(!sum as u16).to_be_bytes());
}
