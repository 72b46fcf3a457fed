//! Explicit congestion notification through a tunnel (RFC 6040): a router that marked the outer packet meant the
//! connection inside.

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// The two bits of the field (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Ecn {
    /// Not ECN-capable transport.
    NotEct = 0b00,
    /// ECN-capable transport, codepoint 1.
    Ect1 = 0b01,
    /// ECN-capable transport, codepoint 0.
    Ect0 = 0b10,
    /// Congestion experienced.
    Ce = 0b11,
}

impl Ecn {
    /// The codepoint in the lower two bits of a type of service or traffic class.
    #[inline(always)]
    #[must_use]
    pub const fn of(bits: u8) -> Self {
        match bits & 0b11 {
            0b00 => Self::NotEct,
            0b01 => Self::Ect1,
            0b10 => Self::Ect0,
            _ => Self::Ce,
        }
    }

    /// The inner codepoint after decapsulation from under `outer` (RFC 6040 section 4.2, figure 4); `None`: the packet
    /// is to be dropped, because the congestion that it met can be told in no other way.
    #[inline(always)]
    #[must_use]
    pub const fn under(self, outer: Self) -> Option<Self> {
        match (self, outer) {
            (Self::NotEct, Self::Ce) => None,
            (Self::NotEct, _) => Some(Self::NotEct),
            (_, Self::Ce) => Some(Self::Ce),
            (Self::Ect0, Self::Ect1) => Some(Self::Ect1),
            (inner, _) => Some(inner),
        }
    }
}

/// Writes the codepoint, and carries it into the header's checksum by the difference (RFC 1624, equation 3): a header
/// that arrived damaged stays recognisably so.
#[inline(always)]
pub const fn set_v4(header: &mut Ipv4Hdr, ecn: Ecn) {
    let tos = header.tos & !0b11 | ecn as u8;
    let old = u16::from_be_bytes([header.vihl, header.tos]);
    let new = u16::from_be_bytes([header.vihl, tos]);
    let sum = !u16::from_be_bytes(header.check) as u32 + !old as u32 + new as u32;
    // Three 16-bit numbers: the first fold leaves a carry of at most 1, the second none.
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    header.tos = tos;
    header.check = (!(sum as u16)).to_be_bytes();
}

/// Writes the codepoint: the traffic class lies across the first two bytes, and IPv6 has no header checksum.
#[inline(always)]
pub const fn set_v6(header: &mut Ipv6Hdr, ecn: Ecn) {
    header.vcf[1] = header.vcf[1] & !0b0011_0000 | (ecn as u8) << 4;
}
