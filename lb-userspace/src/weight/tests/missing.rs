//! What missing data does.

use super::super::{Freeze, Law, Mode, Sample, Standing};
use super::{Bench, at, close, controller, ms, of};

#[test]
fn fewer_than_five_samples_hold_and_gather() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 40]);
    bench.set(4, 2, 40);
    let held = bench.seconds(2);
    assert_eq!(of(&held, 4).standing, Standing::Held { samples: 4 });
    assert!(close(of(&held, 4).factor, 1.0));
    let stepped = bench.second();
    assert_eq!(of(&stepped, 4).standing, Standing::Steering);
    assert!(of(&stepped, 4).factor < 0.95);
    let held = bench.second();
    assert_eq!(of(&held, 4).standing, Standing::Held { samples: 2 });
    // It takes no step; that the others took one, and the sum stays, shifts it by a part of theirs.
    let part = of(&held, 4).factor / of(&stepped, 4).factor;
    assert!((0.99..=1.0).contains(&part), "{part}");
}

#[test]
fn a_backend_that_went_silent_drifts_back_at_two_percent_a_second() {
    let mut bench = Bench::new(Law { pull: 0.0, ..Law::default() }, &[10, 10, 10, 60]);
    bench.seconds(30);
    bench.set(4, 0, 0);
    let before = of(&bench.seconds(9), 4);
    let others = of(&bench.controller.weights(), 1).factor;
    assert_eq!(before.standing, Standing::Held { samples: 0 });
    let one = bench.second();
    assert_eq!(of(&one, 4).standing, Standing::Drifting);
    let change = (of(&one, 4).factor / of(&one, 1).factor).ln() - (before.factor / others).ln();
    assert!((change - 0.02).abs() < 1e-6, "{change}");
    let weights = bench.seconds(300);
    assert!((of(&weights, 4).factor - 1.0).abs() < 0.01, "and no further: {:?}", of(&weights, 4));
    assert_eq!(of(&weights, 4).smoothed, None, "what it was is forgotten");
}

#[test]
fn half_of_the_backends_without_data_freeze_all() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 60]);
    bench.seconds(30);
    bench.set(1, 0, 0);
    bench.set(2, 0, 0);
    let before = bench.seconds(11);
    assert_eq!(before.mode, Mode::Frozen);
    assert_eq!(of(&before, 4).standing, Standing::Frozen(Freeze::DataMissing));
    let after = bench.seconds(60);
    for (before, after) in before.backends.iter().zip(&after.backends) {
        assert!(close(before.factor, after.factor));
    }
    bench.set(1, 20, 10);
    assert_eq!(bench.second().mode, Mode::Steering);
}

#[test]
fn without_any_data_the_configured_weights_wait() {
    let mut controller = controller(Law::default(), 3);
    for second in 1..60 {
        let weights = controller.step(at(second));
        assert_eq!(weights.mode, Mode::Waiting);
        assert!(weights.backends.iter().all(|backend| close(backend.factor, 1.0)));
        assert_eq!(of(&weights, 1).standing, Standing::Held { samples: 0 });
    }
}

#[test]
fn probes_at_two_a_second_steer_as_fast_as_requests() {
    let run = |per_second: u32, law: Law| {
        let mut bench = Bench::new(law, &[10, 10, 10, 10]);
        for index in 1..=4 {
            bench.set(index, per_second, 10);
        }
        bench.seconds(12);
        bench.set(4, per_second, 1_000);
        of(&bench.seconds(12), 4).factor
    };
    let (requests, probes) = (run(200, Law::default()), run(2, Law::for_probes()));
    assert!(requests < 0.5 && probes < 0.5, "{requests} {probes}");
}

#[test]
fn stray_samples_change_nothing() {
    let mut controller = controller(Law::default(), 2);
    for _ in 0..100 {
        controller.observe(at(0), 77, Sample::error(ms(1)));
        controller.outstanding(at(0), 77, [at(9)]);
    }
    assert_eq!(controller.step(at(1)).mode, Mode::Waiting);
}
