//! Health, slow start and panic.

use super::super::{Freeze, Health, Law, Member, Mode, Standing, WEIGHT_SCALE};
use super::{Bench, at, close, members, of};

const FULL: u32 = 100 * WEIGHT_SCALE;

#[test]
fn what_is_not_up_gets_nothing_and_is_frozen() {
    for (health, freeze) in [
        (Health::Down, Freeze::Down),
        (Health::Draining, Freeze::Draining),
        (Health::Disabled, Freeze::Disabled),
    ] {
        let mut bench = Bench::new(Law::default(), &[10, 10, 10, 40]);
        let before = of(&bench.seconds(20), 4);
        bench.controller.set_health(bench.now, 4, health);
        let after = of(&bench.seconds(60), 4);
        assert_eq!(after.effective, 0);
        assert_eq!(after.standing, Standing::Frozen(freeze));
        assert!(close(after.factor, before.factor), "the integrator does not go on: {before:?} {after:?}");
    }
}

#[test]
fn the_others_keep_the_sum_of_their_own_weights() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 40]);
    bench.seconds(30);
    bench.controller.set_health(bench.now, 4, Health::Down);
    let weights = bench.second();
    assert!(close((1..=3).map(|index| of(&weights, index).factor).sum(), 3.0));
}

#[test]
fn a_backend_that_comes_up_starts_slowly() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 10]);
    bench.controller.set_health(bench.now, 4, Health::Down);
    bench.seconds(10);
    bench.controller.set_health(bench.now, 4, Health::Up);
    let first = of(&bench.second(), 4);
    assert_eq!(first.standing, Standing::Frozen(Freeze::SlowStart));
    assert_eq!(first.effective, FULL / 10);
    assert_eq!(of(&bench.seconds(2), 4).effective, FULL / 10, "a tenth is the least");
    assert_eq!(of(&bench.seconds(12), 4).effective, FULL / 2, "15 of 30 seconds");
    let last = of(&bench.seconds(15), 4);
    assert_eq!((last.effective, last.ramp), (FULL, 1.0));
}

#[test]
fn a_slow_start_is_left_out_of_the_mean() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 10]);
    bench.seconds(10);
    bench.controller.set_health(bench.now, 4, Health::Disabled);
    bench.controller.set_health(bench.now, 4, Health::Up);
    bench.set(4, 20, 200);
    let weights = bench.seconds(29);
    let figures = bench.controller.figures();
    assert!((figures.reference.expect("there is data").as_secs_f64() - 0.010).abs() < 1e-6, "{figures:?}");
    assert!(close(of(&weights, 4).factor, 1.0));
}

#[test]
fn draining_and_back_is_no_start() {
    let mut bench = Bench::new(Law::default(), &[10, 10]);
    bench.controller.set_health(bench.now, 2, Health::Draining);
    bench.controller.set_health(bench.now, 2, Health::Up);
    assert_eq!(of(&bench.second(), 2).effective, FULL);
    bench.controller.set_health(bench.now, 2, Health::Down);
    bench.controller.set_health(bench.now, 2, Health::Draining);
    bench.controller.set_health(bench.now, 2, Health::Up);
    assert_eq!(of(&bench.second(), 2).effective, FULL / 10, "unless it had been down");
}

#[test]
fn a_backend_that_joins_starts_slowly_and_the_others_keep_what_they_learnt() {
    let mut bench = Bench::new(Law::default(), &[10, 40]);
    let before = bench.seconds(30);
    bench.controller.set_members(bench.now, members(3));
    bench.answers.push((20, super::ms(10)));
    let after = bench.controller.step(bench.now);
    assert!(close(of(&after, 2).factor, of(&before, 2).factor));
    assert_eq!(of(&bench.second(), 3).standing, Standing::Frozen(Freeze::SlowStart));
    bench.controller.set_members(bench.now, members(1));
    assert_eq!(bench.second().backends.len(), 1);
}

#[test]
fn panic_ignores_health_and_latency() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 10, 40]);
    let before = bench.seconds(30);
    bench.controller.set_health(bench.now, 4, Health::Draining);
    for index in 1..=2 {
        bench.controller.set_health(bench.now, index, Health::Down);
    }
    assert_eq!(bench.second().mode, Mode::Steering, "two of four are half");
    bench.controller.set_health(bench.now, 3, Health::Down);
    let panic = bench.second();
    assert_eq!(panic.mode, Mode::Panic);
    for index in [1, 2, 3, 5] {
        assert_eq!(of(&panic, index).effective, FULL);
        assert_eq!(of(&panic, index).standing, Standing::Frozen(Freeze::Panic));
    }
    assert_eq!(of(&panic, 4).effective, 0, "what an operator took out stays out");
    let ratio = |weights: &_| of(weights, 5).factor;
    assert!(ratio(&bench.seconds(30)) <= ratio(&before).max(1.0));
    for index in 1..=3 {
        bench.controller.set_health(bench.now, index, Health::Up);
    }
    assert_eq!(bench.second().mode, Mode::Steering);
}

#[test]
fn all_down_is_panic_and_all_disabled_is_not() {
    let mut bench = Bench::new(Law::default(), &[10, 10]);
    for index in 1..=2 {
        bench.controller.set_health(bench.now, index, Health::Down);
    }
    assert_eq!(bench.second().mode, Mode::Panic);
    for index in 1..=2 {
        bench.controller.set_health(bench.now, index, Health::Disabled);
    }
    let weights = bench.second();
    assert_eq!(weights.mode, Mode::Waiting);
    assert!(weights.backends.iter().all(|backend| backend.effective == 0));
}

#[test]
fn panic_counts_only_backends_with_weight() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10]);
    let mut some = members(3);
    for member in some.iter_mut().skip(1) {
        member.weight = 0;
    }
    bench.controller.set_members(at(0), some);
    bench.controller.set_health(at(0), 2, Health::Down);
    bench.controller.set_health(at(0), 3, Health::Down);
    assert_eq!(bench.second().mode, Mode::Steering);
}

#[test]
fn of_two_members_with_one_index_the_first_counts() {
    let twice = [("a", 7), ("b", 9)].map(|(name, weight)| Member { index: 1, name: name.into(), weight });
    let mut controller = super::Controller::new(Law::default(), at(0), twice).expect("the law is valid");
    let weights = controller.step(at(1));
    assert_eq!(weights.backends.len(), 1);
    assert_eq!(of(&weights, 1).effective, 7 * WEIGHT_SCALE);
}
