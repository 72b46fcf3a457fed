//! The one record of META: which program and daemon wrote the pinned maps.

use bytemuck::{Pod, Zeroable};

/// Bits of FEATURES: what the loaded configuration needs. An unset bit removes the code at load time.
pub mod features {
    /// At least one service has an IPv6 address.
    pub const IPV6: u32 = 1 << 0;
    /// At least one service has port 0.
    pub const EVERY_PORT: u32 = 1 << 1;
    /// A UDP service exists.
    pub const UDP: u32 = 1 << 2;
    /// A service forwards by ipip.
    pub const IPIP: u32 = 1 << 3;
    /// A service forwards by gue.
    pub const GUE: u32 = 1 << 4;
    /// A service forwards by nat.
    pub const NAT: u32 = 1 << 5;
    /// An interface's frames may lie in more than one buffer.
    pub const JUMBO: u32 = 1 << 6;
    /// A service hashes on addresses alone.
    pub const ADDRESSES_ONLY: u32 = 1 << 7;
    /// A service clamps the segment size.
    pub const MSS: u32 = 1 << 8;
    /// A service's algorithm is round-robin.
    pub const ROUND_ROBIN: u32 = 1 << 9;
    /// A service's algorithm is round-robin for each client.
    pub const PER_CLIENT: u32 = 1 << 10;
    /// A service's algorithm is least-connections.
    pub const LEAST_CONNECTIONS: u32 = 1 << 11;
    /// The latency of a nat service's backends is sampled.
    pub const SAMPLING: u32 = 1 << 12;
    /// Every bit that this build knows.
    pub const ALL: u32 = IPV6
        | EVERY_PORT
        | UDP
        | IPIP
        | GUE
        | NAT
        | JUMBO
        | ADDRESSES_ONLY
        | MSS
        | ROUND_ROBIN
        | PER_CLIENT
        | LEAST_CONNECTIONS
        | SAMPLING;
    /// For tests alone: the time is what CLOCK says. No configuration asks for it.
    pub const TEST_CLOCK: u32 = 1 << 31;
}

/// The record at index 0 of META.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Meta {
    /// [`crate::ABI_VERSION`] of the writer; 0: the maps were never completed.
    pub abi_version: u32,
    /// Bits of [`features`] that the attached program was specialised for.
    pub features: u32,
    /// Level of the program's log lines that it was specialised for; 0: none.
    pub log_level: u32,
    /// The kernel's identifier of the program that this describes. A crash between pinning one and writing this
    /// leaves another pinned.
    pub program_id: u32,
    /// Answers a second and CPU that it was specialised for.
    pub answer_rate: u32,
    /// Always 0.
    pub reserved: u32,
    /// The secret of the flow hash, so that whoever adopts the maps goes on with the same hash.
    pub hash_key: [u8; 16],
    /// Version of the program that wrote this, as text filled up with zeros.
    pub build: [u8; 32],
    /// Always 0. Room for fields to come: the record keeps its size, so that every version can read another's number.
    pub room: [u64; 7],
}

const _: () = assert!(size_of::<Meta>() == 128);
