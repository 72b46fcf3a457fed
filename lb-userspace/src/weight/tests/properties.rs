//! What holds whatever comes in.

use std::time::Duration;

use proptest::prelude::*;

use super::super::{Controller, Freeze, Health, Law, Member, Mode, Sample, Standing, WEIGHT_SCALE, Weights};

/// Something that happens to a controller.
#[derive(Clone, Debug)]
enum Input {
    Answers { index: u16, count: u8, latency: Duration, error: bool },
    Outstanding { index: u16, ages: Vec<Duration> },
    Health { index: u16, health: Health },
    Members(Vec<(u16, u32)>),
    InForce(Vec<(u16, u32)>),
    Step { wait: Duration },
    Back { to: Duration },
}

/// From nothing over the usual to what no clock ever shows.
fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        4 => (0_u64..400_000).prop_map(Duration::from_micros),
        1 => (0_u64..100).prop_map(Duration::from_secs),
        1 => Just(Duration::ZERO),
        1 => Just(Duration::MAX),
    ]
}

fn healths() -> impl Strategy<Value = Health> {
    prop_oneof![
        3 => Just(Health::Up),
        1 => Just(Health::Down),
        1 => Just(Health::Draining),
        1 => Just(Health::Disabled),
    ]
}

fn weights() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 1_u32..=10_000, 1 => Just(0), 1 => Just(u32::MAX)]
}

fn inputs() -> impl Strategy<Value = Input> {
    let index = || 0_u16..8;
    prop_oneof![
        8 => (index(), any::<u8>(), durations(), any::<bool>())
            .prop_map(|(index, count, latency, error)| Input::Answers { index, count, latency, error }),
        2 => (index(), proptest::collection::vec(durations(), 0..5))
            .prop_map(|(index, ages)| Input::Outstanding { index, ages }),
        1 => (index(), healths()).prop_map(|(index, health)| Input::Health { index, health }),
        1 => proptest::collection::vec((index(), weights()), 0..8).prop_map(Input::Members),
        1 => proptest::collection::vec((index(), any::<u32>()), 0..8).prop_map(Input::InForce),
        8 => durations().prop_map(|wait| Input::Step { wait }),
        1 => durations().prop_map(|to| Input::Back { to }),
    ]
}

fn named(members: &[(u16, u32)]) -> impl Iterator<Item = Member> {
    members.iter().map(|&(index, weight)| Member { index, name: format!("b{index}"), weight })
}

/// Feeds it all, and gives what each step gave.
fn play(law: Law, inputs: &[Input]) -> (Controller, Vec<Weights>) {
    let start: Vec<_> = (0..8).map(|index| (index, 100)).collect();
    let mut controller = Controller::new(law, Duration::ZERO, named(&start)).expect("the law is valid");
    let (mut now, mut steps) = (Duration::ZERO, Vec::new());
    for input in inputs {
        match input {
            Input::Answers { index, count, latency, error } => {
                let sample = if *error { Sample::error(*latency) } else { Sample::success(*latency) };
                for _ in 0..*count {
                    controller.observe(now, *index, sample);
                }
                controller.requests(u64::MAX / 2);
            }
            Input::Outstanding { index, ages } => controller.outstanding(now, *index, ages.clone()),
            Input::Health { index, health } => controller.set_health(now, *index, *health),
            Input::Members(members) => controller.set_members(now, named(members)),
            Input::InForce(slots) => controller.in_force(slots.clone()),
            Input::Step { wait } => {
                now = now.saturating_add(*wait);
                steps.push(controller.step(now));
            }
            Input::Back { to } => now = (*to).min(now),
        }
    }
    (controller, steps)
}

/// To the last digit.
fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits()
}

fn governed(standing: Standing) -> bool {
    !matches!(
        standing,
        Standing::Frozen(
            Freeze::Down | Freeze::Draining | Freeze::Disabled | Freeze::WeightZero | Freeze::SlowStart
        )
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Bounds, finiteness, and effective weights that agree with the factors, for hostile inputs.
    #[test]
    fn bounds_are_always_kept(inputs in proptest::collection::vec(inputs(), 1..120)) {
        let law = Law::default();
        let (controller, steps) = play(law, &inputs);
        for weights in &steps {
            for backend in &weights.backends {
                prop_assert!(backend.factor >= law.floor * (1.0 - 1e-9), "{backend:?}");
                prop_assert!(backend.factor <= law.ceiling * (1.0 + 1e-9), "{backend:?}");
                prop_assert!((law.slow_start_floor..=1.0).contains(&backend.ramp), "{backend:?}");
                prop_assert!(backend.smoothed.is_none_or(|latency| latency <= law.cap));
                prop_assert!(backend.mean.is_none_or(|latency| latency <= law.cap));
            }
        }
        let figures = controller.figures();
        prop_assert!(figures.gain.is_finite() && figures.gain >= 0.0);
        prop_assert!(!controller.explain(Duration::MAX).contains("NaN"));
    }

    /// The sum over those that the law holds for is that of their configured weights.
    #[test]
    fn the_sum_is_preserved(inputs in proptest::collection::vec(inputs(), 1..120)) {
        // No change of members, so that the weights are known to be equal.
        let inputs: Vec<_> =
            inputs.into_iter().filter(|input| !matches!(input, Input::Members(_))).collect();
        for weights in play(Law::default(), &inputs).1 {
            let mine: Vec<_> =
                weights.backends.iter().filter(|backend| governed(backend.standing)).collect();
            if weights.mode != Mode::Panic && !mine.is_empty() {
                let count = f64::from(mine.len() as u32);
                let sum: f64 = mine.iter().map(|backend| backend.factor).sum();
                prop_assert!((sum - count).abs() < 1e-6, "{sum} of {}", mine.len());
                let effective: f64 = mine.iter().map(|backend| f64::from(backend.effective)).sum();
                let exact = 100.0 * f64::from(WEIGHT_SCALE) * count;
                prop_assert!((effective - exact).abs() <= count);
            }
        }
    }

    /// The same inputs give the same weights, decisions and words.
    #[test]
    fn it_is_deterministic(inputs in proptest::collection::vec(inputs(), 1..80)) {
        let (one, first) = play(Law::default(), &inputs);
        let (two, second) = play(Law::default(), &inputs);
        prop_assert_eq!(first, second);
        prop_assert_eq!(one.explain(Duration::MAX), two.explain(Duration::MAX));
    }

    /// What is frozen keeps its factor from one step to the next; in panic everything does.
    #[test]
    fn frozen_states_do_not_integrate(inputs in proptest::collection::vec(inputs(), 1..120)) {
        let inputs: Vec<_> =
            inputs.into_iter().filter(|input| !matches!(input, Input::Members(_))).collect();
        let (_, steps) = play(Law::default(), &inputs);
        for pair in steps.windows(2) {
            for (before, after) in pair[0].backends.iter().zip(&pair[1].backends) {
                let frozen = matches!(after.standing, Standing::Frozen(freeze) if freeze != Freeze::DataMissing);
                if frozen {
                    prop_assert!(same(before.factor, after.factor), "{before:?} {after:?}");
                }
            }
        }
    }

    /// No weight moves while all latencies are within the deadband of each other.
    #[test]
    fn the_deadband_holds_for_any_latency(
        base in 1_u64..200_000,
        parts in proptest::collection::vec(0.0_f64..0.19, 2..10),
        steps in 1_u64..50,
    ) {
        let members: Vec<_> = (0..parts.len() as u16).map(|index| (index, 100)).collect();
        let mut controller =
            Controller::new(Law::default(), Duration::ZERO, named(&members)).expect("the law is valid");
        for step in 1..=steps {
            let now = Duration::from_secs(step);
            for (index, part) in (0..).zip(&parts) {
                let latency = Duration::from_micros(base).mul_f64(part.exp());
                for _ in 0..6 {
                    controller.observe(now, index, Sample::success(latency));
                }
            }
            let weights = controller.step(now);
            prop_assert!(weights.backends.iter().all(|backend| same(backend.factor, 1.0)), "{weights:?}");
        }
    }

    /// However unequal the latencies, a slower backend never ends with more weight than a faster one.
    #[test]
    fn order_follows_latency(latencies in proptest::collection::vec(1_u64..2_000, 2..8), steps in 1_u64..80) {
        let members: Vec<_> = (0..latencies.len() as u16).map(|index| (index, 100)).collect();
        let mut controller =
            Controller::new(Law::default(), Duration::ZERO, named(&members)).expect("the law is valid");
        let mut weights = controller.weights();
        for step in 1..=steps {
            let now = Duration::from_secs(step);
            for (index, &latency) in (0..).zip(&latencies) {
                for _ in 0..6 {
                    controller.observe(now, index, Sample::success(Duration::from_millis(latency)));
                }
            }
            weights = controller.step(now);
        }
        for (fast, &quick) in weights.backends.iter().zip(&latencies) {
            for (slow, &long) in weights.backends.iter().zip(&latencies) {
                prop_assert!(quick > long || fast.factor >= slow.factor - 1e-9);
            }
        }
    }
}
