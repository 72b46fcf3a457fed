//! The churn cap and the renormalisation by themselves.

use proptest::prelude::*;

use super::super::{
    Cause, ChurnCap, Law,
    normalise::{Part, renormalise},
};
use super::{at, close};

#[test]
fn the_cap_gives_a_minutes_allowance_and_fills_again() {
    let mut cap = ChurnCap::new(&Law::default(), 10_000, at(0));
    assert_eq!(cap.take(at(0), 150, Cause::Latency), 150);
    assert_eq!(cap.take(at(0), 150, Cause::Latency), 50, "2 % of 10,000");
    assert_eq!(cap.take(at(30), 150, Cause::Latency), 100);
    assert_eq!(cap.take(at(3_600), 9_999, Cause::Latency), 200, "no more than a minute's");
}

#[test]
fn urgent_moves_have_more_and_leisure_counts_against_them() {
    let mut cap = ChurnCap::new(&Law::default(), 10_000, at(0));
    assert_eq!(cap.take(at(0), 9_999, Cause::Latency), 200);
    assert_eq!(cap.take(at(0), 9_999, Cause::UrgentLatency), 800);
    assert_eq!(cap.take(at(0), 9_999, Cause::UrgentLatency), 0);
    assert_eq!(cap.take(at(6), 9_999, Cause::UrgentLatency), 100);
    assert_eq!(cap.take(at(7), 9_999, Cause::Latency), 16, "what is in both");
}

#[test]
fn failures_and_operators_are_exempt_and_cost_nothing() {
    let mut cap = ChurnCap::new(&Law::default(), 10_000, at(0));
    assert_eq!(cap.take(at(0), 10_000, Cause::Exempt), 10_000);
    assert_eq!(cap.take(at(0), 9_999, Cause::Latency), 200);
}

#[test]
fn time_that_goes_back_fills_nothing() {
    let mut cap = ChurnCap::new(&Law::default(), 10_000, at(100));
    assert_eq!(cap.take(at(100), 200, Cause::Latency), 200);
    assert_eq!(cap.take(at(0), 200, Cause::Latency), 0);
    assert_eq!(cap.take(at(100), 200, Cause::Latency), 0);
}

proptest! {
    /// Over any time a cap gives no more than a full bucket and what flows in.
    #[test]
    fn no_stretch_sees_more_than_the_bucket_and_the_flow(
        asks in proptest::collection::vec((0_u64..20, 0_u32..2_000, any::<bool>()), 1..60),
        slots in 64_u32..1_000_000,
    ) {
        let law = Law::default();
        let mut cap = ChurnCap::new(&law, slots, at(0));
        let (mut now, mut ordinary, mut all) = (at(0), 0.0, 0.0);
        for (wait, wanted, urgent) in asks {
            now += at(wait);
            let cause = if urgent { Cause::UrgentLatency } else { Cause::Latency };
            let granted = cap.take(now, wanted, cause);
            prop_assert!(granted <= wanted);
            all += f64::from(granted);
            ordinary += if urgent { 0.0 } else { f64::from(granted) };
            let most = |part: f64| f64::from(slots) * part * (1.0 + now.as_secs_f64() / 60.0) + 1e-6;
            prop_assert!(ordinary <= most(law.churn));
            prop_assert!(all <= most(law.churn_urgent));
        }
    }

    /// The sum is what is asked for, every factor within its bounds, and the order stays.
    #[test]
    fn renormalising_keeps_sum_bounds_and_order(
        pairs in proptest::collection::vec((1_u32..=10_000, 0.1_f64..=4.0), 1..40),
    ) {
        let mut parts: Vec<_> = pairs
            .iter()
            .map(|&(weight, factor)| Part { weight: f64::from(weight), factor })
            .collect();
        let total: f64 = parts.iter().map(|part| part.weight).sum();
        renormalise(&mut parts, total, 0.1, 4.0);
        let sum: f64 = parts.iter().map(|part| part.weight * part.factor).sum();
        prop_assert!((sum - total).abs() <= total * 1e-9, "{sum} {total}");
        for (part, &(_, before)) in parts.iter().zip(&pairs) {
            prop_assert!((0.1..=4.0).contains(&part.factor));
            for (other, &(_, other_before)) in parts.iter().zip(&pairs) {
                prop_assert!(before > other_before || part.factor <= other.factor);
            }
        }
    }
}

#[test]
fn what_cannot_be_reached_ends_at_the_nearest_bound() {
    let mut parts = [Part { weight: 1.0, factor: 0.5 }, Part { weight: 3.0, factor: 2.0 }];
    renormalise(&mut parts, 100.0, 0.1, 4.0);
    assert!(parts.iter().all(|part| close(part.factor, 4.0)));
    renormalise(&mut parts, 0.0, 0.1, 4.0);
    assert!(parts.iter().all(|part| close(part.factor, 0.1)));
    renormalise(&mut [], 1.0, 0.1, 4.0);
}
