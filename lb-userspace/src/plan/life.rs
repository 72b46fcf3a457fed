//! The life of a slot: what its word becomes when it moves. docs/connection-consistency.md has the argument.

use lb_common::slot::{BackendIndex, NO_BACKEND, Phase, Slot};

/// What a slot's next word hangs on.
pub struct Life<'a> {
    /// Seconds of `CLOCK_MONOTONIC`.
    pub now: u32,
    /// Whether no flow may be led to a backend any more: dead, or to be dropped at once, or not there at all.
    pub down: &'a dyn Fn(BackendIndex) -> bool,
}

impl Life<'_> {
    fn leads_nowhere(&self, backend: BackendIndex) -> bool {
        backend == NO_BACKEND || (self.down)(backend)
    }

    /// The slot before anything moves: one that learns of a previous backend that is dead has nothing to learn.
    pub fn healed(&self, slot: Slot) -> Slot {
        if slot.is_learning() && self.leads_nowhere(slot.previous) {
            return Slot::holding(slot.backend, self.now);
        }
        slot
    }

    /// The slot when new connections go to `to`.
    pub fn moved(&self, slot: Slot, to: BackendIndex) -> Slot {
        let previous = match slot.phase() {
            Phase::Stable if slot.backend == NO_BACKEND => return Slot::stable(to, self.now),
            Phase::Stable | Phase::Hold => slot.backend,
            // Flows that nothing is known of are still those of the backend before; those of `slot.backend` are known.
            Phase::Learn => slot.previous,
        };
        if self.leads_nowhere(previous) {
            return Slot::holding(to, self.now);
        }
        Slot::learning(to, previous, self.now)
    }

    /// The slot in another place of SLOTS, where no mark tells of its flows that found no room: they get their time anew.
    /// In a service that remembers all flows such a flow may be of any slot.
    pub fn relocated(&self, slot: Slot, tracks_all: bool) -> Slot {
        match (slot.is_learning(), tracks_all) {
            (true, _) => Slot::learning(slot.backend, slot.previous, self.now),
            (false, true) => self.tracked(slot),
            (false, false) => slot,
        }
    }

    /// The slot when its service goes over to remembering all flows: those that it led so far are to be learnt.
    pub fn tracked(&self, slot: Slot) -> Slot {
        if slot.is_learning() || self.leads_nowhere(slot.backend) {
            return slot;
        }
        Slot::learning(slot.backend, slot.backend, self.now)
    }

    /// The slot when its service no longer remembers all flows: any backend may have some.
    pub fn untracked(&self, slot: Slot) -> Slot {
        if slot.is_stable() { Slot::holding(slot.backend, self.now) } else { slot }
    }
}

#[cfg(test)]
mod tests {
    use super::Life;
    use lb_common::slot::{NO_BACKEND, Slot};

    const NOW: u32 = 100;

    fn life(down: &dyn Fn(u16) -> bool) -> Life<'_> {
        Life { now: NOW, down }
    }

    #[test]
    fn a_move_keeps_the_way_to_those_before() {
        let life = life(&|_| false);
        assert_eq!(life.moved(Slot::stable(1, 5), 2), Slot::learning(2, 1, NOW));
        assert_eq!(life.moved(Slot::holding(1, 5), 2), Slot::learning(2, 1, NOW));
        assert_eq!(life.moved(Slot::learning(1, 3, 5), 2), Slot::learning(2, 3, NOW));
        assert_eq!(life.moved(Slot::learning(1, 2, 5), 2), Slot::learning(2, 2, NOW));
        assert_eq!(life.moved(Slot::stable(1, 5), NO_BACKEND), Slot::learning(NO_BACKEND, 1, NOW));
    }

    #[test]
    fn a_move_from_nobody_or_the_dead_has_nothing_to_learn() {
        let life = life(&|backend| backend == 9);
        assert_eq!(life.moved(Slot::EMPTY, 2), Slot::stable(2, NOW));
        assert_eq!(life.moved(Slot::stable(9, 5), 2), Slot::holding(2, NOW));
        assert_eq!(life.moved(Slot::holding(9, 5), 2), Slot::holding(2, NOW));
        assert_eq!(life.moved(Slot::holding(NO_BACKEND, 5), 2), Slot::holding(2, NOW));
        assert_eq!(life.moved(Slot::learning(1, 9, 5), 2), Slot::holding(2, NOW));
        assert_eq!(life.moved(Slot::learning(9, 1, 5), 2), Slot::learning(2, 1, NOW));
    }

    #[test]
    fn a_dead_previous_is_forgotten_in_place() {
        let life = life(&|backend| backend == 9);
        assert_eq!(life.healed(Slot::learning(1, 9, 5)), Slot::holding(1, NOW));
        assert_eq!(life.healed(Slot::learning(9, 1, 5)), Slot::learning(9, 1, 5));
        assert_eq!(life.healed(Slot::stable(9, 5)), Slot::stable(9, 5));
    }

    #[test]
    fn another_place_gives_flows_without_room_their_time_anew() {
        let life = life(&|_| false);
        assert_eq!(life.relocated(Slot::learning(1, 2, 5), false), Slot::learning(1, 2, NOW));
        assert_eq!(life.relocated(Slot::holding(1, 5), false), Slot::holding(1, 5));
        assert_eq!(life.relocated(Slot::stable(1, 5), true), Slot::learning(1, 1, NOW));
    }

    #[test]
    fn remembering_all_flows_begins_and_ends_without_forgetting_any() {
        let life = life(&|_| false);
        assert_eq!(life.tracked(Slot::stable(1, 5)), Slot::learning(1, 1, NOW));
        assert_eq!(life.tracked(Slot::holding(1, 5)), Slot::learning(1, 1, NOW));
        assert_eq!(life.tracked(Slot::learning(1, 2, 5)), Slot::learning(1, 2, 5));
        assert_eq!(life.untracked(Slot::stable(1, 5)), Slot::holding(1, NOW));
        assert_eq!(life.untracked(Slot::learning(1, 2, 5)), Slot::learning(1, 2, 5));
    }
}
