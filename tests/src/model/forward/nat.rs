//! nat: one end of the packet rewritten. Checksums change by the difference (RFC 1624), so that wrong stays wrong.

use std::net::IpAddr;

use lb_common::{
    backend::Backend,
    counters::DropReason,
    service::{TCP, UDP, address_from_bytes},
};

use crate::model::{
    forward::Refusal,
    ip::{Packet, Part},
    link::Link,
};

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// That of an answer.
    Source,
    /// That of a client's packet.
    Destination,
}

/// The type of what is above the link layer, and its bytes to the frame's end. `quoted`: where the ports are in
/// the quotation of an ICMP error.
pub fn above(
    frame: &[u8],
    link: &Link,
    packet: &Packet,
    backend: &Backend,
    quoted: Option<usize>,
) -> Result<(u16, Vec<u8>), Refusal> {
    if hops(frame, packet) <= 1 {
        return Err(Refusal::Drop(DropReason::TtlExceeded));
    }
    if packet.end - packet.start > usize::from(backend.mtu) {
        return Err(Refusal::TooBig(backend.mtu.into()));
    }
    let mut frame = frame.to_vec();
    spend_hop(&mut frame, packet);
    let (address, port) = (address_from_bytes(backend.address), u16::from_be_bytes(backend.port));
    match quoted {
        Some(ports) => {
            error(&mut frame, packet, (Some(End::Destination), End::Source), ports, address, port);
        }
        None => segment(&mut frame, packet, End::Destination, address, port),
    }
    Ok((if link.ipv6 { 0x86dd } else { 0x0800 }, frame[link.end..].to_vec()))
}

/// Time to live or hop limit.
#[must_use]
pub fn hops(frame: &[u8], packet: &Packet) -> u8 {
    frame[packet.start + if packet.source.is_ipv4() { 8 } else { 7 }]
}

/// Takes a hop off.
pub fn spend_hop(frame: &mut [u8], packet: &Packet) {
    let ip = packet.start;
    if packet.source.is_ipv4() {
        let word = [frame[ip + 8] - 1, frame[ip + 9]];
        let change = put(frame, ip + 8, &word);
        correct(frame, ip + 10, &change);
    } else {
        frame[ip + 7] -= 1;
    }
}

/// Rewrites one end of TCP or UDP; of a later fragment, which has no ports, the address alone. Port 0 keeps the packet's.
pub fn segment(frame: &mut [u8], packet: &Packet, end: End, address: IpAddr, port: u16) {
    let mut change = readdress(frame, packet.start, end, address);
    if matches!(packet.part, Part::Later(_)) {
        return;
    }
    let at = packet.transport;
    if port != 0 {
        let place = at + if end == End::Source { 0 } else { 2 };
        change.extend(put(frame, place, &port.to_be_bytes()));
    }
    match packet.protocol {
        TCP => correct(frame, at + 16, &change),
        // 0 is no checksum (RFC 768).
        UDP if frame[at + 6..at + 8] != [0, 0] => {
            correct(frame, at + 6, &change);
            if frame[at + 6..at + 8] == [0, 0] {
                frame[at + 6..at + 8].fill(0xff);
            }
        }
        _ => {}
    }
}

/// Rewrites one end of an ICMP error, or none, and one of the packet that it quotes, which has its ports at `ports`.
pub fn error(
    frame: &mut [u8],
    packet: &Packet,
    (outside, inside): (Option<End>, End),
    ports: usize,
    address: IpAddr,
    port: u16,
) {
    let icmp = packet.transport;
    let quoted = icmp + 8;
    let outer = outside.map(|end| readdress(frame, packet.start, end, address)).unwrap_or_default();
    let place = ports + if inside == End::Source { 0 } else { 2 };
    let before = frame[quoted..place + 2].to_vec();
    readdress(frame, quoted, inside, address);
    if port != 0 {
        put(frame, place, &port.to_be_bytes());
    }
    let mut change = words(&before, &frame[quoted..place + 2]);
    if address.is_ipv6() {
        // The pseudo-header (RFC 4443 section 2.3).
        change.extend(outer);
    }
    correct(frame, icmp + 2, &change);
}

/// Puts an address into the IP header at `ip`, whose own checksum follows.
fn readdress(frame: &mut [u8], ip: usize, end: End, address: IpAddr) -> Vec<(u16, u16)> {
    let second = usize::from(end == End::Destination);
    match address {
        IpAddr::V4(v4) => {
            let change = put(frame, ip + 12 + 4 * second, &v4.octets());
            correct(frame, ip + 10, &change);
            change
        }
        IpAddr::V6(v6) => put(frame, ip + 8 + 16 * second, &v6.octets()),
    }
}

/// Replaces bytes at an even place of what a checksum covers; gives the words before and after.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) -> Vec<(u16, u16)> {
    let place = &mut frame[at..at + bytes.len()];
    let change = words(place, bytes);
    place.copy_from_slice(bytes);
    change
}

fn words(before: &[u8], after: &[u8]) -> Vec<(u16, u16)> {
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    before.chunks_exact(2).map(word).zip(after.chunks_exact(2).map(word)).collect()
}

/// HC' = ~(~HC + ~m + m') for each word (RFC 1624 equation 3).
fn correct(frame: &mut [u8], at: usize, change: &[(u16, u16)]) {
    let mut sum = u64::from(!u16::from_be_bytes([frame[at], frame[at + 1]]));
    for &(before, after) in change {
        sum += u64::from(!before) + u64::from(after);
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    frame[at..at + 2].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
