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
/// IPv6 extension headers that are walked before a packet counts as malformed.
pub const MAX_EXTENSION_HEADERS: usize = 6;
