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
    let quotas = quotas(members, current.len() as u32);
    if quotas.iter().all(|&quota| quota == 0) {
        return emptied(current);
    }
    let mut holdings = Holdings::new(members, &quotas, current);
    let (mut vacant, mut surplus) = (Vec::new(), Vec::new());
    for (slot, &backend) in (0u32..).zip(current) {
        match holdings.leaves(backend) {
            Leaves::Vacant => vacant.push(slot),
            Leaves::Surplus => surplus.push(slot),
            Leaves::Stays => {}
        }
    }
    let to = receivers(members, &holdings.wanted(&quotas));
    vacant.into_iter().chain(surplus).zip(to).map(|(slot, to)| Move { slot, to }).collect()
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
fn by_name(members: &[Member]) -> Vec<usize> {
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
#[derive(Clone, Copy)]
struct Holding {
    held: u64,
    surplus: u64,
    seen: u64,
}

/// Every member's slots in the current table, by backend index.
struct Holdings {
    /// Position in `of_members`, by backend index; the tables are read once a slot, so no hashing.
    position: Vec<Option<usize>>,
    of_members: Vec<Holding>,
}

impl Holdings {
    fn new(members: &[Member], quotas: &[u32], current: &[BackendIndex]) -> Self {
        let mut position = vec![None; usize::from(BackendIndex::MAX) + 1];
        for (i, member) in members.iter().enumerate() {
            position[usize::from(member.index)] = Some(i);
        }
        let mut of_members = vec![Holding { held: 0, surplus: 0, seen: 0 }; members.len()];
        for i in current.iter().filter_map(|&backend| position[usize::from(backend)]) {
            of_members[i].held += 1;
        }
        for (holding, &quota) in of_members.iter_mut().zip(quotas) {
            holding.surplus = holding.held.saturating_sub(u64::from(quota));
        }
        Self { position, of_members }
    }

    /// What becomes of the next slot that names `backend`; to be asked once a slot, in order.
    fn leaves(&mut self, backend: BackendIndex) -> Leaves {
        let Some(position) = self.position[usize::from(backend)] else { return Leaves::Vacant };
        let Holding { held, surplus, seen } = &mut self.of_members[position];
        let before = *seen * *surplus / *held;
        *seen += 1;
        if *seen * *surplus / *held > before { Leaves::Surplus } else { Leaves::Stays }
    }

    /// Slots that each member still lacks.
    fn wanted(&self, quotas: &[u32]) -> Vec<u32> {
        let pairs = quotas.iter().zip(&self.of_members);
        pairs.map(|(&quota, holding)| u64::from(quota).saturating_sub(holding.held) as u32).collect()
    }
}

#[cfg(test)]
mod tests;
