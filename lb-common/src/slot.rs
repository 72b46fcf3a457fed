//! A slot of a service's table: who gets new connections, and who still owns older ones.

use bytemuck::{Pod, Zeroable};

/// Index of a record in BACKENDS. 0 names no backend.
pub type BackendIndex = u16;

/// The index that names no backend: an unused slot, or a service without a usable backend.
pub const NO_BACKEND: BackendIndex = 0;

/// Where a slot stands in just-enough tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The slot alone decides; no per-flow state is read or written.
    Stable,
    /// The backend changed a short while ago: unknown flows are remembered.
    Learn,
    /// Flows of the previous backend are all known; everything else follows the slot.
    Hold,
}

/// One slot, read and written as a single aligned 64-bit word so that a packet never sees half a change.
///
/// `since` holds the phase in its two upper bits and, below, the time of the last change in seconds of
/// `CLOCK_MONOTONIC` (30 bits: 34 years).
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Slot {
    /// Backend for new connections.
    pub backend: BackendIndex,
    /// Backend that owned the slot before; [`NO_BACKEND`] when stable.
    pub previous: BackendIndex,
    /// Phase and time of the last change, see [`Slot::phase`] and [`Slot::changed_at`].
    pub since: u32,
}

const PHASE_SHIFT: u32 = 30;
const LEARN: u32 = 1;
const HOLD: u32 = 2;
const TIME_MASK: u32 = (1 << PHASE_SHIFT) - 1;
const _: () = assert!(size_of::<Slot>() == 8 && align_of::<Slot>() == 8);

impl Slot {
    /// A slot that nothing was ever assigned to.
    pub const EMPTY: Self = Self { backend: NO_BACKEND, previous: NO_BACKEND, since: 0 };

    /// A stable slot of `backend`, last changed at `changed_at` (seconds of `CLOCK_MONOTONIC`).
    #[must_use]
    pub const fn stable(backend: BackendIndex, changed_at: u32) -> Self {
        Self { backend, previous: NO_BACKEND, since: changed_at & TIME_MASK }
    }

    /// A slot that went from `previous` to `backend` at `changed_at`, or began to learn anew then.
    #[must_use]
    pub const fn learning(backend: BackendIndex, previous: BackendIndex, changed_at: u32) -> Self {
        Self { backend, previous, since: LEARN << PHASE_SHIFT | changed_at & TIME_MASK }
    }

    /// A slot of `backend` whose older flows are all known, since `changed_at`.
    #[must_use]
    pub const fn holding(backend: BackendIndex, changed_at: u32) -> Self {
        Self { backend, previous: NO_BACKEND, since: HOLD << PHASE_SHIFT | changed_at & TIME_MASK }
    }

    /// Whether the slot alone decides.
    #[inline(always)]
    #[must_use]
    pub const fn is_stable(self) -> bool {
        self.since >> PHASE_SHIFT == 0
    }

    /// Whether unknown flows belong to `previous`.
    #[inline(always)]
    #[must_use]
    pub const fn is_learning(self) -> bool {
        self.since >> PHASE_SHIFT == LEARN
    }

    /// The slot's phase.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self.since >> PHASE_SHIFT {
            LEARN => Phase::Learn,
            HOLD => Phase::Hold,
            _ => Phase::Stable,
        }
    }

    /// Time of the last change, in seconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn changed_at(self) -> u32 {
        self.since & TIME_MASK
    }

    /// The word as it stands in the map.
    #[must_use]
    pub fn to_word(self) -> u64 {
        bytemuck::cast(self)
    }

    /// The slot that a word of the map stands for.
    #[must_use]
    pub fn from_word(word: u64) -> Self {
        bytemuck::cast(word)
    }
}

#[cfg(test)]
mod tests {
    use super::{Phase, Slot};

    #[test]
    fn a_word_keeps_every_field() {
        let slot = Slot { backend: 7, previous: 9, since: (1 << 30) | 0x4d2 };
        let back = Slot::from_word(slot.to_word());
        assert_eq!(back, slot);
        assert_eq!(back.phase(), Phase::Learn);
        assert_eq!(back.changed_at(), 0x4d2);
        assert_eq!(Slot::stable(7, u32::MAX).phase(), Phase::Stable);
        assert_eq!(Slot::learning(7, 9, 0x4d2), slot);
        assert_eq!(Slot::holding(7, u32::MAX).phase(), Phase::Hold);
        assert!(slot.is_learning() && !slot.is_stable() && Slot::stable(7, u32::MAX).is_stable());
    }
}
