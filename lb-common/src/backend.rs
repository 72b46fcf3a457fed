//! A backend of a service: one cache line that holds all a packet needs to reach it.

use bytemuck::{Pod, Zeroable};

/// A MAC address and flags in one aligned 64-bit word, stored and loaded whole.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct LinkAddress {
    /// The MAC address.
    pub mac: [u8; 6],
    /// Bits of [`link_flags`].
    pub flags: u16,
}

/// Bits of [`LinkAddress::flags`].
pub mod link_flags {
    /// The address is known. Without it a packet is dropped with the reason `no-next-hop`.
    pub const RESOLVED: u16 = 1 << 0;
}

/// How a packet reaches the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Forwarding {
    /// The destination MAC is rewritten; the backend answers the client directly.
    L2Dsr = 0,
}

impl Forwarding {
    /// Every mode.
    pub const ALL: &[Self] = &[Self::L2Dsr];

    /// The mode's name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2Dsr => "l2-dsr",
        }
    }

    /// The mode that a record's number stands for.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|mode| *mode as u8 == number)
    }
}

/// A record of BACKENDS. The address never changes while the index is in use; what can change (the
/// next hop) is written one aligned word at a time.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    /// MAC address of the next hop.
    pub next_hop: LinkAddress,
    /// MAC address of the interface that leads there.
    pub source: LinkAddress,
    /// Index of the interface that leads there.
    pub ifindex: u32,
    /// Raised each time the index is given to another backend; 0: never used.
    pub generation: u32,
    /// The backend's address, IPv4 mapped into IPv6.
    pub address: [u8; 16],
    /// Identifier of the service that the backend belongs to.
    pub service: u32,
    /// The backend's port in network byte order; 0: the service's.
    pub port: [u8; 2],
    /// A [`Forwarding`].
    pub forwarding: u8,
    /// Always 0.
    pub reserved: [u8; 17],
}

const _: () = assert!(size_of::<Backend>() == 64);

impl LinkAddress {
    /// An address that is known.
    #[must_use]
    pub const fn resolved(mac: [u8; 6]) -> Self {
        Self { mac, flags: link_flags::RESOLVED }
    }

    /// Whether the address is known.
    #[must_use]
    pub const fn is_resolved(self) -> bool {
        self.flags & link_flags::RESOLVED != 0
    }

    /// The word as it stands in the map.
    #[inline(always)]
    #[must_use]
    pub fn to_word(self) -> u64 {
        bytemuck::cast(self)
    }

    /// The address that a word of the map stands for.
    #[inline(always)]
    #[must_use]
    pub fn from_word(word: u64) -> Self {
        bytemuck::cast(word)
    }
}
