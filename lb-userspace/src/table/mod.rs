//! Slot tables: which backend each slot of a service names. Pure functions of members and weights.

pub mod maglev;
pub mod weighted_round_robin;

pub use weighted_round_robin::{Changes, Member, Move, changes, changes_among, fill, quotas};

mod schedule;

use lb_common::slot::BackendIndex;

/// The moves that turn `current` into `target`, of the slots that `may_move` (position in the table) allows.
#[must_use]
pub fn towards(target: &[BackendIndex], current: &[BackendIndex], may_move: impl Fn(u32) -> bool) -> Changes {
    let mut changes = Changes { moves: Vec::new(), waiting: 0 };
    for (slot, (&to, from)) in (0u32..).zip(target.iter().zip(current)) {
        match (to == *from, may_move(slot)) {
            (true, _) => {}
            (false, true) => changes.moves.push(Move { slot, to }),
            (false, false) => changes.waiting += 1,
        }
    }
    changes
}
