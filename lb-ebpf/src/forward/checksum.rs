//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

/// A sum of 16-bit words as one.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    ((sum >> 16) + sum) as u16
}

/// The two 16-bit halves of a word, added.
#[inline(always)]
#[must_use]
pub const fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The checksum after one 16-bit word of what it covers was replaced: HC' = ~(~HC + ~m + m') (RFC 1624 equation 3).
#[inline(always)]
#[must_use]
pub const fn replace(checksum: [u8; 2], before: [u8; 2], after: [u8; 2]) -> [u8; 2] {
    let sum = !u16::from_be_bytes(checksum) as u32
        + !u16::from_be_bytes(before) as u32
        + u16::from_be_bytes(after) as u32;
    (!fold(sum)).to_be_bytes()
}
