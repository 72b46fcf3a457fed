use super::{Member, Move, changes, changes_among, fill, quotas};
use lb_common::slot::{BackendIndex, NO_BACKEND};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};
use std::collections::HashMap;

/// Names and weights; the index is the position plus one.
type Backends = Vec<(String, u32)>;

fn members(backends: &Backends) -> Vec<Member<'_>> {
    let with_index = (1..).zip(backends);
    with_index.map(|(index, (name, weight))| Member { name, index, weight: *weight }).collect()
}

fn named(weights: &[u32]) -> Backends {
    weights.iter().enumerate().map(|(i, &weight)| (format!("b{i:05}"), weight)).collect()
}

fn count(table: &[BackendIndex]) -> HashMap<BackendIndex, u32> {
    let mut counts = HashMap::new();
    for &index in table {
        *counts.entry(index).or_default() += 1;
    }
    counts
}

fn apply(table: &[BackendIndex], moves: &[Move]) -> Vec<BackendIndex> {
    let mut table = table.to_vec();
    for Move { slot, to } in moves {
        table[*slot as usize] = *to;
    }
    table
}

/// The moves that no method can do without: what the members lack, or every named slot when none may have
/// one.
fn fewest(members: &[Member], current: &[BackendIndex]) -> usize {
    let new = quotas(members, current.len() as u32);
    let old = count(current);
    if new.iter().all(|&quota| quota == 0) {
        return current.iter().filter(|&&index| index != NO_BACKEND).count();
    }
    let lacks = |(member, &quota): (&Member, &u32)| {
        quota.saturating_sub(old.get(&member.index).copied().unwrap_or(0)) as usize
    };
    members.iter().zip(&new).map(lacks).sum()
}

/// In every prefix each member has its ideal count, rounded down or up.
fn assert_smooth(table: &[BackendIndex], members: &[Member], quotas: &[u32]) {
    let total = table.len() as u64;
    let quota: HashMap<_, _> = members.iter().zip(quotas).map(|(m, &q)| (m.index, u64::from(q))).collect();
    let mut seen: HashMap<BackendIndex, u64> = HashMap::new();
    for (t, index) in (1u64..).zip(table) {
        *seen.entry(*index).or_default() += 1;
        for (index, quota) in &quota {
            let has = seen.get(index).copied().unwrap_or(0);
            let (floor, ceiling) = (t * quota / total, (t * quota).div_ceil(total));
            assert!((floor..=ceiling).contains(&has), "{index}: {has} of {t}, ideal {floor} to {ceiling}");
        }
    }
}

fn weight() -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(0), 3 => Just(100), 5 => 1..=10u32, 5 => 0..=10_000u32]
}

fn backends() -> impl Strategy<Value = Backends> {
    let names = prop::collection::btree_set("[a-z][a-z0-9-]{0,5}", 0..24);
    let in_any_order = names.prop_map(|names| names.into_iter().collect::<Vec<String>>()).prop_shuffle();
    in_any_order.prop_flat_map(|names| {
        let weights = prop::collection::vec(weight(), names.len());
        weights.prop_map(move |weights| names.iter().cloned().zip(weights).collect())
    })
}

fn slots() -> impl Strategy<Value = u32> {
    (6..=11u32).prop_map(|bits| 1 << bits)
}

/// A table in any state: slots name members, backends that are gone, or none.
fn any_table() -> impl Strategy<Value = Vec<BackendIndex>> {
    (slots(), 1..40u16).prop_flat_map(|(slots, most)| prop::collection::vec(0..=most, slots as usize))
}

proptest! {
    #[test]
    fn quotas_are_exact_to_one_slot(backends in backends(), slots in slots()) {
        let members = members(&backends);
        let quotas = quotas(&members, slots);
        let total: i64 = members.iter().map(|member| i64::from(member.weight)).sum();
        prop_assert_eq!(quotas.iter().sum::<u32>(), if total == 0 { 0 } else { slots });
        for (member, &quota) in members.iter().zip(&quotas) {
            // |quota - slots × weight / total| < 1, multiplied by the total.
            let error = i64::from(quota) * total - i64::from(slots) * i64::from(member.weight);
            prop_assert!(total == 0 || error.abs() < total);
            prop_assert!(member.weight > 0 || quota == 0);
        }
    }

    #[test]
    fn a_fill_has_the_quotas_and_is_smooth(backends in backends(), slots in slots()) {
        let members = members(&backends);
        let quotas = quotas(&members, slots);
        let table = fill(&members, slots);
        prop_assert_eq!(table.len(), slots as usize);
        if quotas.iter().any(|&quota| quota > 0) {
            assert_smooth(&table, &members, &quotas);
        } else {
            prop_assert!(table.iter().all(|&index| index == NO_BACKEND));
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(
        (backends, seed, current) in (backends(), any::<u64>(), any_table())
    ) {
        let members = members(&backends);
        let mut shuffled = members.clone();
        shuffled.sort_by_key(|m| (u64::from(m.index) ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        prop_assert_eq!(fill(&members, 256), fill(&shuffled, 256));
        prop_assert_eq!(changes(&members, &current), changes(&shuffled, &current));
    }

    #[test]
    fn changes_reach_the_quotas_with_the_fewest_moves(backends in backends(), current in any_table()) {
        let members = members(&backends);
        let moves = changes(&members, &current);
        prop_assert_eq!(moves.len(), fewest(&members, &current));
        prop_assert!(moves.iter().all(|m| current[m.slot as usize] != m.to));
        let after = apply(&current, &moves);
        let counts = count(&after);
        for (member, quota) in members.iter().zip(quotas(&members, current.len() as u32)) {
            prop_assert_eq!(counts.get(&member.index).copied().unwrap_or(0), quota);
        }
        prop_assert_eq!(changes(&members, &after), vec![]);
    }

    /// No slot moves that may not, unless its backend takes no connections; and what moves gets each member as near to
    /// its quota as the rest allows, without a move too many.
    #[test]
    fn slots_that_may_not_move_stay(backends in backends(), current in any_table(), seed in any::<u64>()) {
        let members = members(&backends);
        let may = |slot: u32| (seed ^ u64::from(slot)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 != 0;
        let takes = |index: BackendIndex| members.iter().any(|m| m.index == index && m.weight > 0);
        let changed = changes_among(&members, &current, may);
        for m in &changed.moves {
            prop_assert!(may(m.slot) || !takes(current[m.slot as usize]));
        }
        let after = count(&apply(&current, &changed.moves));
        let before = count(&current);
        let mut waiting = 0;
        for (member, quota) in members.iter().zip(quotas(&members, current.len() as u32)) {
            let of = |counts: &HashMap<_, u32>| counts.get(&member.index).copied().unwrap_or(0);
            let stuck = (0u32..).zip(&current).filter(|(slot, index)| **index == member.index && !may(*slot)).count() as u32;
            let expected = if member.weight > 0 { quota.max(stuck.min(of(&before))) } else { 0 };
            prop_assert!(of(&after) <= expected);
            waiting += quota.saturating_sub(of(&after));
        }
        if members.iter().any(|member| member.weight > 0) {
            prop_assert_eq!(changed.waiting, waiting);
        }
    }

    #[test]
    fn slots_without_a_member_move_first(backends in backends(), current in any_table()) {
        let members = members(&backends);
        let known = |m: &Move| members.iter().any(|member| member.index == current[m.slot as usize]);
        if members.iter().any(|member| member.weight > 0) {
            prop_assert!(changes(&members, &current).is_sorted_by_key(known));
        }
    }

    #[test]
    fn any_first_part_of_the_moves_serves_receivers_in_proportion(backends in backends(), current in any_table()) {
        let members = members(&backends);
        let moves: Vec<_> = changes(&members, &current).iter().map(|m| m.to).collect();
        let counts = count(&moves);
        let shares: Vec<_> = members.iter().map(|m| counts.get(&m.index).copied().unwrap_or(0)).collect();
        if members.iter().any(|member| member.weight > 0) {
            assert_smooth(&moves, &members, &shares);
        }
    }
}

#[test]
fn a_first_fill_equals_the_changes_of_an_empty_table() {
    let backends = named(&[5, 1, 1]);
    let members = members(&backends);
    let empty = vec![NO_BACKEND; 64];
    assert_eq!(apply(&empty, &changes(&members, &empty)), fill(&members, 64));
}

#[test]
fn ties_go_to_the_earlier_name() {
    let backends: Backends = vec![("c".into(), 1), ("a".into(), 1), ("b".into(), 1)];
    assert_eq!(quotas(&members(&backends), 64), [21, 22, 21]);
    assert_eq!(fill(&members(&backends), 8), [2, 3, 1, 2, 3, 2, 3, 1]);
}

#[test]
fn no_weight_leaves_no_backend() {
    let backends = named(&[0, 0]);
    assert_eq!(fill(&members(&backends), 4), [NO_BACKEND; 4]);
    let moves = changes(&members(&backends), &[1, 0, 2, 9]);
    assert_eq!(moves.iter().map(|m| m.slot).collect::<Vec<_>>(), [0, 2, 3]);
    assert!(moves.iter().all(|m| m.to == NO_BACKEND));
    assert_eq!(changes(&[], &[0, 0]), []);
}

#[test]
fn what_a_backend_gives_up_lies_evenly_over_its_slots() {
    let backends = named(&[3, 1]);
    let members = members(&backends);
    let moves = changes(&members, &[1; 64]);
    assert_eq!(moves.iter().map(|m| m.slot).collect::<Vec<_>>(), (3..64).step_by(4).collect::<Vec<_>>());
}

#[test]
fn a_removed_backend_moves_only_its_own_slots() {
    let backends = named(&[100, 100, 100, 100]);
    let all = members(&backends);
    let table = fill(&all, 1024);
    let moves = changes(&all[..3], &table);
    assert_eq!(moves.len(), 256);
    assert!(moves.iter().all(|m| table[m.slot as usize] == 4));
}

#[test]
fn the_largest_weights_and_tables_do_not_overflow() {
    let backends = named(&vec![10_000; 4_096]);
    let members = members(&backends);
    let table = fill(&members, 1 << 20);
    assert!(count(&table).values().all(|&slots| slots == 256));
    let heaviest = named(&[u32::MAX, u32::MAX, 1]);
    assert_eq!(quotas(&self::members(&heaviest), 1 << 20), [1 << 19, 1 << 19, 0]);
}

#[test]
#[ignore = "a measurement: cargo test --release -p lb-userspace table -- --ignored --nocapture"]
fn time_of_large_tables() {
    let weights: Vec<u32> = (0..4_096).map(|i| 1 + i * 7 % 10_000).collect();
    let (before, after) = (named(&weights), named(&weights[..4_000]));
    for slots in [65_536, 1 << 20] {
        let start = std::time::Instant::now();
        let table = fill(&members(&before), slots);
        let filled = start.elapsed();
        let start = std::time::Instant::now();
        let moves = changes(&members(&after), &table);
        println!("{slots} slots: fill {filled:?}, {} changes {:?}", moves.len(), start.elapsed());
    }
}
