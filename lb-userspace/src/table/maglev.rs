//! The Maglev table (Eisenbud and others, "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016,
//! section 3.4): a pure function of the members' names and weights, so that balancers that share nothing but a
//! configuration fill the same table, whatever their past.
//!
//! Two things differ from the paper. The table's size is a power of two and not a prime: every odd skip walks all of it.
//! Members have weights: they take turns in the order of (2k + 1) / weight for turn k, so that each has its share of the
//! turns at any time, and the order of two members hangs on no third.

use super::weighted_round_robin::{Member, by_name};
use lb_common::slot::{BackendIndex, NO_BACKEND};
use std::{cmp::Ordering, collections::BinaryHeap};

/// The table of `slots` slots, a power of two. Every slot is [`NO_BACKEND`] when no member has weight.
///
/// A member's number of slots is its share by weight to within a few slots.
#[must_use]
pub fn table(members: &[Member], slots: u32) -> Vec<BackendIndex> {
    let mut table = vec![NO_BACKEND; slots as usize];
    let ranked = by_name(members).into_iter().map(|position| &members[position]);
    let ranked: Vec<_> = ranked.filter(|member| member.weight > 0).collect();
    let mut walks: Vec<_> = ranked.iter().map(|member| Walk::new(member.name, slots)).collect();
    let turn = |(rank, member): (usize, &&Member)| Turn { number: 0, weight: member.weight.into(), rank };
    let mut turns: BinaryHeap<_> = ranked.iter().enumerate().map(turn).collect();
    for _ in 0..slots {
        let Some(turn) = turns.pop() else { break };
        let slot = walks[turn.rank].find(|&slot| table[slot as usize] == NO_BACKEND);
        // Never none: a walk passes every slot, and as many are free as turns are left.
        let Some(slot) = slot else { break };
        table[slot as usize] = ranked[turn.rank].index;
        turns.push(Turn { number: turn.number + 1, ..turn });
    }
    table
}

/// The order in which a member would like to have the slots: every slot once.
struct Walk {
    next: u32,
    skip: u32,
    mask: u32,
    left: u32,
}

impl Walk {
    fn new(name: &str, slots: u32) -> Self {
        let hash = name_hash(name);
        let mask = slots - 1;
        Self { next: hash as u32 & mask, skip: (hash >> 32) as u32 & mask | 1, mask, left: slots }
    }
}

impl Iterator for Walk {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        let slot = self.next;
        self.next = slot.wrapping_add(self.skip) & self.mask;
        Some(slot)
    }
}

/// Hash of a name, the same on every machine and in every version: FNV-1a of 64 bits, then the finaliser Mix13 of
/// [`lb_common::hash`], because FNV leaves the upper bits of short names alike.
fn name_hash(name: &str) -> u64 {
    let fnv = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let z = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A member's turn; the greatest is the next.
#[derive(PartialEq, Eq)]
struct Turn {
    number: u64,
    weight: u64,
    rank: usize,
}

impl Ord for Turn {
    fn cmp(&self, other: &Self) -> Ordering {
        // (2k + 1) / weight, without the division.
        let (mine, others) = ((2 * self.number + 1) * other.weight, (2 * other.number + 1) * self.weight);
        (others, other.rank).cmp(&(mine, self.rank))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests;
