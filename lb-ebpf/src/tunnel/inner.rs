//! The inner header, which becomes the packet's only one. What lies behind it is the kernel's to check.

use super::{Version, ecn::Ecn, mapped, outer::Carried};
use crate::cursor::load_be16;
use lb_common::decap::{AddressKey, DecapVerdict};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// The packet within a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Its destination.
    pub destination: AddressKey,
    /// Its congestion mark.
    pub ecn: Ecn,
    /// Bytes from its header to its end, as the header tells; `None` when it contradicts itself.
    length: Option<usize>,
}

/// Reads the header at the tunnel's end.
#[inline(always)]
pub fn parse(carried: &Carried<'_>) -> Result<Inner, DecapVerdict> {
    let inner = match carried.version {
        Version::V4 => parse_v4(carried),
        Version::V6 => parse_v6(carried),
    };
    inner.ok_or(DecapVerdict::InnerHeader)
}

#[inline(always)]
fn parse_v4(carried: &Carried<'_>) -> Option<Inner> {
    if carried.length < Ipv4Hdr::LEN {
        return None;
    }
    let header = carried.cursor.peek::<Ipv4Hdr>()?;
    let header_length = usize::from(header.vihl & 0x0f) * 4;
    let length = usize::from(load_be16(&header.tot_len));
    let consistent = header_length >= Ipv4Hdr::LEN && length >= header_length;
    Some(Inner {
        destination: mapped(&header.dst_addr),
        ecn: Ecn::of(header.tos),
        length: if consistent { Some(length) } else { None },
    })
}

#[inline(always)]
fn parse_v6(carried: &Carried<'_>) -> Option<Inner> {
    if carried.length < Ipv6Hdr::LEN {
        return None;
    }
    let header = carried.cursor.peek::<Ipv6Hdr>()?;
    Some(Inner {
        destination: header.dst_addr,
        ecn: Ecn::of(header.vcf[1] >> 4),
        length: Some(Ipv6Hdr::LEN + usize::from(load_be16(&header.payload_len))),
    })
}

impl Inner {
    /// Checks a packet to one of the VIPs; gives the congestion mark that it is to have.
    #[inline(always)]
    pub fn check(
        &self,
        carried_length: usize,
        outer: AddressKey,
        outer_ecn: Ecn,
    ) -> Result<Ecn, DecapVerdict> {
        // Our own address became a VIP, or the sender is confused: what it means by such a packet cannot be told.
        if self.destination == outer {
            return Err(DecapVerdict::InnerToOuter);
        }
        match self.length {
            None => Err(DecapVerdict::InnerHeader),
            Some(length) if length > carried_length => Err(DecapVerdict::InnerLength),
            Some(_) => self.ecn.under(outer_ecn).ok_or(DecapVerdict::EcnConflict),
        }
    }
}
