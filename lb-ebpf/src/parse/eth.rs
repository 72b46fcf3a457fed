//! Ethernet II (IEEE 802.3) with up to two VLAN tags (IEEE 802.1Q, 802.1ad).

use crate::cursor::Cursor;
use lb_common::counters::PassReason;
use network_types::eth::{EthHdr, EtherType};

/// What follows the link-layer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// IPv4 (RFC 894).
    Ipv4,
    /// IPv6 (RFC 2464).
    Ipv6,
}

/// A VLAN tag as it lies on the wire: TPID, then priority and identifier.
pub type Tag = [u8; 4];

/// The tags of a frame, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tags {
    /// How many: 0 to 2.
    pub count: usize,
    /// The first `count` are in use.
    pub tags: [Tag; 2],
}

/// The link-layer header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The layer above.
    pub network: Network,
    /// The tags in between.
    pub tags: Tags,
}

/// Tag protocol identifier of a customer tag.
pub const TPID_8021Q: [u8; 2] = [0x81, 0x00];
/// Tag protocol identifier of a service tag.
const TPID_8021AD: [u8; 2] = [0x88, 0xa8];
/// Identifier bits of a tag's last two bytes; the others are priority and drop eligibility.
const VLAN_MASK: u16 = 0x0fff;

impl Tags {
    /// No tag.
    pub const NONE: Self = Self { count: 0, tags: [[0; 4]; 2] };

    /// Bytes that the tags take.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.count * size_of::<Tag>()
    }

    /// The tags on the way out by an interface of VLAN `vlan`, with the priority that the frame came with; an
    /// interface without one (0) keeps them all.
    #[inline(always)]
    #[must_use]
    pub const fn leaving_by(self, vlan: u16) -> Self {
        if vlan == 0 {
            return self;
        }
        let priority = if self.count > 0 {
            u16::from_be_bytes([self.tags[0][2], self.tags[0][3]]) & !VLAN_MASK
        } else {
            0
        };
        let [high, low] = (priority | vlan).to_be_bytes();
        Self { count: 1, tags: [[TPID_8021Q[0], TPID_8021Q[1], high, low], [0; 4]] }
    }
}

impl Link {
    /// Bytes of the link-layer header.
    #[inline(always)]
    #[must_use]
    pub const fn bytes(&self) -> usize {
        EthHdr::LEN + self.tags.bytes()
    }
}

/// Takes the Ethernet header and its tags off and names the layer above.
#[inline(always)]
pub fn parse(cursor: &mut Cursor<'_>) -> Result<Link, PassReason> {
    let header = cursor.take::<EthHdr>().ok_or(PassReason::Truncated)?;
    // The group bit: RFC 1122 section 3.3.6 wants unicast datagrams in link-layer broadcasts left alone, and a balancer
    // that forwarded them would answer once for every balancer on the segment.
    if header.dst_addr[0] & 1 != 0 {
        return Err(PassReason::GroupAddressed);
    }
    let mut kind = header.ether_type.to_ne_bytes();
    let mut tags = Tags::NONE;
    if is_tag(kind) {
        kind = take_tag(cursor, &mut tags, 0, kind)?;
        if is_tag(kind) {
            kind = take_tag(cursor, &mut tags, 1, kind)?;
        }
    }
    Ok(Link { network: network(kind)?, tags })
}

#[inline(always)]
fn is_tag(kind: [u8; 2]) -> bool {
    kind == TPID_8021Q || kind == TPID_8021AD
}

/// Takes one tag: what it holds goes to place `index`, the type behind it is given back.
#[inline(always)]
fn take_tag(
    cursor: &mut Cursor<'_>,
    tags: &mut Tags,
    index: usize,
    tpid: [u8; 2],
) -> Result<[u8; 2], PassReason> {
    let [high, low, kind @ ..] = cursor.take::<[u8; 4]>().ok_or(PassReason::Truncated)?;
    tags.tags[index] = [tpid[0], tpid[1], *high, *low];
    tags.count = index + 1;
    Ok(*kind)
}

#[inline(always)]
fn network(kind: [u8; 2]) -> Result<Network, PassReason> {
    match u16::from_ne_bytes(kind) {
        kind if kind == EtherType::Ipv4 as u16 => Ok(Network::Ipv4),
        kind if kind == EtherType::Ipv6 as u16 => Ok(Network::Ipv6),
        _ => Err(PassReason::NotIp),
    }
}
