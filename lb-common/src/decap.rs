//! What `xdp-lb decap` and its program agree on: why a packet was taken out of its tunnel, left alone or dropped.

use crate::counters::reasons;
use bytemuck::{Pod, Zeroable};

/// Version of the layout and meaning of the maps of `decap`, which live apart from the balancer's.
pub const DECAP_ABI_VERSION: u32 = 1;

/// Destination port of GUE unless told otherwise (draft-ietf-intarea-gue, assigned by IANA).
pub const GUE_PORT: u16 = 6080;

/// Most virtual addresses of one interface, and most addresses of its own.
pub const MAX_DECAP_ADDRESSES: u32 = 1024;

/// Entries of `DECAP_VIPS` and `DECAP_LOCAL`. Twice the most that is in use: a new set is written before the old one
/// goes, so that no packet meets half a set.
pub const DECAP_ADDRESS_ENTRIES: u32 = 2 * MAX_DECAP_ADDRESSES;

/// Entries of `DECAP_STATS`: room for reasons to come without a change of the map.
pub const DECAP_COUNTERS: u32 = 64;

/// Key of `DECAP_VIPS` and `DECAP_LOCAL`: an IPv6 address, or an IPv4 address mapped as `::ffff:a.b.c.d` (RFC 4291
/// section 2.5.5.2).
pub type AddressKey = [u8; 16];

/// The record at index 0 of `DECAP_META`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct DecapMeta {
    /// [`DECAP_ABI_VERSION`] of the writer; 0: the maps were never completed.
    pub abi_version: u32,
    /// The GUE port of the attached program, in host byte order.
    pub gue_port: u16,
    /// Always 0.
    pub reserved: u16,
}

const _: () = assert!(size_of::<DecapMeta>() == 8);

/// What becomes of a packet, in three words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecapAction {
    /// Out of its tunnel, then left to the kernel (`XDP_PASS`).
    Decapsulate,
    /// Left to the kernel as it came (`XDP_PASS`).
    Pass,
    /// Dropped (`XDP_DROP`).
    Drop,
}

/// The first counter of [`DecapAction::Pass`].
const FIRST_PASS: u32 = 8;
/// The first counter of [`DecapAction::Drop`].
const FIRST_DROP: u32 = 32;

reasons! {
    /// What becomes of a packet, and why. The value is the counter's index; below 8 the packet left its tunnel, below
    /// 32 it was passed as it came, from 32 on it was dropped.
    DecapVerdict {
        /// IPv4 or IPv6 directly in IPv4 or IPv6, taken out.
        Ipip = 0, "ipip";
        /// IPv4 or IPv6 in UDP (GUE variant 1), taken out.
        Gue = 1, "gue";
        /// Neither IPv4 nor IPv6 behind at most two VLAN tags: ARP, LLDP and the like.
        NotIp = 8, "not-ip";
        /// In a link-layer broadcast or multicast.
        GroupAddressed = 9, "group-addressed";
        /// Neither ipip nor UDP to the GUE port.
        NotTunnel = 10, "not-tunnel";
        /// ipip or GUE to an address that is not the interface's own.
        NotOwn = 11, "not-own";
        /// ipip or GUE around a packet to an address that is none of the VIPs.
        NotVip = 12, "not-vip";
        /// A fragment of an ipip or UDP packet to an own address: only the kernel can put it together, and then has no
        /// tunnel for it.
        Fragment = 13, "fragment";
        /// To an own address with IPv6 extension headers, behind which no tunnel is looked for.
        Extension = 14, "extension";
        /// Ended before it told whether it is a tunnel packet.
        Truncated = 15, "truncated";
        /// An outer IP header of another version than the frame says, or an IPv4 header length below 20 bytes.
        MalformedIp = 16, "malformed-ip";
        /// A tunnel packet whose outer IP length is below its headers' or past the frame's end.
        OuterLength = 32, "outer-length";
        /// GUE with a UDP length below 8 or past the outer packet's end.
        UdpLength = 33, "udp-length";
        /// GUE of another variant than 1, or around neither IPv4 nor IPv6.
        GueVariant = 34, "gue-variant";
        /// ipip around a packet of another IP version than the protocol number says.
        InnerVersion = 35, "inner-version";
        /// The tunnel ended within the inner IP header, or that header's lengths contradict each other.
        InnerHeader = 36, "inner-header";
        /// The inner IP length names more bytes than the tunnel carried.
        InnerLength = 37, "inner-length";
        /// Marked "congestion experienced" outside, around a packet that cannot carry the mark (RFC 6040 section 4.2).
        EcnConflict = 38, "ecn-conflict";
        /// The inner packet is addressed to the outer destination: a tunnel into itself.
        InnerToOuter = 39, "inner-to-outer";
        /// The kernel refused to shorten the frame.
        AdjustHead = 40, "adjust-head";
    }
}

impl DecapVerdict {
    /// Index of the verdict's counter in `DECAP_STATS`.
    #[must_use]
    pub const fn counter(self) -> u32 {
        self as u32
    }

    /// What is done with the packet.
    #[must_use]
    pub const fn action(self) -> DecapAction {
        match self.counter() {
            0..FIRST_PASS => DecapAction::Decapsulate,
            FIRST_PASS..FIRST_DROP => DecapAction::Pass,
            FIRST_DROP.. => DecapAction::Drop,
        }
    }
}

impl DecapAction {
    /// The action as it is shown.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Decapsulate => "decapsulate",
            Self::Pass => "pass",
            Self::Drop => "drop",
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{DECAP_COUNTERS, DecapVerdict};
    use std::collections::HashSet;

    #[test]
    fn every_verdict_has_a_counter_and_a_name_of_its_own() {
        let indices: HashSet<u32> = DecapVerdict::ALL.iter().map(|v| v.counter()).collect();
        let names: HashSet<_> = DecapVerdict::ALL.iter().map(|v| v.name()).collect();
        assert_eq!((indices.len(), names.len()), (DecapVerdict::ALL.len(), DecapVerdict::ALL.len()));
        assert!(indices.iter().all(|&index| index < DECAP_COUNTERS));
        assert!(DecapVerdict::ALL.iter().all(|v| !v.meaning().is_empty()));
    }
}
