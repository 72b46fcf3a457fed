//! nat's arithmetic on ordinary memory, held to etherparse: a rewritten packet is the one that etherparse builds anew.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use lb_common::service::{TCP, UDP};
use lb_ebpf::{
    cursor::Writer,
    forward::{
        checksum::Change,
        nat::{End, IpHeader, rewrite},
    },
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use proptest::{collection::vec, prelude::*};

/// One end of a packet: an address of which IPv4 takes the last four bytes, and a port.
type Place = ([u8; 16], u16);

fn v4(address: [u8; 16]) -> [u8; 4] {
    let [.., a, b, c, d] = address;
    [a, b, c, d]
}

/// An IP packet whose checksums etherparse computes.
fn built(
    ipv6: bool,
    protocol: u8,
    hops: u8,
    (source, from): Place,
    (destination, to): Place,
    payload: &[u8],
) -> Vec<u8> {
    let start = if ipv6 {
        PacketBuilder::ipv6(source, destination, hops)
    } else {
        PacketBuilder::ipv4(v4(source), v4(destination), hops)
    };
    let mut bytes = Vec::new();
    if protocol == TCP {
        start.tcp(from, to, 1, 2).write(&mut bytes, payload).unwrap();
    } else {
        start.udp(from, to).write(&mut bytes, payload).unwrap();
    }
    bytes
}

/// The program's way: a hop less, and another end.
fn rewritten(bytes: &mut [u8], ipv6: bool, protocol: u8, end: End, (address, port): Place) {
    let header = if ipv6 { Ipv6Hdr::LEN } else { Ipv4Hdr::LEN };
    let (network, transport) = bytes.split_at_mut(header);
    if ipv6 {
        Writer::over(network).take::<Ipv6Hdr>().unwrap().spend_hop();
    } else {
        Writer::over(network).take::<Ipv4Hdr>().unwrap().spend_hop();
    }
    let (mut network, mut transport) = (Writer::over(network), Writer::over(transport));
    let port = port.to_be_bytes();
    let done = if ipv6 {
        rewrite::<Ipv6Hdr>(&mut network, &mut transport, protocol, end, &address, port)
    } else {
        rewrite::<Ipv4Hdr>(&mut network, &mut transport, protocol, end, &address, port)
    };
    done.unwrap();
}

/// Words that make sums overflow, beside any others.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![3 => any::<u8>(), 1 => Just(0), 1 => Just(0xff)]
}

fn address() -> impl Strategy<Value = [u8; 16]> {
    vec(byte(), 16).prop_map(|bytes| bytes.try_into().unwrap())
}

/// A transport checksum in wire order.
fn checksum(bytes: &[u8]) -> u16 {
    match SlicedPacket::from_ip(bytes).unwrap().transport {
        Some(TransportSlice::Tcp(tcp)) => tcp.checksum(),
        Some(TransportSlice::Udp(udp)) => udp.checksum(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_rewritten_packet_is_the_one_that_was_built_anew(
        (ipv6, tcp, there) in any::<(bool, bool, bool)>(),
        hops in 1u8..,
        (source, destination, other) in (address(), address(), address()),
        (from, to, port) in any::<(u16, u16, u16)>(),
        payload in vec(byte(), 0..64),
    ) {
        let protocol = if tcp { TCP } else { UDP };
        let (client, service) = ((source, from), (destination, to));
        let mut bytes = built(ipv6, protocol, hops, client, service, &payload);
        let end = if there { End::Destination } else { End::Source };
        rewritten(&mut bytes, ipv6, protocol, end, (other, port));
        // Port 0 keeps the packet's.
        let kept = |old| (other, if port == 0 { old } else { port });
        let (client, service) = if there { (client, kept(to)) } else { (kept(from), service) };
        prop_assert_eq!(bytes, built(ipv6, protocol, hops - 1, client, service, &payload));
    }

    #[test]
    fn a_wrong_checksum_stays_wrong_and_none_stays_none(
        ipv6 in any::<bool>(), wrong in 1u16.., (source, destination, other) in (address(), address(), address()),
    ) {
        let (client, service) = ((source, 40_000), (destination, 80));
        let mut bytes = built(ipv6, UDP, 64, client, service, b"ISO8583");
        let at = bytes.len() - 7 - 2;
        let right = checksum(&bytes);
        // 0xffff stands for 0 too, so it may be right.
        prop_assume!(right != wrong && right % 0xffff != wrong % 0xffff);
        bytes[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
        rewritten(&mut bytes, ipv6, UDP, End::Destination, (other, 8080));
        let anew = built(ipv6, UDP, 63, client, (other, 8080), b"ISO8583");
        prop_assert!(checksum(&bytes) != checksum(&anew));
        let mut none = built(ipv6, UDP, 64, client, service, b"ISO8583");
        none[at..at + 2].fill(0);
        rewritten(&mut none, ipv6, UDP, End::Destination, (other, 8080));
        prop_assert_eq!(checksum(&none), 0);
    }
}

/// RFC 1624 section 4, where equation 2 of RFC 1141 gives 0xffff.
#[test]
fn the_example_of_the_rfc() {
    assert_eq!(Change::NONE.and(0x5555, 0x3285).over(0xdd2f), 0x0000);
}
