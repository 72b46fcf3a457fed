//! What is taken out: every format, and the congestion marks of RFC 6040.

use std::net::IpAddr;

use lb_common::decap::{self, DecapVerdict};

use crate::{
    CLIENT, OWN, REMOTE, VIP, address,
    packets::{IPIP, IPIP6, Transport, client_packet, frame, gue, ip, verify},
    program::{Outcome, Program},
};

const FAMILIES: [bool; 2] = [false, true];
/// No tag, one, and two; 802.1ad outside of 802.1Q, and 802.1Q twice.
const TAGS: [&[(u16, u16)]; 4] =
    [&[], &[(0x8100, 0x6064)], &[(0x88a8, 10), (0x8100, 20)], &[(0x8100, 10), (0x8100, 20)]];

/// The outer packet in one format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Ipip,
    Gue,
    GueWithChecksum,
}

fn outer(format: Format, v6: bool, ecn: u8, inner: &[u8]) -> Vec<u8> {
    let (from, to) = (address(REMOTE, v6), address(OWN, v6));
    match format {
        Format::Ipip => {
            let protocol = if inner[0] >> 4 == 6 { IPIP6 } else { IPIP };
            ip(from, to, protocol, ecn, inner)
        }
        Format::Gue => ip(from, to, etherparse::IpNumber::UDP, ecn, &gue(decap::GUE_PORT, None, inner)),
        Format::GueWithChecksum => {
            let udp = gue(decap::GUE_PORT, Some((from, to)), inner);
            ip(from, to, etherparse::IpNumber::UDP, ecn, &udp)
        }
    }
}

fn expected(format: Format) -> DecapVerdict {
    if format == Format::Ipip { DecapVerdict::Ipip } else { DecapVerdict::Gue }
}

/// The kernel gets the inner packet as it was sent, under the frame's own addresses and tags.
#[test]
fn every_format_comes_out_as_it_went_in() {
    let program = program();
    let mut rows = 0;
    for format in [Format::Ipip, Format::Gue, Format::GueWithChecksum] {
        for (outer_v6, inner_v6) in FAMILIES.iter().flat_map(|&o| FAMILIES.map(|i| (o, i))) {
            for transport in [Transport::TcpSyn, Transport::Udp] {
                // 0 bytes to about an MTU; odd lengths too.
                for payload in [0, 1, 7, 1400] {
                    for tags in TAGS {
                        let inner = client(inner_v6, transport, 0, &vec![0xa5; payload]);
                        let sent = frame(tags, &outer(format, outer_v6, 0, &inner));
                        let row =
                            format!("{format:?} {outer_v6} {inner_v6} {transport:?} {payload} {tags:x?}");
                        let outcome = program.run(&sent);
                        assert_eq!(outcome.verdict, expected(format), "{row}");
                        let got = outcome.frame.unwrap();
                        assert_eq!(got, frame(tags, &inner), "{row}");
                        verify(&got);
                        rows += 1;
                    }
                }
            }
        }
    }
    assert_eq!(rows, 3 * 4 * 2 * 4 * 4);
}

/// Ethernet pads to 60 bytes; the padding belongs to neither packet and the kernel cuts it off.
#[test]
fn padding_stays_behind_the_packet() {
    let inner = client(false, Transport::Udp, 0, &[]);
    let mut sent = frame(&[], &outer(Format::Ipip, false, 0, &inner));
    assert!(sent.len() < 80);
    sent.resize(80, 0);
    let mut expected = frame(&[], &inner);
    expected.resize(60, 0);
    let outcome = program().run(&sent);
    assert_eq!(outcome, Outcome { verdict: DecapVerdict::Ipip, frame: Some(expected) });
}

/// Every length of options, up to the 40 bytes that an IPv4 header has room for.
#[test]
fn outer_ipv4_options_go_with_the_tunnel() {
    let program = program();
    for inner_v6 in FAMILIES {
        for format in [Format::Ipip, Format::Gue] {
            for options in (4..=40).step_by(4) {
                let inner = client(inner_v6, Transport::TcpSyn, 0, b"payment");
                let plain = outer(format, false, 0, &inner);
                let (mut ip, payload) = etherparse::Ipv4Header::from_slice(&plain).unwrap();
                // No-operation, RFC 791.
                ip.options = vec![1; options].as_slice().try_into().unwrap();
                ip.set_payload_len(payload.len()).unwrap();
                let mut packet = Vec::new();
                ip.write(&mut packet).unwrap();
                packet.extend_from_slice(payload);
                for tags in TAGS {
                    let outcome = program.run(&frame(tags, &packet));
                    assert_eq!(outcome.verdict, expected(format), "{options} bytes");
                    assert_eq!(outcome.frame.unwrap(), frame(tags, &inner), "{options} bytes");
                }
            }
        }
    }
}

#[test]
fn the_gue_port_is_the_one_configured() {
    let inner = client(false, Transport::Udp, 0, b"payment");
    let (from, to) = (address(REMOTE, false), address(OWN, false));
    for (configured, used, verdict) in [
        (decap::GUE_PORT, 6080, DecapVerdict::Gue),
        (6666, 6666, DecapVerdict::Gue),
        (6666, 6080, DecapVerdict::NotTunnel),
        (65_535, 65_535, DecapVerdict::Gue),
    ] {
        let program = Program::load(&[to], &[address(VIP, false)], configured);
        let packet = ip(from, to, etherparse::IpNumber::UDP, 0, &gue(used, None, &inner));
        assert_eq!(program.run(&frame(&[], &packet)).verdict, verdict, "{configured} {used}");
    }
}

/// RFC 6040 section 4.2, figure 4. Rows: inner Not-ECT, ECT(0), ECT(1), CE; columns: the same outside. `None`: dropped.
const RFC_6040: [(u8, [Option<u8>; 4]); 4] = [
    (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
    (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
    (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
    (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
];
const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

#[test]
fn congestion_marks_go_inside() {
    let program = program();
    let mut rows = 0;
    for format in [Format::Ipip, Format::Gue] {
        for (outer_v6, inner_v6) in FAMILIES.iter().flat_map(|&o| FAMILIES.map(|i| (o, i))) {
            for (inner_ecn, results) in RFC_6040 {
                for (outer_ecn, result) in [NOT_ECT, ECT_0, ECT_1, CE].into_iter().zip(results) {
                    let packet = |ecn| client(inner_v6, Transport::TcpSyn, ecn, b"payment");
                    let sent = frame(&[], &outer(format, outer_v6, outer_ecn, &packet(inner_ecn)));
                    let outcome = program.run(&sent);
                    let row =
                        format!("{format:?} {outer_v6} {inner_v6}: {outer_ecn:02b} around {inner_ecn:02b}");
                    match result {
                        None => {
                            let dropped = Outcome { verdict: DecapVerdict::EcnConflict, frame: None };
                            assert_eq!(outcome, dropped, "{row}");
                        }
                        Some(ecn) => {
                            assert_eq!(outcome.verdict, expected(format), "{row}");
                            let got = outcome.frame.unwrap();
                            // Built anew by etherparse with the other mark, so with a checksum computed anew.
                            assert_eq!(got, frame(&[], &packet(ecn)), "{row}");
                            verify(&got);
                        }
                    }
                    rows += 1;
                }
            }
        }
    }
    assert_eq!(rows, 16 * 8);
}

/// The incremental update of RFC 1624 over every checksum that the identification can bring about.
#[test]
fn the_checksum_is_right_for_every_identification() {
    let program = program();
    for identification in (0..=u16::MAX).step_by(251).chain([0xfffe, 0xffff]) {
        let packet = |ecn| {
            let plain = client(false, Transport::Udp, ecn, b"payment");
            let (mut ip, payload) = etherparse::Ipv4Header::from_slice(&plain).unwrap();
            ip.identification = identification;
            let mut packet = Vec::new();
            ip.write(&mut packet).unwrap();
            packet.extend_from_slice(payload);
            packet
        };
        let got = program.run(&frame(&[], &outer(Format::Ipip, false, CE, &packet(ECT_0)))).frame.unwrap();
        assert_eq!(got, frame(&[], &packet(CE)), "{identification:#x}");
    }
}

/// A header that arrived damaged must not leave repaired.
#[test]
fn a_wrong_inner_checksum_stays_wrong() {
    let mut inner = client(false, Transport::Udp, ECT_0, b"payment");
    inner[10] ^= 0x40;
    let got = program().run(&frame(&[], &outer(Format::Ipip, false, CE, &inner))).frame.unwrap();
    let (ip, _) = etherparse::Ipv4Header::from_slice(&got[14..]).unwrap();
    assert_ne!(ip.header_checksum, ip.calc_header_checksum());
}

fn program() -> Program {
    let both = |of: [&str; 2]| FAMILIES.map(|v6| address(of, v6));
    Program::load(&both(OWN), &both(VIP), decap::GUE_PORT)
}

fn client(v6: bool, transport: Transport, ecn: u8, payload: &[u8]) -> Vec<u8> {
    let [from, to]: [IpAddr; 2] = [address(CLIENT, v6), address(VIP, v6)];
    client_packet(from, to, transport, ecn, payload)
}
