//! The weighted round-robin table: quotas by largest remainder, an even first fill, and changes that
//! move as few slots as the new quotas allow.
//!
//! All results depend on the members' names and weights alone, not on the order in which they are given:
//! balancers that share a configuration fill the same table. After a change a table also depends on the one before.

use super::schedule::even_order;
use lb_common::slot::{BackendIndex, NO_BACKEND};

/// A backend as the table sees it. Names and indices are unique within a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// The backend's name, which breaks ties.
    pub name: &'a str,
    /// What a slot holds; never [`NO_BACKEND`].
    pub index: BackendIndex,
    /// Share of new connections relative to the other members; 0: none.
    pub weight: u32,
}

/// One slot that changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Position in the service's table.
    pub slot: u32,
    /// The new backend; [`NO_BACKEND`] when no member has weight.
    pub to: BackendIndex,
}

/// What changes in a table, and what should and cannot yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// The slots that move.
    pub moves: Vec<Move>,
    /// How many more should, and may not yet.
    pub waiting: u32,
}

/// Slots per member, in the order of `members`, by largest remainder (Hamilton's method); ties go to the
/// earlier name.
///
/// Each quota is within less than one slot of slots × weight / total weight, so a member whose share is less
/// than one slot may get none. The sum is `slots`, or 0 when no member has weight.
#[must_use]
pub fn quotas(members: &[Member], slots: u32) -> Vec<u32> {
    let total: u64 = members.iter().map(|member| u64::from(member.weight)).sum();
    if total == 0 {
        return vec![0; members.len()];
    }
    let exact = |position: usize| u64::from(slots) * u64::from(members[position].weight);
    let mut quotas: Vec<u32> = (0..members.len()).map(|i| (exact(i) / total) as u32).collect();
    let given: u64 = quotas.iter().map(|&quota| u64::from(quota)).sum();
    let left = u64::from(slots) - given;

    let mut by_remainder = by_name(members);
    // Stable, so that equal remainders stay in the order of names.
    by_remainder.sort_by_key(|&position| std::cmp::Reverse(exact(position) % total));
    for &position in by_remainder.iter().take(left as usize) {
        quotas[position] += 1;
    }
    quotas
}

/// The first fill of a table: each member has its quota, spread evenly. Every slot is
/// [`NO_BACKEND`] when no member has weight.
///
/// In the first t slots each member has its ideal t × quota / slots, rounded down or up; of what its
/// weight alone would give, it is less than two slots away.
#[must_use]
pub fn fill(members: &[Member], slots: u32) -> Vec<BackendIndex> {
    let order = receivers(members, &quotas(members, slots));
    if order.is_empty() { vec![NO_BACKEND; slots as usize] } else { order }
}

/// The fewest moves that give every member its quota of the table `current`.
///
/// Slots that name no member (a removed backend, or none) come first, because no connection is lost by
/// moving them. Then come those of members above quota: of a member's n slots, numbered 0 to n - 1, e go,
/// namely those j at which ⌊je/n⌋ steps up, so they lie evenly over its slots. Receivers take turns as
/// evenly as in [`fill`], so that any part of the moves, taken from the front, serves them in proportion.
/// The number of moves is the sum of max(0, new quota - old slots) over the members; when no member has
/// weight, every slot that names a backend moves to [`NO_BACKEND`].
#[must_use]
pub fn changes(members: &[Member], current: &[BackendIndex]) -> Vec<Move> {
    changes_among(members, current, |_| true).moves
}

/// As [`changes`], of the slots that `may_move` (position in the table) allows; a slot whose backend takes no new
/// connections moves in any case. Where fewer may move than should, as many do as may.
#[must_use]
pub fn changes_among(
    members: &[Member],
    current: &[BackendIndex],
    may_move: impl Fn(u32) -> bool,
) -> Changes {
    let quotas = quotas(members, current.len() as u32);
    if quotas.iter().all(|&quota| quota == 0) {
        return Changes { moves: emptied(current), waiting: 0 };
    }
    let mut holdings = Holdings::new(members, &quotas, current, &may_move);
    let (mut vacant, mut surplus) = (Vec::new(), Vec::new());
    for (slot, &backend) in (0u32..).zip(current) {
        match holdings.leaves(backend, || may_move(slot)) {
            Leaves::Vacant => vacant.push(slot),
            Leaves::Surplus => surplus.push(slot),
            Leaves::Stays => {}
        }
    }
    let wanted = holdings.wanted(&quotas);
    let waiting = wanted.iter().sum::<u32>() - (vacant.len() + surplus.len()) as u32;
    let to = receivers(members, &wanted);
    let moves = vacant.into_iter().chain(surplus).zip(to).map(|(slot, to)| Move { slot, to }).collect();
    Changes { moves, waiting }
}

/// Moves every slot that names a backend to none.
fn emptied(current: &[BackendIndex]) -> Vec<Move> {
    let named = (0u32..).zip(current).filter(|&(_, &backend)| backend != NO_BACKEND);
    named.map(|(slot, _)| Move { slot, to: NO_BACKEND }).collect()
}

/// Members in an even order, member `i` as often as `shares[i]` says.
fn receivers(members: &[Member], shares: &[u32]) -> Vec<BackendIndex> {
    let by_name = by_name(members);
    let shares: Vec<u32> = by_name.iter().map(|&position| shares[position]).collect();
    even_order(&shares).into_iter().map(|rank| members[by_name[rank]].index).collect()
}

/// Positions of the members in the order of their names.
pub(super) fn by_name(members: &[Member]) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..members.len()).collect();
    positions.sort_by_key(|&position| (members[position].name, members[position].index));
    positions
}

/// What becomes of a slot when the quotas change.
enum Leaves {
    /// It names no member and must move.
    Vacant,
    /// Its member has too many, and this is one of those to go.
    Surplus,
    /// It stays as it is.
    Stays,
}

/// One member's slots in the current table.
#[derive(Clone, Copy, Default)]
struct Holding {
    /// All of them.
    held: u64,
    /// Those that may move.
    movable: u64,
    /// Those that go.
    surplus: u64,
    /// Movable ones that [`Holdings::leaves`] was asked about.
    seen: u64,
    /// All of them may move: the member takes no new connections.
    forced: bool,
}

/// Every member's slots in the current table, by backend index.
struct Holdings {
    /// Position in `of_members`, by backend index; the tables are read once a slot, so no hashing.
    position: Vec<Option<usize>>,
    of_members: Vec<Holding>,
}

impl Holdings {
    fn new(
        members: &[Member],
        quotas: &[u32],
        current: &[BackendIndex],
        may_move: impl Fn(u32) -> bool,
    ) -> Self {
        let mut position = vec![None; usize::from(BackendIndex::MAX) + 1];
        for (i, member) in members.iter().enumerate() {
            position[usize::from(member.index)] = Some(i);
        }
        let forced = |member: &Member| Holding { forced: member.weight == 0, ..Holding::default() };
        let mut of_members: Vec<_> = members.iter().map(forced).collect();
        for (slot, &backend) in (0u32..).zip(current) {
            if let Some(i) = position[usize::from(backend)] {
                let holding = &mut of_members[i];
                holding.held += 1;
                holding.movable += u64::from(holding.forced || may_move(slot));
            }
        }
        for (holding, &quota) in of_members.iter_mut().zip(quotas) {
            holding.surplus = holding.held.saturating_sub(u64::from(quota)).min(holding.movable);
        }
        Self { position, of_members }
    }

    /// What becomes of the next slot that names `backend`; to be asked once a slot, in order.
    fn leaves(&mut self, backend: BackendIndex, may_move: impl FnOnce() -> bool) -> Leaves {
        let Some(position) = self.position[usize::from(backend)] else { return Leaves::Vacant };
        let Holding { movable, surplus, seen, forced, .. } = &mut self.of_members[position];
        if !*forced && !may_move() {
            return Leaves::Stays;
        }
        let before = *seen * *surplus / *movable;
        *seen += 1;
        if *seen * *surplus / *movable > before { Leaves::Surplus } else { Leaves::Stays }
    }

    /// Slots that each member still lacks.
    fn wanted(&self, quotas: &[u32]) -> Vec<u32> {
        let pairs = quotas.iter().zip(&self.of_members);
        pairs.map(|(&quota, holding)| u64::from(quota).saturating_sub(holding.held) as u32).collect()
    }
}

#[cfg(test)]
mod tests;
