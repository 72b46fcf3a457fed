//! The answer to a packet that does not fit into a tunnel: ICMP "fragmentation needed" (RFC 792, RFC 1191), `ICMPv6`
//! "packet too big" (RFC 4443 section 3.2).
//!
//! It comes from the virtual address, which the client knows, and quotes the start of the packet: as much as one call
//! of the kernel's checksum helper sums up, which with all headers stays below the 576 bytes of RFC 1812 section 4.3.2.3.

use super::{checksum::fold, link};
use crate::{
    cursor::{Writer, load_u32, load_u32x4, store_words},
    parse::{
        eth::{Link, Network},
        icmp::kind,
    },
};
use lb_common::backend::{Departure, LinkAddress};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

/// Bytes of the ICMP header.
const HEADER: usize = 8;
/// Bytes of the ICMP message: the most that `bpf_csum_diff` takes at once on every kernel.
pub const MESSAGE: usize = 512;
/// Bytes of the packet that are quoted.
pub const QUOTED: usize = MESSAGE - HEADER;
/// Fragmentation needed and DF set (RFC 792).
const FRAGMENTATION_NEEDED: u32 = 4;
/// IP protocol number of ICMP, and of `ICMPv6`.
const PROTOCOL: [u32; 2] = [1, 58];
/// Hops that the answer may take.
const HOP_LIMIT: u32 = 64;

/// What the answer needs to know of the packet before it is moved.
pub struct Facts {
    /// Sender's MAC address, and the one that it sent to.
    macs: [[u8; 6]; 2],
    /// Client and virtual address; only the last word of each for IPv4.
    client: [u32; 4],
    vip: [u32; 4],
}

impl Facts {
    /// The pseudo-header's sum, as it is added up in memory order (RFC 8200 section 8.1).
    #[inline(always)]
    #[must_use]
    pub fn pseudo_sum(&self) -> u32 {
        let mut sum = 0u64;
        for word in 0..4 {
            sum += u64::from(self.client[word]) + u64::from(self.vip[word]);
        }
        sum += u64::from((MESSAGE as u32).to_be()) + u64::from(PROTOCOL[1].to_be());
        let sum = (sum >> 32) + (sum & 0xffff_ffff);
        ((sum >> 32) + sum) as u32
    }
}

/// Bytes that are put before the packet.
#[inline(always)]
#[must_use]
pub const fn added(v6: bool) -> usize {
    HEADER + if v6 { Ipv6Hdr::LEN } else { Ipv4Hdr::LEN }
}

/// Reads the packet. `None`: the frame is too short.
#[inline(always)]
#[must_use]
pub fn facts(frame: &mut Writer<'_>, link: &Link) -> Option<Facts> {
    let ethernet = frame.take::<EthHdr>()?;
    let macs = [ethernet.src_addr, ethernet.dst_addr];
    for index in 0..link.tags.tags.len() {
        if index < link.tags.count {
            frame.take::<[u8; 4]>()?;
        }
    }
    if link.network == Network::Ipv6 {
        let ip = frame.take::<Ipv6Hdr>()?;
        return Some(Facts { macs, client: load_u32x4(&ip.src_addr), vip: load_u32x4(&ip.dst_addr) });
    }
    let ip = frame.take::<Ipv4Hdr>()?;
    let (client, vip) = ([0, 0, 0, load_u32(&ip.src_addr)], [0, 0, 0, load_u32(&ip.dst_addr)]);
    Some(Facts { macs, client, vip })
}

/// Writes link-layer and IP header; the writer then stands at the ICMP message, whose header is written without a checksum.
#[inline(always)]
#[must_use]
pub fn write_headers(frame: &mut Writer<'_>, link: &Link, facts: &Facts, mtu: u32) -> Option<()> {
    let [to, from] = facts.macs;
    let departure = Departure { mac: from, vlan: 0 };
    link::write(frame, LinkAddress::resolved(to), departure, &link.tags, link.network)?;
    if link.network == Network::Ipv6 {
        let [s, d] = [facts.vip.map(u32::from_be), facts.client.map(u32::from_be)];
        let second = (MESSAGE as u32) << 16 | PROTOCOL[1] << 8 | HOP_LIMIT;
        let header = frame.take::<[u8; Ipv6Hdr::LEN]>()?;
        store_words(header, [6 << 28, second, s[0], s[1], s[2], s[3], d[0], d[1], d[2], d[3]]);
        let first = u32::from(kind::PACKET_TOO_BIG_V6) << 24;
        store_words(frame.peek::<[u8; HEADER]>()?, [first, mtu]);
        return Some(());
    }
    let (source, destination) = (u32::from_be(facts.vip[3]), u32::from_be(facts.client[3]));
    let words = [
        0x4500_0000 | (MESSAGE + Ipv4Hdr::LEN) as u32,
        0,
        HOP_LIMIT << 24 | PROTOCOL[0] << 16,
        source,
        destination,
    ];
    let mut sum = 0;
    for word in words {
        sum += super::checksum::halves(word);
    }
    let checksum = u32::from(!fold(sum));
    store_words(
        frame.take::<[u8; Ipv4Hdr::LEN]>()?,
        [words[0], words[1], words[2] | checksum, words[3], words[4]],
    );
    let first = u32::from(kind::UNREACHABLE) << 24 | FRAGMENTATION_NEEDED << 16;
    store_words(frame.peek::<[u8; HEADER]>()?, [first, mtu]);
    Some(())
}

/// Puts the checksum of a message whose bytes add up to `sum`, in memory order, into its header.
#[inline(always)]
pub const fn set_checksum(message: &mut [u8; MESSAGE], sum: u32) {
    let checksum = !fold(sum);
    let [first, second] = checksum.to_ne_bytes();
    message[2] = first;
    message[3] = second;
}
