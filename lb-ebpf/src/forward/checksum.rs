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

/// What has changed under a checksum: the sum of ~m + m' over all words so far (RFC 1624 equation 3, which unlike
/// equation 2 never makes 0xffff of a checksum of 0).
///
/// Words are taken in the machine's order, as they lie in memory: the sum of ones' complements does not hang on it
/// (RFC 1071 section 2B). Those of 32 bits count as their halves, as 2¹⁶ ≡ 1 modulo 0xffff.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change(u64);

impl Change {
    /// Nothing has changed.
    pub const NONE: Self = Self(0);

    /// And this word of 16 or 32 bits.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// And all of that.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the change, in the machine's order.
    #[inline(always)]
    #[must_use]
    pub const fn over(self, checksum: u16) -> u16 {
        let sum = self.0 + !checksum as u64;
        // Twice, as the first may carry out of the 32 bits.
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        !fold(sum as u32)
    }
}
