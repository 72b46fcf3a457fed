//! Bounds that both sides rely on.

/// Longest name of a service or backend, in bytes.
pub const NAME_BYTES: usize = 64;
/// Largest weight of a backend.
pub const MAX_WEIGHT: u32 = 10_000;
/// Fewest slots of a service.
pub const MIN_SLOTS: u32 = 64;
/// Most slots of a service.
pub const MAX_SLOTS: u32 = 1 << 20;
/// Slots of a service when the configuration names no number.
pub const DEFAULT_SLOTS: u32 = 16_384;
/// Most services of one balancer.
pub const MAX_SERVICES: u32 = 4_096;
/// Most backend records of one balancer: an index is 16 bits wide and index 0 names no backend.
pub const MAX_BACKENDS: u32 = u16::MAX as u32;
/// Largest MTU, in bytes, of which every frame lies in one buffer: a page less headroom, the kernel's own data at its
/// end, and link-layer headers. Above it, native XDP takes only programs that know of more buffers.
pub const MAX_PLAIN_MTU: u32 = 3_400;
/// IPv6 extension headers that are walked before a packet counts as malformed.
pub const MAX_EXTENSION_HEADERS: usize = 6;
/// Entries of each family's flow table when the configuration names no number.
pub const DEFAULT_FLOWS: u32 = 262_144;
/// Backends of a service that round-robin looks through for the place where a new client starts.
pub const MAX_RING_SEARCH: u32 = 64;
/// How long a quiet flow of UDP is remembered at most, in milliseconds.
pub const MAX_LEARN_UDP_MS: u64 = 3_600_000;
