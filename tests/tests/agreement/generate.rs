//! Packets: most of them for a service and well formed but for one thing, because random bytes get no further than
//! the first header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use lb_common::{
    nat::ReturnKey,
    service::{ServiceKey, TCP, UDP, address_from_bytes},
};
use lb_tests::fixture::{
    balancer::HEADROOM,
    frame::{Extension, Frame, IP, Packet},
};

use super::{ground, rng::Rng};

/// A frame, and the headroom that is taken.
#[derive(Clone, Debug)]
pub struct Input {
    pub frame: Frame,
    pub metadata: usize,
}

/// What packets are made for.
pub struct Known {
    /// The services.
    pub services: Vec<ServiceKey>,
    /// Where answers come from.
    pub returns: Vec<ReturnKey>,
}

/// Most bytes of a frame that a test run takes in one page.
const LONGEST: usize = 3200;

/// Packet `index` of the run of `seed`.
pub fn input(seed: u64, index: u64, known: &Known) -> Input {
    let rng = &mut Rng::of(seed, index);
    let mut frame = match rng.below(100) {
        0..10 => icmp(rng, &known.services),
        10..25 => answer(rng, &known.returns).frame(),
        25..31 => error_back(rng, &known.returns),
        _ => packet(rng, &known.services).frame(),
    };
    traffic_class(rng, &mut frame);
    if rng.percent(30) {
        for _ in 0..=rng.below(2) {
            bend(rng, &mut frame);
        }
    }
    tag(rng, &mut frame);
    if rng.percent(2) {
        frame.0[0] |= 1;
    }
    if rng.percent(5) {
        let padding = rng.below(40);
        frame = frame.padded(&rng.bytes(padding));
    }
    if rng.percent(5) {
        let length = frame.0.len();
        frame = frame.cut(14 + rng.below(length - 13));
    }
    frame.0.truncate(LONGEST);
    let metadata = if rng.percent(2) { HEADROOM - 4 * rng.below(16) } else { 0 };
    Input { frame, metadata }
}

/// A well formed packet, to a service more often than not.
fn packet(rng: &mut Rng, services: &[ServiceKey]) -> Packet {
    let service = rng.pick(services);
    let protocol = match rng.below(100) {
        0..90 => service.protocol,
        90..95 => TCP + UDP - service.protocol,
        95 => rng.byte(),
        _ => rng.pick(&[0, 1, 4, 41, 47, 50, 58, 59, 132]),
    };
    let destination = destination(rng, service);
    let fragmented = rng.percent(8);
    let source = if fragmented { fellow(rng, destination.ip()) } else { source(rng, destination.ip()) };
    let client = SocketAddr::new(source, rng.word());
    segment(rng, protocol, (client, destination), fragmented)
}

/// What a nat backend sends: from its service's port to a client, in a few cases from another port or to a service.
fn answer(rng: &mut Rng, returns: &[ReturnKey]) -> Packet {
    let key = rng.pick(returns);
    let source = backend_end(rng, key);
    let fragmented = rng.percent(8);
    let client = SocketAddr::new(ground::client(rng, source.is_ipv4()), rng.word());
    segment(rng, key.protocol, (source, client), fragmented)
}

/// Where a nat backend answers from, or another port of it in a few cases.
fn backend_end(rng: &mut Rng, key: ReturnKey) -> SocketAddr {
    let port = match u16::from_be_bytes(key.port) {
        0 => rng.word(),
        _ if rng.percent(4) => rng.pick(&[0, 1, 80, 53, 8080]),
        port => port,
    };
    SocketAddr::new(address_from_bytes(key.address), port)
}

/// Any hop limit, the last ones more often.
fn hops(rng: &mut Rng) -> u8 {
    if rng.percent(10) { rng.below(4) as u8 } else { rng.byte() }
}

/// A well formed packet from one end to the other.
fn segment(rng: &mut Rng, protocol: u8, ends: (SocketAddr, SocketAddr), fragmented: bool) -> Packet {
    let packet = Packet::of(protocol, ends.0, ends.1)
        .flags(if rng.percent(30) { 2 } else { rng.byte() })
        .hop_limit(hops(rng))
        .tcp_options(&tcp_options(rng));
    let length = payload(rng);
    let packet = packet.payload(&rng.bytes(length));
    if ends.1.is_ipv4() { ipv4(rng, packet, fragmented) } else { ipv6(rng, packet, fragmented) }
}

fn destination(rng: &mut Rng, service: ServiceKey) -> SocketAddr {
    let port = match service.port() {
        0 => rng.word(),
        _ if rng.percent(4) => rng.pick(&[0, 1, 80, 53, 8583, 20480]),
        port => port,
    };
    let address = match (rng.below(100), service.ip()) {
        (0..3, IpAddr::V4(_)) => Ipv4Addr::new(192, 0, 2, rng.byte()).into(),
        (0..3, IpAddr::V6(_)) => Ipv6Addr::from_bits((0x2001_0db8 << 96) | u128::from(rng.byte())).into(),
        // The same key of SERVICES, were it not for the family; and a neighbour of it.
        (3, IpAddr::V4(v4)) => v4.to_ipv6_mapped().into(),
        (4, IpAddr::V4(v4)) => Ipv6Addr::from_bits(u128::from(v4.to_bits())).into(),
        (_, address) => address,
    };
    SocketAddr::new(address, port)
}

/// Short ones, any up to 1500, and those at the limits of tunnels over 1400 and 1500 bytes.
fn payload(rng: &mut Rng) -> usize {
    match rng.below(20) {
        0..14 => rng.below(48),
        14..16 => rng.below(1460),
        16..19 => rng.pick(&[1400, 1500]) - 20 - rng.below(130),
        _ => rng.below(2800),
    }
}

/// None, a SYN's usual ones, some that move the segment size to an odd place, or any bytes.
fn tcp_options(rng: &mut Rng) -> Vec<u8> {
    let [high, low] = (rng.word() & 0x7ff).to_be_bytes();
    match rng.below(10) {
        0 => vec![2, 4, high, low],
        1 => vec![2, 4, high, low, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
        2 => vec![1, 2, 4, high, low, 1, 1, 0],
        3 => vec![4, 2, 1, 2, 4, high, low, 0],
        4 => rng.bytes(8),
        5 => vec![1; 4 * rng.below(11)],
        _ => Vec::new(),
    }
}

/// A client; in a few cases one that no packet can come from.
fn source(rng: &mut Rng, destination: IpAddr) -> IpAddr {
    if rng.percent(2) {
        let v4 = [[0, 0, 0, 0], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [126, 0, 0, 1], [223, 1, 1, 1]];
        let v6 = ["::", "::1", "::2", "ff02::1", "fe80::1", "::ffff:192.0.2.10"];
        let strange = if destination.is_ipv4() {
            Ipv4Addr::from(rng.pick(&v4)).into()
        } else {
            rng.pick(&v6).parse().unwrap()
        };
        return rng.pick(&[destination, strange, strange, strange]);
    }
    if destination.is_ipv4() {
        return Ipv4Addr::from_bits(0xc612_0000 | rng.below(1 << 17) as u32).into();
    }
    let prefix = Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, 0).to_bits();
    Ipv6Addr::from_bits(prefix | u128::from(rng.next())).into()
}

/// One of a few clients, so that later fragments meet the first one of their datagram: all have one identification.
fn fellow(rng: &mut Rng, destination: IpAddr) -> IpAddr {
    let host = rng.below(12) as u8;
    if destination.is_ipv4() {
        return Ipv4Addr::new(198, 18, 0, host).into();
    }
    Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, host.into()).into()
}

/// An echo request to a virtual address, an error that quotes what a service sent, or another message.
fn icmp(rng: &mut Rng, services: &[ServiceKey]) -> Frame {
    let service = rng.pick(services);
    let vip = destination(rng, service);
    let client = SocketAddr::new(source(rng, vip.ip()), rng.word());
    let v4 = vip.is_ipv4();
    let kinds: &[u8] =
        if v4 { &[8, 8, 3, 3, 11, 12, 0, 5, 13] } else { &[128, 128, 1, 2, 3, 4, 129, 135, 5] };
    let mut message = icmp_header(rng, kinds);
    if rng.percent(60) {
        // Another router's error about another address, now and then.
        let about = if rng.percent(90) { vip } else { destination(rng, service) };
        if about.is_ipv4() == v4 {
            let protocol = if rng.percent(90) { service.protocol } else { rng.byte() };
            message.extend(quotation(rng, Packet::of(protocol, about, client)));
        }
    } else {
        let length = rng.below(64);
        message.extend(rng.bytes(length));
    }
    icmp_packet(rng, &message, client.ip(), vip.ip())
}

/// What is said of a packet that nat sent to a backend, by that backend or by a router: an error in most cases, to the
/// packet's sender in most cases.
fn error_back(rng: &mut Rng, returns: &[ReturnKey]) -> Frame {
    let key = rng.pick(returns);
    let backend = backend_end(rng, key);
    let v4 = backend.is_ipv4();
    let client = SocketAddr::new(ground::client(rng, v4), rng.word());
    let kinds: &[u8] = if v4 { &[3, 3, 11, 12] } else { &[1, 2, 3, 4] };
    let other: &[u8] = if v4 { &[0, 5, 8] } else { &[0, 5, 128] };
    let kinds = if rng.percent(95) { kinds } else { other };
    let protocol = if rng.percent(95) { key.protocol } else { rng.byte() };
    let mut message = icmp_header(rng, kinds);
    message.extend(quotation(rng, Packet::of(protocol, client, backend)));
    let from = if rng.percent(50) { backend.ip() } else { ground::client(rng, v4) };
    let to = if rng.percent(90) { client.ip() } else { ground::client(rng, v4) };
    icmp_packet(rng, &message, from, to)
}

/// An ICMP header of one of these kinds; its checksum may be any, and is right or wrong by the same amount afterwards.
fn icmp_header(rng: &mut Rng, kinds: &[u8]) -> Vec<u8> {
    let mut header = vec![rng.pick(kinds), rng.byte() % 5];
    header.extend(rng.bytes(6));
    header
}

/// What an error quotes of a packet: as much as hosts do, or less than names its ports.
fn quotation(rng: &mut Rng, packet: Packet) -> Vec<u8> {
    let length = rng.below(600);
    let packet = packet.payload(&rng.bytes(length));
    let packet = if rng.percent(10) { packet.ip_options(&vec![1; 4 * rng.below(11)]) } else { packet };
    let packet = if rng.percent(5) { packet.fragment(rng.word()) } else { packet };
    let mut quoted = packet.frame().0.split_off(IP);
    quoted.truncate(if rng.percent(20) { rng.below(60) } else { rng.pick(&[28, 48, 528, 1232]) });
    quoted
}

fn icmp_packet(rng: &mut Rng, message: &[u8], from: IpAddr, to: IpAddr) -> Frame {
    let v4 = to.is_ipv4();
    let [from, to] = [from, to].map(|address| SocketAddr::new(address, 0));
    let packet = Packet::of(if v4 { 1 } else { 58 }, from, to).hop_limit(hops(rng)).payload(message);
    if v4 { ipv4(rng, packet, false).frame() } else { ipv6(rng, packet, false).frame() }
}

fn ipv4(rng: &mut Rng, packet: Packet, fragmented: bool) -> Packet {
    let packet = if rng.percent(10) { packet.ip_options(&vec![1; 4 * rng.below(11)]) } else { packet };
    let flags = match rng.below(100) {
        0..40 if fragmented => 0x2000,
        40..90 if fragmented => rng.word() & 0x3fff,
        0 => rng.word(),
        1 => 0x8000,
        2..50 => 0x4000,
        _ => 0,
    };
    packet.fragment(flags)
}

fn ipv6(rng: &mut Rng, packet: Packet, fragmented: bool) -> Packet {
    if !fragmented && !rng.percent(20) {
        return packet;
    }
    let count = rng.pick(&[1, 1, 2, 3, 5, 6, 6, 7, 8]);
    let mut extension = |index| {
        let fragment = (index + 1 == count && fragmented) || rng.percent(3);
        let offset = if rng.percent(40) { 0 } else { rng.word() >> 3 };
        match rng.below(4) {
            _ if fragment => Extension::fragment(offset, rng.percent(70)),
            0 => Extension::hop_by_hop(1 + rng.below(3) as u8),
            1 => Extension::destination_options(1 + rng.below(3) as u8),
            2 => Extension::routing(),
            _ => Extension::authentication(rng.below(6) as u8),
        }
    };
    let extensions: Vec<_> = (0..count).map(&mut extension).collect();
    packet.extensions(extensions)
}

/// DSCP and ECN, and IPv6's flow label: any.
fn traffic_class(rng: &mut Rng, frame: &mut Frame) {
    if frame.0[IP] >> 4 == 4 {
        frame.0[IP + 1] = rng.byte();
    } else {
        frame.0[IP] = 0x60 | rng.byte() >> 4;
        frame.0[IP + 1] = rng.byte();
    }
}

fn tag(rng: &mut Rng, frame: &mut Frame) {
    let tags = match rng.below(100) {
        0..55 => 0,
        55..78 => 1,
        78..98 => 2,
        _ => 3,
    };
    for _ in 0..tags {
        let [high, low] = rng.pick(&[[0x81, 0x00], [0x81, 0x00], [0x88, 0xa8]]);
        let control = rng.bytes(2);
        frame.0.splice(12..12, [high, low, control[0], control[1]]);
    }
    if rng.percent(1) {
        let at = 12 + rng.below(2);
        frame.0[at] = rng.byte();
    }
}

/// Spoils one thing of an untagged frame.
fn bend(rng: &mut Rng, frame: &mut Frame) {
    let v6 = frame.0[IP] >> 4 == 6;
    let transport = IP + if v6 { 40 } else { usize::from(frame.0[IP] & 15) * 4 };
    let length_at = IP + if v6 { 4 } else { 2 };
    let (at, value) = match rng.below(12) {
        // Version and header length.
        0 => (IP, vec![rng.byte()]),
        1 => (IP, vec![0x40 | rng.byte() & 15]),
        // The IP length: a little more or less than right, or any.
        2 | 3 => {
            let right = u16::from_be_bytes([frame.0[length_at], frame.0[length_at + 1]]);
            (length_at, right.wrapping_add(rng.below(80) as u16).wrapping_sub(40).to_be_bytes().to_vec())
        }
        4 => (length_at, rng.bytes(2)),
        // Protocol or next header.
        5 => (IP + if v6 { 6 } else { 9 }, vec![rng.pick(&[0, 6, 17, 43, 44, 51, 60, 58])]),
        // TCP's data offset, UDP's length.
        6 => (transport + 12, vec![rng.byte()]),
        7 => (transport + 4, vec![0, rng.byte() & 63]),
        // The first extension header's length.
        8 => (transport + 1, vec![rng.byte() & 31]),
        // The destination.
        9 => (IP + if v6 { 24 } else { 16 } + rng.below(4), vec![rng.byte()]),
        // Anything.
        _ => (rng.below(frame.0.len()), vec![rng.byte()]),
    };
    if frame.0.len() >= at + value.len() {
        frame.0[at..at + value.len()].copy_from_slice(&value);
    }
}
