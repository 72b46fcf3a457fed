//! What is left alone, what is dropped, and under which counter.

use std::{collections::HashSet, net::IpAddr};

use etherparse::IpNumber;
use lb_common::decap::{DecapAction, DecapVerdict as V, GUE_PORT};

use crate::{
    CLIENT, OWN, REMOTE, VIP, address,
    packets::{IPIP, IPIP6, Transport, client_packet, frame, gue, ip},
    program::Program,
};

/// An address that is both the interface's own and, against the command's rules, a VIP.
const BOTH: [&str; 2] = ["198.18.0.12", "2001:db8:18::12"];
const ELSEWHERE: [&str; 2] = ["198.18.0.99", "2001:db8:18::99"];

struct Row {
    what: &'static str,
    frame: Vec<u8>,
    verdict: V,
}

/// A change to a frame.
trait Change {
    fn with(self, at: usize, byte: u8) -> Self;
    fn cut(self, length: usize) -> Self;
}

impl Change for Vec<u8> {
    fn with(mut self, at: usize, byte: u8) -> Self {
        self[at] = byte;
        self
    }

    fn cut(mut self, length: usize) -> Self {
        self.truncate(length);
        self
    }
}

fn row(what: &'static str, frame: Vec<u8>, verdict: V) -> Row {
    Row { what, frame, verdict }
}

fn inner(to: [&str; 2], v6: bool) -> Vec<u8> {
    client_packet(address(CLIENT, v6), address(to, v6), Transport::Udp, 0, b"payment")
}

fn packet(to: [&str; 2], v6: bool, protocol: IpNumber, payload: &[u8]) -> Vec<u8> {
    ip(address(REMOTE, v6), address(to, v6), protocol, 0, payload)
}

/// IPv4 in IPv4 to the backend: IP at 14, inner IP at 34.
fn ipip4() -> Vec<u8> {
    frame(&[], &packet(OWN, false, IPIP, &inner(VIP, false)))
}

/// IPv6 in IPv6 to the backend: IP at 14, inner IP at 54.
fn ipip6() -> Vec<u8> {
    frame(&[], &packet(OWN, true, IPIP6, &inner(VIP, true)))
}

/// IPv4 in GUE over IPv4 to the backend: IP at 14, UDP at 34, inner IP at 42.
fn gue4() -> Vec<u8> {
    frame(&[], &packet(OWN, false, IpNumber::UDP, &gue(GUE_PORT, None, &inner(VIP, false))))
}

/// IPv6 in GUE over IPv6 to the backend: IP at 14, UDP at 54, inner IP at 62.
fn gue6() -> Vec<u8> {
    frame(&[], &packet(OWN, true, IpNumber::UDP, &gue(GUE_PORT, None, &inner(VIP, true))))
}

fn not_ours() -> Vec<Row> {
    let plain = |v6| frame(&[], &inner(VIP, v6));
    let three_tags = [(0x88a8, 1), (0x8100, 2), (0x8100, 3)];
    let to = |to, v6, protocol, payload: &[u8]| frame(&[], &packet(to, v6, protocol, payload));
    let port = |port, v6| to(OWN, v6, IpNumber::UDP, &gue(port, None, &inner(VIP, v6)));
    vec![
        row("ARP", ipip4().with(12, 0x08).with(13, 0x06), V::NotIp),
        row("three tags", frame(&three_tags, &ipip4()[14..]), V::NotIp),
        row("to the link's broadcast", ipip4().with(0, 0xff), V::GroupAddressed),
        row("to a link's multicast", ipip6().with(0, 0x33), V::GroupAddressed),
        row("not in a tunnel, IPv4", plain(false), V::NotTunnel),
        row("not in a tunnel, IPv6", plain(true), V::NotTunnel),
        row("ICMP", to(OWN, false, IpNumber::ICMP, &[8; 64]), V::NotTunnel),
        row("ICMPv6", to(OWN, true, IpNumber::IPV6_ICMP, &[128; 64]), V::NotTunnel),
        row("GRE", to(OWN, false, IpNumber::GRE, &inner(VIP, false)), V::NotTunnel),
        row("TCP to port 6080", to(OWN, false, IpNumber::TCP, &gue(6080, None, &[0; 40])), V::NotTunnel),
        row("UDP to the port below", port(6079, false), V::NotTunnel),
        row("UDP to the port above, IPv6", port(6081, true), V::NotTunnel),
        row("ipip to another address", to(ELSEWHERE, false, IPIP, &inner(VIP, false)), V::NotOwn),
        row("ipip to another address, IPv6", to(ELSEWHERE, true, IPIP6, &inner(VIP, true)), V::NotOwn),
        row("ipip to the VIP itself", to(VIP, false, IPIP, &inner(VIP, false)), V::NotOwn),
        row("malformed, to another address", to(ELSEWHERE, false, IPIP, &[0x45]), V::NotOwn),
        row("around another address", to(OWN, false, IPIP, &inner(ELSEWHERE, false)), V::NotVip),
        row("around another address, IPv6", to(OWN, true, IPIP6, &inner(ELSEWHERE, true)), V::NotVip),
        row("around another address, 6in4", to(OWN, false, IPIP6, &inner(ELSEWHERE, true)), V::NotVip),
        row("around the backend's address", to(OWN, false, IPIP, &inner(OWN, false)), V::NotVip),
        row(
            "GUE around another address",
            to(OWN, false, IpNumber::UDP, &gue(GUE_PORT, None, &inner(ELSEWHERE, false))),
            V::NotVip,
        ),
    ]
}

fn unclear() -> Vec<Row> {
    let v6 = |next: u8, payload: &[u8]| frame(&[], &packet(OWN, true, IpNumber(next), payload));
    let options = [[4, 0, 4, 1, 4, 1, 1, 0].as_slice(), &inner(VIP, false)].concat();
    vec![
        row("first fragment, ipip", ipip4().with(20, 0x20), V::Fragment),
        row("later fragment, ipip", ipip4().with(20, 0x00).with(21, 0x10), V::Fragment),
        row("first fragment, GUE", gue4().with(20, 0x20), V::Fragment),
        row("later fragment, UDP", gue4().with(20, 0x00).with(21, 0x10).with(37, 0), V::Fragment),
        row("fragment header", v6(44, &inner(VIP, true)), V::Fragment),
        row("fragment to another address", fragment_elsewhere(), V::NotOwn),
        row("fragment of TCP", ipip4().with(20, 0x20).with(23, 6), V::NotTunnel),
        row("encapsulation limit (RFC 2473)", v6(60, &options), V::Extension),
        row("hop-by-hop options", v6(0, &options), V::Extension),
        row("routing header", v6(43, &options), V::Extension),
        row("authentication header", v6(51, &options), V::Extension),
        row("ends in the IPv4 header", ipip4().cut(33), V::Truncated),
        row("ends in the IPv6 header", ipip6().cut(53), V::Truncated),
        row("ends in a tag", frame(&[(0x8100, 1)], &ipip4()[14..]).cut(17), V::Truncated),
        row("ends in the UDP ports", gue4().cut(37), V::Truncated),
        row("ends in the UDP ports, IPv6", gue6().cut(57), V::Truncated),
        row("IPv6 in a frame of IPv4", ipip4().with(14, 0x65), V::MalformedIp),
        row("IPv4 in a frame of IPv6", ipip6().with(14, 0x40), V::MalformedIp),
        row("IPv4 header of 16 bytes", ipip4().with(14, 0x44), V::MalformedIp),
    ]
}

fn fragment_elsewhere() -> Vec<u8> {
    frame(&[], &packet(ELSEWHERE, false, IPIP, &inner(VIP, false))).with(20, 0x20)
}

fn dropped() -> Vec<Row> {
    let carry = |v6, protocol, payload: &[u8]| frame(&[], &packet(OWN, v6, protocol, payload));
    let in_gue = |v6, payload: &[u8]| carry(v6, IpNumber::UDP, &gue(GUE_PORT, None, payload));
    let (v4, v6) = (inner(VIP, false), inner(VIP, true));
    let marked = |v6: bool, protocol| {
        frame(&[], &ip(address(REMOTE, v6), address(OWN, v6), protocol, 3, &inner(VIP, v6)))
    };
    let both: fn(bool) -> IpAddr = |v6| address(BOTH, v6);
    let itself = |v6, protocol| frame(&[], &ip(address(REMOTE, v6), both(v6), protocol, 0, &inner(BOTH, v6)));
    vec![
        row("IPv4 length below the header's", ipip4().with(16, 0).with(17, 19), V::OuterLength),
        row("IPv4 length past the frame", ipip4().with(16, 0xff), V::OuterLength),
        row(
            "a byte lost",
            {
                let f = ipip4();
                let n = f.len() - 1;
                f.cut(n)
            },
            V::OuterLength,
        ),
        row(
            "a byte lost, IPv6",
            {
                let f = ipip6();
                let n = f.len() - 1;
                f.cut(n)
            },
            V::OuterLength,
        ),
        row("ends in the UDP length", gue4().cut(39), V::OuterLength),
        row("UDP length 7", gue4().with(38, 0).with(39, 7), V::UdpLength),
        row("UDP length past the packet", gue4().with(38, 0xff), V::UdpLength),
        row("UDP length past the packet, IPv6", gue6().with(58, 0xff), V::UdpLength),
        row("a packet of 4 bytes", gue4().cut(38).with(16, 0).with(17, 24), V::UdpLength),
        row("GUE variant 0", in_gue(false, &[&[0, 4, 0, 0], v4.as_slice()].concat()), V::GueVariant),
        row("GUE variant 2", gue4().with(42, 0x85), V::GueVariant),
        row("GUE around IP version 5", gue4().with(42, 0x55), V::GueVariant),
        row("GUE around IP version 7", gue6().with(62, 0x70), V::GueVariant),
        row("IPv6 under protocol 4", carry(false, IPIP, &v6), V::InnerVersion),
        row("IPv4 under protocol 41", carry(true, IPIP6, &v4), V::InnerVersion),
        row("nothing in ipip", carry(false, IPIP, &[]), V::InnerHeader),
        row(
            "padding in ipip",
            {
                let mut f = carry(false, IPIP, &[]);
                f.resize(60, 0x45);
                f
            },
            V::InnerHeader,
        ),
        row("nothing in GUE", in_gue(false, &[]), V::InnerHeader),
        row("19 bytes of IPv4", carry(false, IPIP, &v4[..19]), V::InnerHeader),
        row("19 bytes of IPv4 in GUE", in_gue(true, &v4[..19]), V::InnerHeader),
        row("39 bytes of IPv6", carry(false, IPIP6, &v6[..39]), V::InnerHeader),
        row("39 bytes of IPv6 in GUE", in_gue(true, &v6[..39]), V::InnerHeader),
        row("inner header of 16 bytes", ipip4().with(34, 0x44), V::InnerHeader),
        row("inner length below its header", ipip4().with(36, 0).with(37, 19), V::InnerHeader),
        row("inner length past the tunnel", carry(false, IPIP, &v4[..v4.len() - 1]), V::InnerLength),
        row("inner length past the tunnel, IPv6", carry(true, IPIP6, &v6[..v6.len() - 1]), V::InnerLength),
        row("inner length past GUE's", in_gue(false, &v4[..v4.len() - 1]), V::InnerLength),
        row("inner length in the padding", padded_short_gue(), V::InnerLength),
        row("CE around not-ECT", marked(false, IPIP), V::EcnConflict),
        row("CE around not-ECT, IPv6", marked(true, IPIP6), V::EcnConflict),
        row("around its own destination", itself(false, IPIP), V::InnerToOuter),
        row("around its own destination, IPv6", itself(true, IPIP6), V::InnerToOuter),
    ]
}

/// UDP says one byte less than the IP packet around it has.
fn padded_short_gue() -> Vec<u8> {
    let frame = gue4();
    let udp_length = frame[39];
    frame.with(39, udp_length - 1)
}

#[test]
fn every_reason() {
    let both = [false, true];
    let own: Vec<IpAddr> = both.iter().flat_map(|&v6| [address(OWN, v6), address(BOTH, v6)]).collect();
    let vips: Vec<IpAddr> = both.iter().flat_map(|&v6| [address(VIP, v6), address(BOTH, v6)]).collect();
    let program = Program::load(&own, &vips, GUE_PORT);
    let mut seen = HashSet::new();
    for Row { what, frame, verdict } in [not_ours(), unclear(), dropped()].into_iter().flatten() {
        let outcome = program.run(&frame);
        assert_eq!(outcome.verdict, verdict, "{what}");
        match verdict.action() {
            DecapAction::Pass => assert_eq!(outcome.frame.as_ref(), Some(&frame), "{what}: changed"),
            DecapAction::Drop => assert_eq!(outcome.frame, None, "{what}"),
            DecapAction::Decapsulate => unreachable!("no reason"),
        }
        seen.insert(verdict);
    }
    // The two of tests of formats; and what the kernel has no cause to refuse, as the inner header was just read.
    seen.extend([V::Ipip, V::Gue, V::AdjustHead]);
    let missing: Vec<_> = V::ALL.iter().filter(|verdict| !seen.contains(verdict)).collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

/// Without a VIP nothing is taken out, and without an own address nothing is looked into.
#[test]
fn empty_sets_take_nothing_out() {
    let (own, vip) = (address(OWN, false), address(VIP, false));
    assert_eq!(Program::load(&[own], &[], GUE_PORT).run(&ipip4()).verdict, V::NotVip);
    assert_eq!(Program::load(&[], &[vip], GUE_PORT).run(&ipip4()).verdict, V::NotOwn);
}

/// Cut anywhere, a tunnel packet is never taken out, and never reaches another counter than these.
#[test]
fn no_cut_is_mistaken_for_a_packet() {
    let program = Program::load(
        &[address(OWN, false), address(OWN, true)],
        &[address(VIP, false), address(VIP, true)],
        GUE_PORT,
    );
    for frame in [ipip4(), ipip6(), gue4(), gue6()] {
        for length in 14..frame.len() {
            let verdict = program.run(&frame[..length]).verdict;
            assert!(matches!(verdict, V::Truncated | V::OuterLength), "{length}: {verdict:?}");
        }
    }
}
