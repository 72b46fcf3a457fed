//! What holds for any bytes. What a packet on the wire becomes is told by the fixtures of tests/tests/decap.rs.

use super::{
    ecn::{Ecn, set_v4, set_v6},
    inner, link, outer,
};
use crate::cursor::Cursor;
use lb_common::decap::{DecapAction, DecapVerdict};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

const GUE_PORT: u16 = 6080;

/// A frame at an even address.
#[repr(align(2))]
struct Frame([u8; 128]);

/// `SplitMix64`: as good as random, and the same on every run.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The program without its maps: bytes to take off, and what is left of the frame from the inner header on.
fn walk(bytes: &mut [u8]) -> Result<(usize, usize, usize), DecapVerdict> {
    let mut cursor = Cursor::over(bytes);
    let link = link::parse(&mut cursor)?;
    let outer = outer::parse(&mut cursor, link.version, GUE_PORT)?;
    let carried = outer.open()?;
    let inner = inner::parse(&carried)?;
    inner.check(carried.length, outer.destination, outer.ecn)?;
    Ok((14 + 4 * link.tags, carried.overhead, carried.cursor.remaining()))
}

/// Random bytes that begin like a tunnel often enough; whatever is taken out lies within the frame.
#[test]
fn nothing_outside_of_the_frame_is_taken_out() {
    let mut state = 1;
    let mut taken = 0;
    for _ in 0..300_000 {
        let mut frame = Frame([0; 128]);
        for chunk in frame.0.chunks_mut(8) {
            chunk.copy_from_slice(&random(&mut state).to_ne_bytes());
        }
        let choice = random(&mut state);
        let bytes = &mut frame.0;
        bytes[0] &= 0xfe;
        (bytes[12], bytes[13]) = if choice & 1 == 0 { (0x08, 0x00) } else { (0x86, 0xdd) };
        bytes[14] = if choice & 1 == 0 { 0x45 } else { 0x60 };
        // Lengths that fit now and then, no fragment, a tunnel protocol.
        (bytes[16], bytes[18], bytes[20], bytes[21]) = (0, 0, 0, 0);
        let protocol = [4, 41, 17, 6][(choice >> 1) as usize % 4];
        let (at, start) = if choice & 1 == 0 { (23, 34) } else { (20, 54) };
        bytes[at] = protocol;
        let start = if protocol == 17 {
            bytes[start + 2..start + 5].copy_from_slice(&[0x17, 0xc0, 0]);
            start + 8
        } else {
            start
        };
        bytes[start] = if (choice >> 3) & 1 == 0 { 0x45 } else { 0x60 };
        (bytes[start + 2], bytes[start + 4]) = (0, 0);
        for length in [17, 19, start + 3, start + 5] {
            bytes[length] &= 0x7f;
        }
        let length = 14 + (choice >> 4) as usize % 115;
        match walk(&mut frame.0[..length]) {
            Ok((link, overhead, left)) => {
                assert_eq!(link + overhead + left, length);
                assert!((20..=68).contains(&overhead) && left >= 20);
                taken += 1;
            }
            Err(verdict) => assert_ne!(verdict.action(), DecapAction::Decapsulate),
        }
    }
    assert!(taken > 1_000, "{taken}: the frames miss what they are made for");
}

/// The sum of a header's words is 0xffff when its checksum is right (RFC 1071).
fn sum(header: &Ipv4Hdr) -> u16 {
    let words = [
        u16::from_be_bytes([header.vihl, header.tos]),
        u16::from_be_bytes(header.tot_len),
        u16::from_be_bytes(header.id),
        u16::from_be_bytes(header.frags),
        u16::from_be_bytes([header.ttl, header.proto]),
        u16::from_be_bytes(header.check),
    ];
    let addresses = header.src_addr.chunks(2).chain(header.dst_addr.chunks(2));
    let all = words.into_iter().chain(addresses.map(|pair| u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = all.map(u32::from).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

#[test]
fn a_mark_keeps_every_checksum_right() {
    for identification in 0..=u16::MAX {
        let mut header = Ipv4Hdr {
            vihl: 0x45,
            tos: 0b1011_1010,
            tot_len: [0, 40],
            id: identification.to_be_bytes(),
            frags: [0x40, 0],
            ttl: 61,
            proto: 6,
            check: [0, 0],
            src_addr: [203, 0, 113, 9],
            dst_addr: [192, 0, 2, 10],
        };
        header.check = (!sum(&header)).to_be_bytes();
        for mark in [Ecn::Ce, Ecn::Ect1, Ecn::NotEct, Ecn::Ect0] {
            set_v4(&mut header, mark);
            assert_eq!((sum(&header), header.tos >> 2), (0xffff, 0b10_1110), "{identification:#x} {mark:?}");
            assert_eq!(Ecn::of(header.tos), mark);
        }
    }
}

#[test]
fn a_mark_leaves_the_flow_label_alone() {
    let mut header = Ipv6Hdr {
        vcf: [0x6b, 0xaf, 0xed, 0xcb],
        payload_len: [0, 0],
        next_hdr: 6,
        hop_limit: 61,
        src_addr: [0; 16],
        dst_addr: [0; 16],
    };
    set_v6(&mut header, Ecn::Ce);
    assert_eq!(header.vcf, [0x6b, 0xbf, 0xed, 0xcb]);
    set_v6(&mut header, Ecn::Ect1);
    assert_eq!(header.vcf, [0x6b, 0x9f, 0xed, 0xcb]);
}
