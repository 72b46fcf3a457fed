use super::{name_hash, table};
use crate::table::{Member, quotas};
use lb_common::slot::NO_BACKEND;
use proptest::prelude::*;

fn named(weights: &[u32]) -> Vec<(String, u32)> {
    weights.iter().enumerate().map(|(i, &weight)| (format!("web-{i}"), weight)).collect()
}

fn members(backends: &[(String, u32)]) -> Vec<Member<'_>> {
    let with_index = (1..).zip(backends);
    with_index.map(|(index, (name, weight))| Member { name, index, weight: *weight }).collect()
}

/// Slots of `before` that are others' in `after`, of those that `gone` did not have.
fn disrupted(before: &[u16], after: &[u16], gone: u16) -> usize {
    before.iter().zip(after).filter(|(b, a)| **b != gone && a != b).count()
}

proptest! {
    #[test]
    fn every_slot_is_filled_in_proportion(weights in proptest::collection::vec(0u32..200, 1..40), bits in 10u32..15) {
        let backends = named(&weights);
        let members = members(&backends);
        let table = table(&members, 1 << bits);
        let total: u32 = weights.iter().sum();
        prop_assert!(total == 0 || !table.contains(&NO_BACKEND));
        for (member, quota) in members.iter().zip(quotas(&members, 1 << bits)) {
            let has = table.iter().filter(|index| **index == member.index).count();
            prop_assert!(has.abs_diff(quota as usize) <= 2, "{} of {}, quota {quota}", has, member.name);
        }
    }

    #[test]
    fn the_order_of_members_and_their_indices_do_not_matter(weights in proptest::collection::vec(0u32..9, 1..20), by in 1usize..20) {
        let backends = named(&weights);
        let given = members(&backends);
        let mut turned = given.clone();
        turned.rotate_left(by % given.len());
        prop_assert_eq!(table(&given, 1024), table(&turned, 1024));
        let renumbered: Vec<_> = given.iter().map(|m| Member { index: m.index + 500, ..*m }).collect();
        let expected: Vec<_> = table(&given, 1024).into_iter().map(|i| if i == NO_BACKEND { i } else { i + 500 }).collect();
        prop_assert_eq!(table(&renumbered, 1024), expected);
    }

    /// Beside the slots of the one that goes, few change: the paper reports about 1 % at 100 slots a backend and above.
    #[test]
    fn a_removal_disturbs_few_others(weights in proptest::collection::vec(1u32..20, 2..40), which in any::<prop::sample::Index>()) {
        let backends = named(&weights);
        let all = members(&backends);
        let gone = which.index(all.len());
        let rest: Vec<_> = all.iter().copied().filter(|m| m.index != all[gone].index).collect();
        let (before, after) = (table(&all, 16_384), table(&rest, 16_384));
        let moved = disrupted(&before, &after, all[gone].index);
        let own = before.iter().filter(|index| **index == all[gone].index).count();
        prop_assert!(moved <= own / 2 + 256, "{} others moved beside {} own", moved, own);
    }
}

#[test]
fn no_weight_leaves_no_backend() {
    assert_eq!(table(&[], 64), [NO_BACKEND; 64]);
    assert_eq!(table(&members(&named(&[0])), 64), [NO_BACKEND; 64]);
}

/// Other versions and machines must come to the same tables.
#[test]
fn the_table_is_the_same_everywhere() {
    assert_eq!(name_hash("web-1"), 0xf576_b188_329f_7edd);
    assert_eq!(table(&members(&named(&[1, 2, 1])), 16), [3, 2, 3, 1, 1, 2, 2, 2, 2, 3, 3, 1, 2, 2, 1, 2]);
}

#[test]
fn shares_are_exact_to_a_few_per_mille() {
    let backends = named(&[10_000, 5_000, 1, 777, 10_000]);
    let members = members(&backends);
    let table = table(&members, 16_384);
    for member in &members {
        let has = table.iter().filter(|index| **index == member.index).count() as u32;
        let has = f64::from(has) / 16_384.0;
        let share = f64::from(member.weight) / 25_778.0;
        assert!((has - share).abs() < 0.001, "{}: {has}, by weight {share}", member.name);
    }
}

#[test]
#[ignore = "a measurement: cargo test --release -p lb-userspace maglev -- --ignored --nocapture"]
fn time_and_disruption_of_large_tables() {
    for (backends, slots) in [(10, 16_384), (100, 16_384), (100, 65_536), (1_000, 65_536), (4_096, 1 << 20)] {
        let named = named(&(0..backends).map(|i| 50 + i * 7 % 100).collect::<Vec<_>>());
        let all = members(&named);
        let start = std::time::Instant::now();
        let before = table(&all, slots);
        let took = start.elapsed();
        let moved = disrupted(&before, &table(&all[1..], slots), all[0].index);
        let share = 100.0 * f64::from(moved as u32) / f64::from(slots);
        println!(
            "{backends} backends, {slots} slots: {took:?}; a removal moves {share:.2} % of all beside its own"
        );
    }
}
