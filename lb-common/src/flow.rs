//! The flow table: which backend a flow belongs to, for flows whose slot changed a short while ago and for services that
//! remember every flow. docs/connection-consistency.md is the argument.

use crate::slot::BackendIndex;
use bytemuck::{Pod, Zeroable};

/// Time in units of 2^20 ns (about 1.05 ms) of `CLOCK_MONOTONIC`, which costs the program a shift where seconds cost a
/// division. Wraps around after 52 days: only differences mean anything.
pub type Tick = u32;

/// Binary logarithm of the nanoseconds of a [`Tick`].
pub const TICK_SHIFT: u32 = 20;

/// The ticks of a time span, rounded down; `milliseconds` below 2^32.
#[must_use]
pub const fn ticks(milliseconds: u64) -> Tick {
    ((milliseconds * 1_000_000) >> TICK_SHIFT) as Tick
}

/// A SYN on an entry that a packet was seen on so recently repeats the one before: the same backend.
pub const RETRANSMISSION: Tick = ticks(3_000);
/// `seen` is written once in so long at most, so that a busy flow does not write a cache line for every packet.
pub const TOUCH: Tick = ticks(250);

/// Key of `FLOWS_V4`. The virtual address and protocol are the service's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FlowKeyV4 {
    /// The client's address as it lies on the wire.
    pub source: [u8; 4],
    /// Both ports as [`crate::hash::ports_word`] makes them.
    pub ports: u32,
    /// Identifier of the service.
    pub service: u32,
}

/// Key of `FLOWS_V6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct FlowKeyV6 {
    /// The client's address as it lies on the wire.
    pub source: [u8; 16],
    /// Both ports as [`crate::hash::ports_word`] makes them.
    pub ports: u32,
    /// Identifier of the service.
    pub service: u32,
}

/// How far a flow is, by what its client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum FlowClass {
    /// Nothing but SYNs, or a QUIC Initial: gone within seconds unless more comes.
    Opening = 0,
    /// Something else came.
    Open = 1,
    /// A FIN or RST came: gone with the next sweep that finds it quiet.
    Closing = 2,
}

/// Whose a flow is, as one aligned 64-bit word: stored, loaded and exchanged whole.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Owner {
    /// The backend.
    pub backend: BackendIndex,
    /// A [`FlowClass`].
    pub class: u16,
    /// The backend's generation: an index that was given to another backend since is not this flow's.
    pub generation: u32,
}

/// Value of `FLOWS_V4` and `FLOWS_V6`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowEntry {
    /// Whose the flow is.
    pub owner: Owner,
    /// When its last packet came.
    pub seen: Tick,
    /// Always 0.
    pub reserved: u32,
}

/// A record of OVERFLOWS, one for each slot: flows that found no room in the flow table.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Overflow {
    /// When the last of them came; the slot must not stop learning before such flows had time to come again.
    pub at: Tick,
    /// How many there were, about: processors count without a lock.
    pub count: u32,
}

/// A record of LOADS, one for each backend: what `least-connections` compares.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Load {
    /// Entries of the flow table that name the backend and are not closing.
    pub live: u64,
    /// The weight in force.
    pub weight: u64,
}

/// Key of CLIENTS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ClientKey {
    /// The client's address, IPv4 mapped into IPv6.
    pub source: [u8; 16],
    /// Identifier of the service.
    pub service: u32,
}

/// A per-CPU record of TRACKING, one for each service.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TrackStats {
    /// Packets for which the flow table was looked at; all others cost it nothing.
    pub lookups: u64,
    /// Of those: their flow was known.
    pub hits: u64,
    /// New connections that were remembered.
    pub opened: u64,
    /// Flows from before a slot's change that were remembered, with the slot's previous backend.
    pub learned: u64,
    /// Known flows whose port a new connection uses again.
    pub reused: u64,
    /// Known flows whose backend is gone: chosen again.
    pub orphaned: u64,
    /// Flows that the table had no room for: they stay where their slot alone leads them.
    pub overflows: u64,
}

const _: () = assert!(size_of::<FlowKeyV4>() == 12);
const _: () = assert!(size_of::<FlowKeyV6>() == 24);
const _: () = assert!(size_of::<Owner>() == 8);
const _: () = assert!(size_of::<FlowEntry>() == 16);
const _: () = assert!(size_of::<Overflow>() == 8);
const _: () = assert!(size_of::<Load>() == 16);
const _: () = assert!(size_of::<ClientKey>() == 20);
const _: () = assert!(size_of::<TrackStats>() == 56);

impl Owner {
    /// An owner.
    #[inline(always)]
    #[must_use]
    pub const fn new(backend: BackendIndex, class: FlowClass, generation: u32) -> Self {
        Self { backend, class: class as u16, generation }
    }

    /// Whether the flow is of this class.
    #[inline(always)]
    #[must_use]
    pub const fn is(self, class: FlowClass) -> bool {
        self.class == class as u16
    }

    /// The word as it stands in the map.
    #[inline(always)]
    #[must_use]
    pub fn to_word(self) -> u64 {
        bytemuck::cast(self)
    }

    /// The owner that a word of the map stands for.
    #[inline(always)]
    #[must_use]
    pub fn from_word(word: u64) -> Self {
        bytemuck::cast(word)
    }
}

/// Ticks from `then` to `now`, which may be a moment before it where two processors read the clock.
#[inline(always)]
#[must_use]
pub const fn since(now: Tick, then: Tick) -> Tick {
    let age = now.wrapping_sub(then);
    if age > Tick::MAX / 2 { 0 } else { age }
}

#[cfg(test)]
mod tests {
    use super::{FlowClass, Owner, RETRANSMISSION, since, ticks};

    #[test]
    fn a_word_keeps_every_field() {
        let owner = Owner::new(513, FlowClass::Closing, 0x8000_0001);
        assert_eq!(Owner::from_word(owner.to_word()), owner);
        assert!(owner.is(FlowClass::Closing) && !owner.is(FlowClass::Open));
    }

    #[test]
    fn ages_survive_the_wrap_and_a_clock_that_is_behind() {
        assert_eq!(since(5, u32::MAX - 4), 10);
        assert_eq!(since(5, 6), 0);
        assert_eq!(ticks(1 << 20), 1_000_000);
        assert_eq!(RETRANSMISSION, 2861);
    }
}
