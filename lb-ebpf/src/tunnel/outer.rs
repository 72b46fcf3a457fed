//! The outer header: whose packet it is, whether it is a tunnel, and where the packet within starts.
//!
//! Checksums of the outer headers are not verified. They would have to be computed over the whole packet here, the
//! link's own check has covered them on the last hop, and nothing that they protect is believed any further: the inner
//! packet goes on under its own checksums, which cover its addresses, and the kernel verifies those. A UDP checksum of
//! 0 is therefore as good as another, over IPv4 (RFC 768) and, for a tunnel, over IPv6 (RFC 6935 section 5).

use super::{Version, ecn::Ecn, mapped};
use crate::cursor::{Cursor, load_be16};
use lb_common::{
    decap::{AddressKey, DecapVerdict},
    service::UDP,
};
use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

/// IP protocol number of IPv4 in IP (RFC 2003).
const IPV4_IN_IP: u8 = 4;
/// IP protocol number of IPv6 in IP (RFC 2473, RFC 4213).
const IPV6_IN_IP: u8 = 41;
/// IPv6's fragment header (RFC 8200 section 4.5).
const FRAGMENT_HEADER: u8 = 44;

/// "More fragments" and the fragment offset; both are 0 in a packet that is whole.
const FRAGMENT_MASK: u16 = 0x3fff;

/// What an outer packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carries {
    /// The inner packet itself.
    Ip(Version),
    /// UDP to the GUE port.
    Gue,
    /// A part of a packet.
    Fragment,
    /// IPv6 extension headers.
    Extension,
}

/// A packet that may be a tunnel's, if its destination is our own.
#[derive(Clone, Copy)]
pub struct Outer<'p> {
    /// Its destination.
    pub destination: AddressKey,
    /// Its congestion mark.
    pub ecn: Ecn,
    carries: Carries,
    header_length: usize,
    /// Behind the IP header.
    payload: Cursor<'p>,
    /// Bytes from there to the packet's end; `None` when the IP header contradicts itself.
    length: Option<usize>,
}

/// What came through the tunnel.
#[derive(Clone, Copy)]
pub struct Carried<'p> {
    /// At the inner IP header.
    pub cursor: Cursor<'p>,
    /// Its version, as the tunnel tells.
    pub version: Version,
    /// Bytes that the tunnel carried.
    pub length: usize,
    /// Bytes of the outer headers.
    pub overhead: usize,
    /// The verdict when all goes well: [`DecapVerdict::Ipip`] or [`DecapVerdict::Gue`].
    pub tunnel: DecapVerdict,
}

/// Takes the outer header off. An error is a packet that is no tunnel's, whoever it is for.
#[inline(always)]
pub fn parse<'p>(
    cursor: &mut Cursor<'p>,
    version: Version,
    gue_port: u16,
) -> Result<Outer<'p>, DecapVerdict> {
    match version {
        Version::V4 => parse_v4(cursor, gue_port),
        Version::V6 => parse_v6(cursor, gue_port),
    }
}

#[inline(always)]
fn parse_v4<'p>(cursor: &mut Cursor<'p>, gue_port: u16) -> Result<Outer<'p>, DecapVerdict> {
    let header = cursor.take::<Ipv4Hdr>().ok_or(DecapVerdict::Truncated)?;
    let header_length = usize::from(header.vihl & 0x0f) * 4;
    if header.vihl >> 4 != 4 || header_length < Ipv4Hdr::LEN {
        return Err(DecapVerdict::MalformedIp);
    }
    if header_length > Ipv4Hdr::LEN {
        cursor.skip(header_length - Ipv4Hdr::LEN).ok_or(DecapVerdict::MalformedIp)?;
    }
    let fragment = load_be16(&header.frags) & FRAGMENT_MASK != 0;
    Ok(Outer {
        destination: mapped(&header.dst_addr),
        ecn: Ecn::of(header.tos),
        carries: carries(header.proto, fragment, cursor, gue_port)?,
        header_length,
        payload: *cursor,
        length: usize::from(load_be16(&header.tot_len)).checked_sub(header_length),
    })
}

#[inline(always)]
fn parse_v6<'p>(cursor: &mut Cursor<'p>, gue_port: u16) -> Result<Outer<'p>, DecapVerdict> {
    let header = cursor.take::<Ipv6Hdr>().ok_or(DecapVerdict::Truncated)?;
    if header.vcf[0] >> 4 != 6 {
        return Err(DecapVerdict::MalformedIp);
    }
    Ok(Outer {
        destination: header.dst_addr,
        ecn: Ecn::of(header.vcf[1] >> 4),
        carries: match header.next_hdr {
            FRAGMENT_HEADER => Carries::Fragment,
            // Hop-by-hop, routing, authentication and destination options. Senders that add the tunnel encapsulation
            // limit of RFC 2473 are to be told not to (`encaplimit none`).
            0 | 43 | 51 | 60 => Carries::Extension,
            protocol => carries(protocol, false, cursor, gue_port)?,
        },
        header_length: Ipv6Hdr::LEN,
        payload: *cursor,
        length: Some(usize::from(load_be16(&header.payload_len))),
    })
}

/// What follows the IP header, of which `payload` is the end.
#[inline(always)]
fn carries(
    protocol: u8,
    fragment: bool,
    payload: &Cursor<'_>,
    gue_port: u16,
) -> Result<Carries, DecapVerdict> {
    match protocol {
        // Only the first fragment of a UDP packet has its ports: all are told apart by the kernel.
        IPV4_IN_IP | IPV6_IN_IP | UDP if fragment => Ok(Carries::Fragment),
        IPV4_IN_IP => Ok(Carries::Ip(Version::V4)),
        IPV6_IN_IP => Ok(Carries::Ip(Version::V6)),
        UDP => {
            let ports = payload.peek::<[u8; 4]>().ok_or(DecapVerdict::Truncated)?;
            let port = u16::from_be_bytes([ports[2], ports[3]]);
            if port == gue_port { Ok(Carries::Gue) } else { Err(DecapVerdict::NotTunnel) }
        }
        _ => Err(DecapVerdict::NotTunnel),
    }
}

impl<'p> Outer<'p> {
    /// Opens a packet that is to one of our own addresses.
    #[inline(always)]
    pub fn open(&self) -> Result<Carried<'p>, DecapVerdict> {
        let version = match self.carries {
            Carries::Fragment => return Err(DecapVerdict::Fragment),
            Carries::Extension => return Err(DecapVerdict::Extension),
            Carries::Ip(version) => Some(version),
            Carries::Gue => None,
        };
        let length = self.length.ok_or(DecapVerdict::OuterLength)?;
        if length > self.payload.remaining() {
            return Err(DecapVerdict::OuterLength);
        }
        match version {
            Some(version) => self.open_ipip(version, length),
            None => self.open_gue(length),
        }
    }

    #[inline(always)]
    fn open_ipip(&self, version: Version, length: usize) -> Result<Carried<'p>, DecapVerdict> {
        let cursor = self.payload;
        if length == 0 {
            return Err(DecapVerdict::InnerHeader);
        }
        let first = cursor.peek::<[u8; 1]>().ok_or(DecapVerdict::InnerHeader)?[0];
        if inner_version(first) != Some(version) {
            return Err(DecapVerdict::InnerVersion);
        }
        let overhead = self.header_length;
        Ok(Carried { cursor, version, length, overhead, tunnel: DecapVerdict::Ipip })
    }

    /// draft-ietf-intarea-gue, variant 1: the IP header stands in the GUE header's place. Its version nibble, 0100 or
    /// 0110, starts with the two bits 01 that number the variant.
    #[inline(always)]
    fn open_gue(&self, outer_length: usize) -> Result<Carried<'p>, DecapVerdict> {
        let mut cursor = self.payload;
        let udp = cursor.take::<UdpHdr>().ok_or(DecapVerdict::UdpLength)?;
        let udp_length = usize::from(load_be16(&udp.len));
        if udp_length < UdpHdr::LEN || udp_length > outer_length {
            return Err(DecapVerdict::UdpLength);
        }
        let length = udp_length - UdpHdr::LEN;
        if length == 0 {
            return Err(DecapVerdict::InnerHeader);
        }
        let first = cursor.peek::<[u8; 1]>().ok_or(DecapVerdict::InnerHeader)?[0];
        let version = inner_version(first).ok_or(DecapVerdict::GueVariant)?;
        let overhead = self.header_length + UdpHdr::LEN;
        Ok(Carried { cursor, version, length, overhead, tunnel: DecapVerdict::Gue })
    }
}

/// The IP version that a header's first byte names.
#[inline(always)]
const fn inner_version(first: u8) -> Option<Version> {
    match first >> 4 {
        4 => Some(Version::V4),
        6 => Some(Version::V6),
        _ => None,
    }
}
