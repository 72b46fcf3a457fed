//! Echoes of ISO 8583, in every framing and packing, to a host that answers well, badly, late or out of turn.

use std::time::Duration;

use lb_tests::{
    bed::{Bed, Silent},
    iso8583_host::{Iso8583Host, Options},
};
use lb_userspace::health::iso8583::{Bitmap, Encoding, LengthEncoding, LengthHeader, Packing};

use crate::checked::{assert_passed, check, failure};

const PORT: u16 = 8583;

#[test]
fn a_host_answers_in_every_framing_and_packing() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let mut port = PORT;
    let mut hosts = Vec::new();
    for (bytes, encoding, header) in [
        (2, LengthEncoding::Binary, ""),
        (0, LengthEncoding::Binary, "header_bytes = 0"),
        (4, LengthEncoding::Binary, "header_bytes = 4"),
        (4, LengthEncoding::Ascii, "header_bytes = 4\nheader_encoding = \"ascii\""),
        (2, LengthEncoding::Bcd, "header_encoding = \"bcd\""),
    ] {
        for (packing, message) in [
            (Packing::default(), ""),
            (Packing { encoding: Encoding::Bcd, bitmap: Bitmap::Binary }, "encoding = \"bcd\""),
            (Packing { encoding: Encoding::Ascii, bitmap: Bitmap::Binary }, "bitmap = \"binary\""),
        ] {
            let header_of_host = LengthHeader::new(bytes, encoding).unwrap();
            let options = Options { header: header_of_host, packing, ..Options::default() };
            let host = Iso8583Host::start_on(backend, port, options).unwrap();
            for v6 in [false, true] {
                let report = check(&bed, backend, v6, port, "iso8583", &format!("{header}\n{message}"));
                assert_passed(&report, true);
            }
            assert_eq!((host.connections(), host.requests()), (2, 2), "{header} {message}");
            hosts.push(host);
            port += 1;
        }
    }
}

#[test]
fn a_host_that_does_not_approve_or_does_not_understand() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let refuses = Options { response: Some("91".into()), ..Options::default() };
    let _refuses = Iso8583Host::start_on(backend, PORT, refuses).unwrap();
    let bcd = Packing { encoding: Encoding::Bcd, bitmap: Bitmap::Binary };
    let _packs =
        Iso8583Host::start_on(backend, PORT + 1, Options { packing: bcd, ..Options::default() }).unwrap();
    let fails = |port, keys: &str| failure(&check(&bed, backend, false, port, "iso8583", keys));
    assert_eq!(fails(PORT, ""), "answered with response code \"91\" (element 39), not \"00\"");
    // It hangs up on what it cannot read.
    assert_eq!(fails(PORT + 1, ""), "the connection ended before the answer: closed by the backend");
    // Two bytes of length more than it knows are the beginning of the message to it.
    let told = fails(PORT + 1, "encoding = \"bcd\"\nheader_bytes = 4\ntimeout = \"300ms\"");
    assert!(told == "no answer within 300 ms" || told.contains("closed by the backend"), "{told}");
}

#[test]
fn a_host_that_is_late_or_mute() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let slow = |service_time| Options { service_time, ..Options::default() };
    let _late = Iso8583Host::start_on(backend, PORT, slow(Duration::from_secs(30))).unwrap();
    let _slow = Iso8583Host::start_on(backend, PORT + 1, slow(Duration::from_millis(100))).unwrap();
    let _mute = Silent::start(backend, PORT + 2).unwrap();
    let make = |port, keys: &str| check(&bed, backend, false, port, "iso8583", keys);
    for port in [PORT, PORT + 2] {
        let report = make(port, "timeout = \"200ms\"");
        assert_eq!(failure(&report), "no answer within 200 ms");
        assert_eq!(report.first_byte, None);
        assert!(report.connect.is_some());
    }
    let report = make(PORT + 1, "interval = \"30s\"\ntimeout = \"30s\"");
    assert_passed(&report, true);
    assert!(report.first_byte.unwrap() >= Duration::from_millis(100), "{report:?}");
}

#[test]
fn a_host_that_speaks_first_is_still_waited_for() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let options = Options { signs_on: true, ..Options::default() };
    let _host = Iso8583Host::start_on(backend, PORT, options).unwrap();
    assert_passed(&check(&bed, backend, false, PORT, "iso8583", ""), true);
}
