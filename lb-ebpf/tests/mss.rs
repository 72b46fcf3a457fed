//! Clamping the segment size of a SYN, judged by another implementation of the checksum.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use etherparse::{PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice};
use lb_ebpf::{
    cursor::Cursor,
    forward::mss,
    parse::{eth, ipv4},
};

/// A SYN with these options, byte by byte.
fn syn(options: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
        .ipv4([198, 51, 100, 7], [192, 0, 2, 10], 64)
        .tcp(40_001, 443, 7, 64_240)
        .syn()
        .options_raw(options)
        .unwrap();
    let mut frame = Vec::new();
    builder.write(&mut frame, &[]).unwrap();
    frame
}

/// Clamps; gives the frame after, whose checksum holds.
fn clamped(mut frame: Vec<u8>, most: u16) -> Vec<u8> {
    let mut cursor = Cursor::over(&mut frame);
    eth::parse(&mut cursor).unwrap();
    let packet = ipv4::parse(&mut cursor).unwrap();
    mss::clamp(&packet.transport, most);
    assert!(checksum_holds(&frame), "{frame:02x?}");
    frame
}

fn checksum_holds(frame: &[u8]) -> bool {
    let parsed = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = parsed.transport else { panic!("not TCP") };
    tcp.checksum() == tcp.calc_checksum_ipv4([198, 51, 100, 7], [192, 0, 2, 10]).unwrap()
}

fn segment_size(frame: &[u8]) -> Option<u16> {
    let parsed = SlicedPacket::from_ethernet(frame).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = parsed.transport else { panic!("not TCP") };
    tcp.options_iterator().find_map(|option| match option {
        Ok(TcpOptionElement::MaximumSegmentSize(size)) => Some(size),
        _ => None,
    })
}

#[test]
fn the_size_is_lowered_wherever_the_option_lies() {
    // First; behind padding, so that it lies at an odd place; behind others, as some systems send it.
    let layouts: &[&[u8]] = &[
        &[2, 4, 0x05, 0xb4],
        &[1, 2, 4, 0x05, 0xb4, 1, 1, 1],
        &[1, 1, 1, 2, 4, 0x05, 0xb4, 0],
        &[4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 3, 3, 7, 2, 4, 0x05, 0xb4, 0],
    ];
    for options in layouts {
        for most in [536, 1000, 1301, 1459] {
            assert_eq!(segment_size(&clamped(syn(options), most)), Some(most), "{options:?}");
        }
    }
}

#[test]
fn what_asks_for_less_or_nothing_stays() {
    let layouts: &[&[u8]] = &[
        &[2, 4, 0x02, 0x18],
        &[],
        &[1, 1, 1, 1],
        // Of a wrong length, behind the end, or without one.
        &[2, 3, 0x05, 0xb4],
        &[0, 2, 4, 0x05],
        &[8, 0, 2, 4],
        &[8, 40, 2, 4],
    ];
    for options in layouts {
        let frame = syn(options);
        assert_eq!(clamped(frame.clone(), 1000), frame, "{options:?}");
    }
}
