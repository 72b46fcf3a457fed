//! As much of ISO 8583:1987 as a health check needs: messages with their bitmap, in ASCII or BCD, the length header
//! before them, and the network management echo. Pure: no socket, no clock.
//!
//! ```text
//!   length header   message type   bitmap           second bitmap    7            11       70
//!   0..4 bytes      0800           8220000000000000 0400000000000000 MMDDhhmmss   000123   301
//! ```
//!
//! The standard leaves the packing to the two parties. [`Encoding::Ascii`] has one character to a byte, the bitmap in
//! hexadecimal; [`Encoding::Bcd`] has two digits to a byte (with a 0 before an odd number of them, lengths included),
//! characters as ASCII, the bitmap as 8 bytes. [`Bitmap`] sets the bitmap and elements of bytes apart from the rest,
//! for parties that mix the two.

pub mod echo;
mod field;
mod header;

pub use header::{DEFAULT_HEADER_BYTES, HeaderError, LengthEncoding, LengthHeader, MAX_HEADER_BYTES};

use field::{Kind, Length, format};
use std::collections::BTreeMap;

/// How digits and lengths are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// A character to a byte.
    #[default]
    Ascii,
    /// Two digits to a byte.
    Bcd,
}

/// How the bitmap and elements of bytes are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Bitmap {
    /// Two hexadecimal digits to a byte, so the bitmap is 16 characters long.
    #[default]
    Hex,
    /// As they are, so the bitmap is 8 bytes long.
    Binary,
}

/// How a message is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Packing {
    /// Digits and lengths.
    pub encoding: Encoding,
    /// The bitmap and elements of bytes.
    pub bitmap: Bitmap,
}

/// A message: its type and data elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Message type, 0 to 9999: version, class, function and origin, such as 800 for 0800.
    pub kind: u16,
    /// Value of each data element by number: characters, or for an element of type `b` its bytes.
    elements: BTreeMap<u8, Vec<u8>>,
}

/// Why a message cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The message type has more than four digits.
    #[error("message type {0} has more than four digits")]
    Kind(u16),
    /// There is no such data element.
    #[error("there is no data element {0}")]
    Unknown(u8),
    /// The value does not fit the element's format.
    #[error("data element {0} has a value of another format")]
    Value(u8),
}

/// Why bytes are not a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within the message; more may make it whole.
    #[error("it ends early")]
    Short,
    /// The message type is not four digits.
    #[error("its message type is not four digits")]
    Kind,
    /// The bitmap is not hexadecimal digits.
    #[error("its bitmap is not hexadecimal digits")]
    Bitmap,
    /// An element's length is no number.
    #[error("the length of data element {0} is no number")]
    Length(u8),
    /// An element is longer than its format allows.
    #[error("data element {0} is longer than ISO 8583:1987 allows")]
    Long(u8),
    /// An element of bytes is not hexadecimal digits.
    #[error("data element {0} is not hexadecimal digits")]
    Value(u8),
}

impl Message {
    /// A message without elements.
    #[must_use]
    pub const fn new(kind: u16) -> Self {
        Self { kind, elements: BTreeMap::new() }
    }

    /// Adds an element, or replaces it.
    #[must_use]
    pub fn with(mut self, number: u8, value: impl Into<Vec<u8>>) -> Self {
        self.elements.insert(number, value.into());
        self
    }

    /// An element's value.
    #[must_use]
    pub fn get(&self, number: u8) -> Option<&[u8]> {
        self.elements.get(&number).map(Vec::as_slice)
    }

    /// An element's value as text; none if it is no text.
    #[must_use]
    pub fn text(&self, number: u8) -> Option<&str> {
        self.get(number).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The message as bytes, without a length header.
    ///
    /// # Errors
    /// Any of [`EncodeError`]. What an `an` or `ans` element holds is not looked at, only how long it is.
    pub fn encode(&self, packing: Packing) -> Result<Vec<u8>, EncodeError> {
        if self.kind > 9999 {
            return Err(EncodeError::Kind(self.kind));
        }
        let mut out = Vec::with_capacity(64);
        put_digits(&mut out, format!("{:04}", self.kind).as_bytes(), packing.encoding);
        let second = self.elements.range(65..).next().is_some();
        let bits = self.elements.keys().fold(u128::from(second) << 127, |bits, number| bits | bit(*number));
        let bitmap = &bits.to_be_bytes()[..if second { 16 } else { 8 }];
        put_bytes(&mut out, bitmap, packing.bitmap);
        for (&number, value) in &self.elements {
            put_element(&mut out, number, value, packing)?;
        }
        Ok(out)
    }

    /// Reads a message up to and with element `last`, and tells how many bytes that took.
    ///
    /// Elements above `last` are not read, so that private ones of a format of their own do no harm; characters of
    /// elements below are not judged, only lengths.
    ///
    /// # Errors
    /// Any of [`DecodeError`].
    pub fn decode(bytes: &[u8], packing: Packing, last: u8) -> Result<(Self, usize), DecodeError> {
        let mut reader = Reader { bytes, at: 0 };
        let kind = reader.digits(4, packing.encoding)?;
        let mut message = Self::new(decimal(&kind).ok_or(DecodeError::Kind)? as u16);
        let first = reader.bitmap(packing.bitmap)?;
        let second = if first >> 63 == 1 { reader.bitmap(packing.bitmap)? } else { 0 };
        let bits = u128::from(first) << 64 | u128::from(second);
        for number in (2..=last.min(128)).filter(|number| bits & bit(*number) != 0) {
            let value = reader.element(number, packing)?;
            message.elements.insert(number, value);
        }
        Ok((message, reader.at))
    }
}

/// The bit of an element: the first is the leftmost.
const fn bit(number: u8) -> u128 {
    match number {
        1..=128 => 1 << (128 - number),
        _ => 0,
    }
}

/// Bytes that so many digits or characters take.
const fn packed(kind: Kind, length: usize, packing: Packing) -> usize {
    match (kind, packing.encoding, packing.bitmap) {
        (Kind::Digits | Kind::Track, Encoding::Bcd, _) => length.div_ceil(2),
        (Kind::Signed, Encoding::Bcd, _) => 1 + (length - 1).div_ceil(2),
        (Kind::Bytes, _, Bitmap::Hex) => 2 * length,
        _ => length,
    }
}

fn put_element(out: &mut Vec<u8>, number: u8, value: &[u8], packing: Packing) -> Result<(), EncodeError> {
    let (kind, length) = format(number).ok_or(EncodeError::Unknown(number))?;
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    let fits = match length {
        Length::Fixed(length) => value.len() == length,
        Length::Variable { most, .. } => value.len() <= most,
    };
    let of_kind = match kind {
        Kind::Digits => digits(value),
        Kind::Signed => matches!(value.first(), Some(b'C' | b'D')) && digits(&value[1..]),
        Kind::Track => value.iter().all(|byte| byte.is_ascii_digit() || *byte == b'='),
        Kind::Text | Kind::Bytes => true,
    };
    if !fits || !of_kind {
        return Err(EncodeError::Value(number));
    }
    if let Length::Variable { digits: width, .. } = length {
        put_digits(out, format!("{:0width$}", value.len()).as_bytes(), packing.encoding);
    }
    match kind {
        Kind::Digits | Kind::Track => put_digits(out, value, packing.encoding),
        Kind::Signed => {
            out.push(value[0]);
            put_digits(out, &value[1..], packing.encoding);
        }
        Kind::Text => out.extend_from_slice(value),
        Kind::Bytes => put_bytes(out, value, packing.bitmap),
    }
    Ok(())
}

fn put_digits(out: &mut Vec<u8>, digits: &[u8], encoding: Encoding) {
    if encoding == Encoding::Ascii {
        return out.extend_from_slice(digits);
    }
    // '0' to '9' end in 0 to 9, and '=' in D.
    let padding = (digits.len() % 2 == 1).then_some(&b'0');
    let nibbles: Vec<u8> = padding.into_iter().chain(digits).map(|digit| digit & 0xf).collect();
    out.extend(nibbles.chunks(2).map(|pair| pair[0] << 4 | pair[1]));
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8], bitmap: Bitmap) {
    match bitmap {
        Bitmap::Binary => out.extend_from_slice(bytes),
        Bitmap::Hex => out.extend(bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(hex_digit)),
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    b"0123456789ABCDEF"[(nibble & 0xf) as usize]
}

/// The number that decimal digits write; none when there is another character among them.
fn decimal(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0, |number: usize, digit| {
        digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0'))
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Result<&[u8], DecodeError> {
        let taken = self.bytes.get(self.at..self.at + length).ok_or(DecodeError::Short)?;
        self.at += length;
        Ok(taken)
    }

    /// So many digits as characters; a nibble that is no digit comes as a hexadecimal letter.
    fn digits(&mut self, length: usize, encoding: Encoding) -> Result<Vec<u8>, DecodeError> {
        if encoding == Encoding::Ascii {
            return Ok(self.take(length)?.to_vec());
        }
        let packed = self.take(length.div_ceil(2))?;
        let characters = packed.iter().flat_map(|byte| [byte >> 4, byte & 0xf]).map(hex_digit);
        Ok(characters.skip(length % 2).collect())
    }

    /// So many bytes; none when their digits are not hexadecimal.
    fn raw(&mut self, length: usize, bitmap: Bitmap) -> Result<Option<Vec<u8>>, DecodeError> {
        if bitmap == Bitmap::Binary {
            return Ok(Some(self.take(length)?.to_vec()));
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
        let pairs = self.take(2 * length)?.chunks(2);
        Ok(pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect())
    }

    fn bitmap(&mut self, bitmap: Bitmap) -> Result<u64, DecodeError> {
        let bytes = self.raw(8, bitmap)?.ok_or(DecodeError::Bitmap)?;
        Ok(bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)))
    }

    fn element(&mut self, number: u8, packing: Packing) -> Result<Vec<u8>, DecodeError> {
        // Numbers are 2 to 128 here, all of which have a format.
        let (kind, length) = format(number).ok_or(DecodeError::Long(number))?;
        let length = match length {
            Length::Fixed(length) => length,
            Length::Variable { digits, most } => {
                let length = self.digits(digits, packing.encoding)?;
                let length = decimal(&length).ok_or(DecodeError::Length(number))?;
                if length > most {
                    return Err(DecodeError::Long(number));
                }
                length
            }
        };
        match (kind, packing.encoding) {
            (Kind::Bytes, _) => self.raw(length, packing.bitmap)?.ok_or(DecodeError::Value(number)),
            (Kind::Digits, _) => self.digits(length, packing.encoding),
            (Kind::Track, Encoding::Bcd) => {
                let mut track = self.digits(length, packing.encoding)?;
                track.iter_mut().filter(|byte| **byte == b'D').for_each(|byte| *byte = b'=');
                Ok(track)
            }
            (Kind::Signed, Encoding::Bcd) => {
                let mut signed = self.take(1)?.to_vec();
                signed.extend(self.digits(length - 1, packing.encoding)?);
                Ok(signed)
            }
            _ => Ok(self.take(packed(kind, length, packing))?.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests;
