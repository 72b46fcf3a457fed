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
    /// The backend is dead or gone: flows that it owned are chosen anew, and no slot's `previous` leads to it.
    pub const DOWN: u16 = 1 << 1;
}

/// The interface that leads to a backend, in one aligned 64-bit word, stored and loaded whole.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Departure {
    /// MAC address of the interface.
    pub mac: [u8; 6],
    /// VLAN identifier of the interface (1 to 4094); 0: it has none, and tags leave as they came.
    pub vlan: u16,
}

/// How a packet reaches the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Forwarding {
    /// The destination MAC is rewritten; the backend answers the client directly.
    L2Dsr = 0,
    /// The packet travels inside an IP packet to the backend (RFC 2003, 2473, 4213).
    Ipip = 1,
    /// The packet travels inside UDP (generic UDP encapsulation, variant 1).
    Gue = 2,
    /// Destination address and port are rewritten, and the source of the answers back.
    Nat = 3,
}

impl Forwarding {
    /// Every mode.
    pub const ALL: &[Self] = &[Self::L2Dsr, Self::Ipip, Self::Gue, Self::Nat];

    /// The mode's name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2Dsr => "l2-dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Nat => "nat",
        }
    }

    /// The mode that a record's number stands for.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|mode| *mode as u8 == number)
    }

    /// Whether packets reach the backend inside another packet, so that it may be behind routers.
    #[must_use]
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Ipip | Self::Gue)
    }

    /// Whether the backends may be behind routers.
    #[must_use]
    pub const fn crosses_routers(self) -> bool {
        self.is_tunnel() || matches!(self, Self::Nat)
    }

    /// Bytes that the mode adds to a packet for a backend of this family.
    #[must_use]
    pub const fn overhead(self, ipv6: bool) -> u16 {
        let outer = if ipv6 { 40 } else { 20 };
        match self {
            Self::L2Dsr | Self::Nat => 0,
            Self::Ipip => outer,
            Self::Gue => outer + 8,
        }
    }
}

/// A record of BACKENDS. The address never changes while the index is in use; what can change (the
/// next hop) is written one aligned word at a time.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Backend {
    /// MAC address of the next hop.
    pub next_hop: LinkAddress,
    /// The interface that leads there.
    pub departure: Departure,
    /// Index of that interface; of the interface below it where it is a VLAN's.
    pub ifindex: u32,
    /// Raised each time the index is given to another backend; 0: never used.
    pub generation: u32,
    /// The backend's address, IPv4 mapped into IPv6.
    pub address: [u8; 16],
    /// Source address of the outer packet in tunnel modes, of the backend's family.
    pub tunnel_source: [u8; 16],
    /// Identifier of the service that the backend belongs to.
    pub service: u16,
    /// Port in network byte order: the encapsulation's for gue; the backend's own for nat, where 0 keeps the packet's.
    pub port: [u8; 2],
    /// Largest IP packet on the way to the backend, in bytes.
    pub mtu: u16,
    /// A [`Forwarding`].
    pub forwarding: u8,
    /// Low bits of `tunnel_source` that vary with the flow, at most 32.
    pub source_bits: u8,
}

const _: () = assert!(size_of::<Backend>() == 64);

impl Departure {
    /// The word as it stands in the map.
    #[inline(always)]
    #[must_use]
    pub fn to_word(self) -> u64 {
        bytemuck::cast(self)
    }

    /// The departure that a word of the map stands for.
    #[inline(always)]
    #[must_use]
    pub fn from_word(word: u64) -> Self {
        bytemuck::cast(word)
    }
}

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

    /// Whether the backend is dead or gone.
    #[inline(always)]
    #[must_use]
    pub const fn is_down(self) -> bool {
        self.flags & link_flags::DOWN != 0
    }

    /// The same, of a backend that is dead or gone, or not.
    #[must_use]
    pub const fn with_down(self, down: bool) -> Self {
        let flags = self.flags & !link_flags::DOWN;
        Self { flags: if down { flags | link_flags::DOWN } else { flags }, ..self }
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
