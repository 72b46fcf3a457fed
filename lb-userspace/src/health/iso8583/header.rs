//! The length that stands before each message on a TCP connection.

/// How the length is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LengthEncoding {
    /// A number in network byte order.
    #[default]
    Binary,
    /// A decimal digit to a byte.
    Ascii,
    /// Two decimal digits to a byte.
    Bcd,
}

/// The length header: the number of bytes of the message behind it, itself not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LengthHeader {
    bytes: u8,
    encoding: LengthEncoding,
}

/// Why a length header cannot be written or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The message is too long for the header.
    #[error("a message of {length} bytes does not fit a length header that counts to {most}")]
    Long {
        /// The message's length in bytes.
        length: usize,
        /// The header's largest.
        most: usize,
    },
    /// The length is not written in digits.
    #[error("the length header is not decimal digits")]
    Digits,
    /// The length is that of no message.
    #[error("the length header says {0} bytes; is header_bytes or header_encoding another there?")]
    Absurd(usize),
}

/// Bytes of the header unless told otherwise.
pub const DEFAULT_HEADER_BYTES: u8 = 2;
/// Longest header in bytes.
pub const MAX_HEADER_BYTES: u8 = 4;
/// Longest message in bytes that is sent or taken.
const MAX_MESSAGE: usize = 65_535;

impl Default for LengthHeader {
    fn default() -> Self {
        Self { bytes: DEFAULT_HEADER_BYTES, encoding: LengthEncoding::Binary }
    }
}

impl LengthHeader {
    /// A header of 0 (none) to [`MAX_HEADER_BYTES`] bytes; none for more.
    #[must_use]
    pub const fn new(bytes: u8, encoding: LengthEncoding) -> Option<Self> {
        if bytes > MAX_HEADER_BYTES { None } else { Some(Self { bytes, encoding }) }
    }

    /// Length of the header itself, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.bytes as usize
    }

    /// How the length is written.
    #[must_use]
    pub const fn encoding(self) -> LengthEncoding {
        self.encoding
    }

    /// The longest message, in bytes, that the header can tell of.
    #[must_use]
    pub fn most(self) -> usize {
        let bytes = u32::from(self.bytes);
        let most = match self.encoding {
            _ if bytes == 0 => MAX_MESSAGE as u64,
            LengthEncoding::Binary => (1 << (8 * bytes)) - 1,
            LengthEncoding::Ascii => 10_u64.pow(bytes) - 1,
            LengthEncoding::Bcd => 100_u64.pow(bytes) - 1,
        };
        (most as usize).min(MAX_MESSAGE)
    }

    /// The message with its header before it.
    ///
    /// # Errors
    /// [`HeaderError::Long`].
    pub fn frame(self, message: &[u8]) -> Result<Vec<u8>, HeaderError> {
        let (length, most) = (message.len(), self.most());
        if length > most {
            return Err(HeaderError::Long { length, most });
        }
        let base = self.base();
        let digits = (0..self.bytes()).rev().map(|place| {
            let digit = (length as u64 / base.pow(place as u32) % base) as u8;
            match self.encoding {
                LengthEncoding::Binary => digit,
                LengthEncoding::Ascii => b'0' + digit,
                LengthEncoding::Bcd => ((digit / 10) << 4) | (digit % 10),
            }
        });
        Ok(digits.chain(message.iter().copied()).collect())
    }

    /// The length that a header of [`LengthHeader::bytes`] bytes tells.
    ///
    /// # Errors
    /// [`HeaderError::Digits`] and [`HeaderError::Absurd`].
    pub fn length(self, header: &[u8]) -> Result<usize, HeaderError> {
        let length = header.iter().try_fold(0, |length: u64, byte| {
            let digit = match self.encoding {
                LengthEncoding::Binary => *byte,
                LengthEncoding::Ascii if byte.is_ascii_digit() => byte - b'0',
                LengthEncoding::Bcd if byte >> 4 < 10 && byte & 0xf < 10 => (byte >> 4) * 10 + (byte & 0xf),
                _ => return Err(HeaderError::Digits),
            };
            Ok(length * self.base() + u64::from(digit))
        })? as usize;
        if length == 0 || length > MAX_MESSAGE { Err(HeaderError::Absurd(length)) } else { Ok(length) }
    }

    /// What a byte of the header counts to.
    const fn base(self) -> u64 {
        match self.encoding {
            LengthEncoding::Binary => 256,
            LengthEncoding::Ascii => 10,
            LengthEncoding::Bcd => 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HeaderError, LengthEncoding, LengthHeader};
    use proptest::prelude::*;

    fn header(bytes: u8, encoding: LengthEncoding) -> LengthHeader {
        LengthHeader::new(bytes, encoding).unwrap()
    }

    #[test]
    fn known_headers() {
        for (bytes, encoding, length, expected) in [
            (2, LengthEncoding::Binary, 55, &[0, 55][..]),
            (2, LengthEncoding::Binary, 300, &[1, 44]),
            (4, LengthEncoding::Binary, 300, &[0, 0, 1, 44]),
            (4, LengthEncoding::Ascii, 55, b"0055"),
            (2, LengthEncoding::Ascii, 55, b"55"),
            (2, LengthEncoding::Bcd, 155, &[0x01, 0x55]),
            (1, LengthEncoding::Bcd, 55, &[0x55]),
            (0, LengthEncoding::Binary, 55, &[]),
        ] {
            let message = vec![b'm'; length];
            let framed = header(bytes, encoding).frame(&message).unwrap();
            assert_eq!(framed, [expected, &message].concat());
        }
        assert_eq!(LengthHeader::new(5, LengthEncoding::Ascii), None);
    }

    #[test]
    fn refusals() {
        let ascii = header(1, LengthEncoding::Ascii);
        assert_eq!(ascii.frame(&[0; 10]), Err(HeaderError::Long { length: 10, most: 9 }));
        assert_eq!(ascii.length(b"x"), Err(HeaderError::Digits));
        assert_eq!(header(1, LengthEncoding::Bcd).length(&[0x1a]), Err(HeaderError::Digits));
        assert_eq!(header(2, LengthEncoding::Binary).length(&[0, 0]), Err(HeaderError::Absurd(0)));
        // ASCII digits where a binary length was expected.
        assert_eq!(header(4, LengthEncoding::Binary).length(b"0055"), Err(HeaderError::Absurd(0x3030_3535)));
    }

    proptest! {
        #[test]
        fn a_length_is_read_as_it_was_written(bytes in 1_u8..=4, choice in 0..3_usize, length in 1..=65_535_usize) {
            use LengthEncoding::{Ascii, Bcd, Binary};
            let header = header(bytes, [Binary, Ascii, Bcd][choice]);
            let message = vec![0; length.min(header.most())];
            let framed = header.frame(&message).unwrap();
            prop_assert_eq!(header.length(&framed[..header.bytes()]), Ok(message.len()));
            prop_assert_eq!(framed.len(), header.bytes() + message.len());
        }
    }
}
