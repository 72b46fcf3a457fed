//! The parser over ordinary memory: whatever the bytes, it ends without a panic and inside the frame.

use lb_common::counters::{DropReason, PassReason};
use lb_ebpf::{
    cursor::Cursor,
    parse::{Transport, eth, ipv4, ipv6, l4::Signal},
};
use proptest::{collection::vec, prelude::*};

/// What parsing comes to: the transport, or why there is none.
#[derive(Debug, PartialEq, Eq)]
enum Parsed {
    Passed(PassReason),
    Dropped(DropReason),
    /// Length of the packet from the transport header on, and whether it opens a connection.
    Good(usize, Signal),
}

/// The way of `balance` in the program, without its maps.
fn parse(frame: &mut [u8]) -> Parsed {
    let mut cursor = Cursor::over(frame);
    let parsed = eth::parse(&mut cursor).and_then(|link| match link.network {
        eth::Network::Ipv4 => ipv4::parse(&mut cursor).map(|packet| packet.transport),
        eth::Network::Ipv6 => ipv6::parse(&mut cursor).map(|packet| packet.transport),
    });
    match parsed {
        Err(reason) => Parsed::Passed(reason),
        Ok(transport) => finish(&transport),
    }
}

fn finish(transport: &Transport<'_>) -> Parsed {
    if transport.ports().is_none() {
        return Parsed::Passed(PassReason::Truncated);
    }
    match transport.check(0) {
        Ok(signal) => {
            assert!(transport.length <= transport.cursor.remaining(), "a packet longer than its frame");
            Parsed::Good(transport.length, signal)
        }
        Err(reason) => Parsed::Dropped(reason),
    }
}

fn ethernet(ether_type: u16) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..], &ether_type.to_be_bytes()].concat()
}

/// A frame whose first bytes lead into the parser, followed by anything.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let protocol =
        prop_oneof![Just(6u8), Just(17), Just(0), Just(43), Just(44), Just(51), Just(60), any::<u8>()];
    (any::<bool>(), 0..16u8, protocol, vec(any::<u8>(), 0..200)).prop_map(|(v6, low, protocol, mut rest)| {
        let put = |rest: &mut Vec<u8>, at: usize, byte| {
            if let Some(place) = rest.get_mut(at) {
                *place = byte;
            }
        };
        put(&mut rest, 0, if v6 { 0x60 } else { 0x40 } | low);
        put(&mut rest, if v6 { 4 } else { 2 }, 0);
        put(&mut rest, if v6 { 6 } else { 9 }, protocol);
        if !v6 {
            put(&mut rest, 6, 0x40);
            put(&mut rest, 7, 0);
        }
        [ethernet(if v6 { 0x86dd } else { 0x0800 }), rest].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_parse_without_a_panic(mut bytes in vec(any::<u8>(), 1..200)) {
        parse(&mut bytes);
    }

    #[test]
    fn anything_behind_a_start_that_is_ours_parses_without_a_panic(mut bytes in frame()) {
        parse(&mut bytes);
    }

    #[test]
    fn a_frame_cut_anywhere_is_never_a_good_packet(ports in any::<[u8; 4]>(), cut in 0usize..54) {
        let ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 198, 18, 0, 1, 192, 0, 2, 10];
        let tcp = [0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0];
        let mut whole = [&ethernet(0x0800)[..], &ip, &ports, &tcp].concat();
        prop_assert_eq!(parse(&mut whole), Parsed::Good(20, Signal::Opens));
        whole.truncate(cut);
        prop_assert!(!matches!(parse(&mut whole), Parsed::Good(..)));
    }
}
