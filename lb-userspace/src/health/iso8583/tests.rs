//! Messages against bytes of another implementation, and round trips.

use super::{Bitmap, DecodeError, EncodeError, Encoding, Kind, Length, Message, Packing, format};
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

const ASCII: Packing = Packing { encoding: Encoding::Ascii, bitmap: Bitmap::Hex };
const MIXED: Packing = Packing { encoding: Encoding::Ascii, bitmap: Bitmap::Binary };
const BCD: Packing = Packing { encoding: Encoding::Bcd, bitmap: Bitmap::Binary };

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn echo() -> Message {
    super::echo::request("000123", SystemTime::UNIX_EPOCH + Duration::from_secs(1_770_210_901))
}

fn answer() -> Message {
    Message { kind: 810, ..echo() }.with(39, "00")
}

/// With elements of every kind, of fixed and variable lengths, odd and even.
fn purchase() -> Message {
    Message::new(200)
        .with(2, "541333000000001")
        .with(3, "000000")
        .with(4, "000000001999")
        .with(7, "0204131501")
        .with(11, "000124")
        .with(32, "12345678901")
        .with(37, "403513000124")
        .with(41, "TERM0001")
        .with(48, "private data")
        .with(52, hex("0123456789abcdef"))
        .with(53, "1234567890123456")
}

/// What pyiso8583 4.0.1 makes of the same messages.
fn known() -> Vec<(Message, Packing, Vec<u8>)> {
    vec![
        (echo(), ASCII, b"0800822000000000000004000000000000000204131501000123301".to_vec()),
        (answer(), ASCII, b"081082200000020000000400000000000000020413150100012300301".to_vec()),
        (purchase(), ASCII, b"020072200001088118001554133300000000100000000000000199902041315010001241112345678901403513000124TERM0001012private data0123456789ABCDEF1234567890123456".to_vec()),
        (echo(), MIXED, hex("303830308220000000000000040000000000000030323034313331353031303030313233333031")),
        (purchase(), MIXED, hex("303230307220000108811800313535343133333330303030303030303130303030303030303030303030303139393930323034313331353031303030313234313131323334353637383930313430333531333030303132345445524d303030313031327072697661746520646174610123456789abcdef31323334353637383930313233343536")),
        (echo(), BCD, hex("08008220000000000000040000000000000002041315010001230301")),
        (answer(), BCD, hex("081082200000020000000400000000000000020413150100012330300301")),
        (purchase(), BCD, hex("020072200001088118001505413330000000010000000000000019990204131501000124110123456789013430333531333030303132345445524d3030303100127072697661746520646174610123456789abcdef1234567890123456")),
    ]
}

#[test]
fn messages_are_those_of_another_implementation() {
    for (message, packing, bytes) in known() {
        assert_eq!(message.encode(packing), Ok(bytes.clone()), "{packing:?}");
        assert_eq!(Message::decode(&bytes, packing, 128), Ok((message, bytes.len())), "{packing:?}");
    }
}

#[test]
fn whatever_is_cut_off_is_short() {
    for (_, packing, bytes) in known() {
        for length in 0..bytes.len() {
            let read = Message::decode(&bytes[..length], packing, 128);
            assert_eq!(read, Err(DecodeError::Short), "{length} of {bytes:x?}");
        }
    }
}

/// Element 48 as no dictionary has it, behind the elements that an answer is judged by.
#[test]
fn what_comes_behind_the_last_element_asked_for_does_no_harm() {
    let bytes = b"0810002000000201000000012300xyz";
    assert_eq!(Message::decode(bytes, ASCII, 128), Err(DecodeError::Length(48)));
    let (message, length) = Message::decode(bytes, ASCII, 39).unwrap();
    assert_eq!((message.text(11), message.text(39)), (Some("000123"), Some("00")));
    assert_eq!(length, bytes.len() - "xyz".len());
    // An element that is not read need not be there either.
    assert!(Message::decode(&bytes[..length], ASCII, 39).is_ok());
}

#[test]
fn tracks_and_signs_in_bcd() {
    let message = Message::new(200).with(28, "C00000250").with(35, "5413330089=2512");
    let bytes = message.encode(BCD).unwrap();
    assert_eq!(
        bytes,
        hex("0200 00000010 20000000 43 00000250 15 05413330089d2512".replace(' ', "").as_str())
    );
    assert_eq!(Message::decode(&bytes, BCD, 128), Ok((message, bytes.len())));
}

#[test]
fn bytes_that_are_no_message() {
    let rows: [(&[u8], Packing, DecodeError); 6] = [
        (b"08x0822000000000000004000000000000000", ASCII, DecodeError::Kind),
        (&[0x08, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0], BCD, DecodeError::Kind),
        (b"0800g220000000000000", ASCII, DecodeError::Bitmap),
        (b"08004000000000000000999", ASCII, DecodeError::Long(2)),
        (b"080040000000000000002x9", ASCII, DecodeError::Length(2)),
        (b"080000000000000010000123456789abcdeg", ASCII, DecodeError::Value(52)),
    ];
    for (bytes, packing, error) in rows {
        assert_eq!(Message::decode(bytes, packing, 128), Err(error), "{bytes:x?}");
    }
}

#[test]
fn values_of_another_format_are_not_packed() {
    for (message, error) in [
        (Message::new(10_000), EncodeError::Kind(10_000)),
        (Message::new(800).with(1, "0"), EncodeError::Unknown(1)),
        (Message::new(800).with(129, "0"), EncodeError::Unknown(129)),
        (Message::new(800).with(11, "12345"), EncodeError::Value(11)),
        (Message::new(800).with(11, "12345x"), EncodeError::Value(11)),
        (Message::new(800).with(2, "1".repeat(20)), EncodeError::Value(2)),
        (Message::new(800).with(28, "000000250"), EncodeError::Value(28)),
        (Message::new(800).with(28, ""), EncodeError::Value(28)),
        (Message::new(800).with(35, "12D34"), EncodeError::Value(35)),
    ] {
        assert_eq!(message.encode(ASCII), Err(error));
    }
}

/// A value that fits the element.
fn value(number: u8) -> BoxedStrategy<Vec<u8>> {
    let (kind, length) = format(number).unwrap();
    let lengths = match length {
        Length::Fixed(length) => length..=length,
        Length::Variable { most, .. } => 0..=most,
    };
    let of = move |byte: BoxedStrategy<u8>| prop::collection::vec(byte, lengths.clone());
    match kind {
        Kind::Digits => of((b'0'..=b'9').boxed()).boxed(),
        Kind::Signed => of((b'0'..=b'9').boxed())
            .prop_map(|mut digits| {
                digits[0] = if digits[0] < b'5' { b'C' } else { b'D' };
                digits
            })
            .boxed(),
        Kind::Track => of(prop_oneof![b'0'..=b'9', Just(b'=')].boxed()).boxed(),
        Kind::Text => of((b' '..=b'~').boxed()).boxed(),
        Kind::Bytes => of(any::<u8>().boxed()).boxed(),
    }
}

fn message() -> impl Strategy<Value = Message> {
    let elements = prop::collection::btree_set(2..=128_u8, 0..12);
    let elements = elements.prop_flat_map(|numbers| {
        numbers.into_iter().map(|number| (Just(number), value(number))).collect::<Vec<_>>()
    });
    (0..=9999_u16, elements).prop_map(|(kind, elements)| {
        elements.into_iter().fold(Message::new(kind), |message, (number, value)| message.with(number, value))
    })
}

fn packing() -> impl Strategy<Value = Packing> {
    let encodings = prop_oneof![Just(Encoding::Ascii), Just(Encoding::Bcd)];
    let bitmaps = prop_oneof![Just(Bitmap::Hex), Just(Bitmap::Binary)];
    (encodings, bitmaps).prop_map(|(encoding, bitmap)| Packing { encoding, bitmap })
}

proptest! {
    #[test]
    fn a_message_is_read_as_it_was_packed(message in message(), packing in packing(), last in 0..=128_u8) {
        let bytes = message.encode(packing).unwrap();
        prop_assert_eq!(Message::decode(&bytes, packing, 128), Ok((message.clone(), bytes.len())));
        let (partly, length) = Message::decode(&bytes, packing, last).unwrap();
        prop_assert!(length <= bytes.len());
        for number in 2..=128 {
            prop_assert_eq!(partly.get(number), message.get(number).filter(|_| number <= last));
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300), packing in packing()) {
        if let Ok((_, length)) = Message::decode(&bytes, packing, 128) {
            prop_assert!(length <= bytes.len());
        }
    }
}
