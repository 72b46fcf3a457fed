//! The data elements of ISO 8583:1987: what each holds and how long it is.

/// What a data element holds; it decides how the element is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `n`: decimal digits. Two to a byte in BCD.
    Digits,
    /// `x+n`: a sign, C or D, and decimal digits.
    Signed,
    /// `a`, `an`, `ans`: characters, one to a byte in every encoding.
    Text,
    /// `z`: digits and the separator `=` of a magnetic stripe. Two to a byte in BCD, the separator as D.
    Track,
    /// `b`: bytes; the length counts them.
    Bytes,
}

/// How long a data element is, in characters, digits or bytes, before packing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// Always so long.
    Fixed(usize),
    /// At most `most` long, after a length of `digits` decimal digits (LLVAR, LLLVAR).
    Variable { digits: usize, most: usize },
}

/// Kind and length.
pub(super) type Format = (Kind, Length);

const fn n(length: usize) -> Format {
    (Kind::Digits, Length::Fixed(length))
}

const fn an(length: usize) -> Format {
    (Kind::Text, Length::Fixed(length))
}

const fn b(length: usize) -> Format {
    (Kind::Bytes, Length::Fixed(length))
}

const fn ll(kind: Kind, most: usize) -> Format {
    (kind, Length::Variable { digits: 2, most })
}

const fn lll(kind: Kind, most: usize) -> Format {
    (kind, Length::Variable { digits: 3, most })
}

/// The format of data element `number`, 2 to 128 (ISO 8583:1987, 4.3, table of data elements); none for other
/// numbers. Element 1 is the second bitmap and no element of its own here.
pub(super) const fn format(number: u8) -> Option<Format> {
    use Kind::{Digits, Signed, Text, Track};
    Some(match number {
        2 => ll(Digits, 19),
        3 | 11 | 12 | 73 => n(6),
        4..=6 | 82..=85 => n(12),
        7 | 74..=81 => n(10),
        8..=10 => n(8),
        13..=18 | 71 | 72 => n(4),
        19..=24 | 68..=70 => n(3),
        25 | 26 | 67 => n(2),
        27 | 66 => n(1),
        28..=31 => (Signed, Length::Fixed(9)),
        32 | 33 | 99 | 100 => ll(Digits, 11),
        34 | 102 | 103 => ll(Text, 28),
        35 => ll(Track, 37),
        36 => lll(Track, 104),
        37 => an(12),
        38 => an(6),
        39 | 92 => an(2),
        40 | 49..=51 => an(3),
        41 => an(8),
        42 => an(15),
        43 => an(40),
        44 => ll(Text, 25),
        98 => an(25),
        45 => ll(Text, 76),
        46..=48 | 55..=63 | 105..=127 => lll(Text, 999),
        52 | 64 | 96 | 128 => b(8),
        53 | 86..=89 => n(16),
        54 => lll(Text, 120),
        65 => b(1),
        90 => n(42),
        91 => an(1),
        93 => an(5),
        94 => an(7),
        95 => an(42),
        97 => (Signed, Length::Fixed(17)),
        101 => ll(Text, 17),
        104 => lll(Text, 100),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn every_element_but_the_bitmaps_has_a_format() {
        for number in 0..=u8::MAX {
            assert_eq!(format(number).is_some(), (2..=128).contains(&number), "{number}");
        }
    }
}
