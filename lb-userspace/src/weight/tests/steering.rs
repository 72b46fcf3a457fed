//! How latency moves weights.

use super::super::{Clamp, Law, Mode, Sample, Standing, WEIGHT_SCALE};
use super::{Bench, at, close, controller, factors, members, ms, of, standings};

#[test]
fn symmetric_backends_stay_as_they_are() {
    let mut bench = Bench::new(Law::default(), &[12, 12, 12, 12]);
    let weights = bench.seconds(120);
    assert_eq!(factors(&weights), [1.0; 4]);
    assert_eq!(standings(&weights), [Standing::Level; 4]);
    assert!(weights.backends.iter().all(|backend| backend.effective == 100 * WEIGHT_SCALE));
    assert_eq!(weights.mode, Mode::Steering);
}

#[test]
fn the_deadband_holds() {
    // 13 ms is 1.08 of 12 ms: ln 0.08, with the mean in between.
    let mut bench = Bench::new(Law::default(), &[12, 13, 12, 13]);
    assert_eq!(factors(&bench.seconds(300)), [1.0; 4]);
}

#[test]
fn a_slow_backend_gives_weight_to_the_others() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 30]);
    let weights = bench.seconds(10);
    let slow = of(&weights, 4);
    assert!(slow.factor < 0.9, "{slow:?}");
    assert_eq!(slow.standing, Standing::Steering);
    let others = (1..=3).map(|index| of(&weights, index).factor);
    assert!(others.clone().all(|factor| factor > 1.0));
    assert!(close(slow.factor + others.sum::<f64>(), 4.0), "the sum stays");
    assert_eq!(slow.smoothed, Some(ms(30)));
    assert!(bench.seconds(10).backends[3].factor < slow.factor, "and goes on");
}

#[test]
fn the_first_step_is_that_of_the_law() {
    let law = Law { pull: 0.0, urgent_gain: 0.0, ..Law::default() };
    let mut bench = Bench::new(law, &[10, 20]);
    let weights = bench.second();
    // The mean is the geometric one of 10 and 20 ms; its distance to each is ln(2) / 2, of which 0.2 is deadband.
    let change = 0.05 * (std::f64::consts::LN_2 / 2.0 - 0.2);
    let ratio = of(&weights, 2).factor / of(&weights, 1).factor;
    assert!(close(ratio.ln(), -2.0 * change), "{ratio}");
}

#[test]
fn no_step_is_longer_than_the_clamp() {
    let law = Law { gain: 1.0, gain_exponent: 0.0, ..Law::default() };
    let mut bench = Bench::new(law, &[10, 10, 10, 10, 10, 10, 10, 200]);
    let weights = bench.second();
    assert_eq!(of(&weights, 8).standing, Standing::Clamped(Clamp::Step));
    let ratio = of(&weights, 8).factor / of(&weights, 1).factor;
    // The others are at the clamp in the other direction.
    assert!(close(ratio.ln(), -0.2), "{ratio}");
}

#[test]
fn a_hopeless_backend_keeps_the_floor_and_comes_back() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 10]);
    bench.seconds(5);
    bench.set(4, 20, 2_000);
    let weights = bench.seconds(120);
    assert!(close(of(&weights, 4).factor, 0.1), "{:?}", of(&weights, 4));
    assert_eq!(of(&weights, 4).standing, Standing::Clamped(Clamp::Floor));
    assert_eq!(of(&weights, 4).effective, 10 * WEIGHT_SCALE);
    bench.set(4, 20, 10);
    let weights = bench.seconds(600);
    assert!(of(&weights, 4).factor > 0.98, "drawn back to what is configured: {:?}", of(&weights, 4));
}

#[test]
fn errors_count_as_the_cap_however_fast_they_come() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10]);
    bench.seconds(5);
    bench.set(3, 0, 0);
    for _ in 0..60 {
        for _ in 0..200 {
            bench.controller.observe(bench.now, 3, Sample::error(ms(1)));
        }
        bench.second();
    }
    let weights = bench.controller.weights();
    assert!(close(of(&weights, 3).factor, 0.1));
    assert_eq!(of(&weights, 3).mean, Some(ms(250)));
    assert!(of(&weights, 3).urgent);
    assert!(!of(&weights, 1).urgent);
}

#[test]
fn a_request_that_hangs_counts_before_it_ends_and_only_once() {
    let mut controller = controller(Law { min_samples: 1, ..Law::default() }, 2);
    for index in [1, 2] {
        controller.observe(at(0), index, Sample::success(ms(10)));
    }
    // Sent at 0.5 s, and seen every second; the younger one is below the cap.
    controller.outstanding(at(1), 2, [ms(500), ms(100)]);
    let weights = controller.step(at(1));
    assert_eq!(of(&weights, 2).mean, Some(ms(130)), "one of 10 ms, one of 250 ms");
    controller.outstanding(at(2), 2, [ms(1_500)]);
    controller.observe(at(2), 2, Sample::success(ms(10)));
    let weights = controller.step(at(2));
    assert_eq!(of(&weights, 2).mean, Some(ms(10)), "counted when it passed the cap, not again");
    controller.observe(at(3), 2, Sample::success(ms(2_400)));
    controller.observe(at(3), 2, Sample::success(ms(20)));
    let weights = controller.step(at(3));
    assert_eq!(of(&weights, 2).mean, Some(ms(20)), "nor when it ends");
}

#[test]
fn weights_hold_when_all_backends_are_slow_alike() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 10]);
    bench.seconds(20);
    let full = bench.controller.figures().gain;
    for index in 1..=4 {
        bench.set(index, 20, 200);
    }
    bench.set(4, 20, 240);
    let weights = bench.seconds(60);
    assert!(close(full, 0.05), "{full}");
    assert!(bench.controller.figures().gain < 0.001, "a twentieth of the baseline to the power 1.5");
    assert!(factors(&weights).iter().all(|factor| (factor - 1.0).abs() < 0.01), "{weights:?}");
}

#[test]
fn the_one_that_is_not_overloaded_gets_load_soon() {
    // The gain is next to nothing, but for what is urgent.
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 10]);
    bench.seconds(20);
    for index in 1..=3 {
        bench.set(index, 20, 250);
    }
    let weights = bench.seconds(20);
    assert!(of(&weights, 4).urgent);
    assert!(of(&weights, 4).factor > 1.5, "{:?}", of(&weights, 4));
}

#[test]
fn a_spike_that_has_passed_moves_nothing_more() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 10]);
    bench.seconds(20);
    bench.set(1, 20, 80);
    let spike = of(&bench.second(), 1).factor;
    assert!(spike < 1.0);
    bench.set(1, 20, 10);
    let after = bench.second();
    assert!(of(&after, 1).smoothed > Some(ms(20)), "the average still says slow");
    assert!(of(&after, 1).factor >= spike, "the last window does not");
}

#[test]
fn configured_weights_are_kept_in_proportion() {
    let mut unequal = members(3);
    unequal[0].weight = 10_000;
    unequal[1].weight = 1;
    unequal[2].weight = 0;
    let mut bench = Bench::new(Law::default(), &[10, 10, 10]);
    bench.controller.set_members(at(0), unequal);
    let weights = bench.seconds(40);
    assert_eq!(of(&weights, 1).effective, 10_000 * WEIGHT_SCALE);
    assert_eq!(of(&weights, 2).effective, WEIGHT_SCALE);
    assert_eq!(of(&weights, 3).effective, 0);
}

#[test]
fn a_weight_does_not_run_ahead_of_its_slots() {
    let mut free = Bench::new(Law::default(), &[10, 10, 10, 10]);
    let mut held = Bench::new(Law::default(), &[10, 10, 10, 10]);
    for bench in [&mut free, &mut held] {
        bench.seconds(5);
        bench.set(4, 20, 1_000);
    }
    let free = free.seconds(30);
    let mut weights = held.controller.weights();
    for _ in 0..30 {
        held.controller.in_force([(1, 25), (2, 25), (3, 25), (4, 25)]);
        weights = held.second();
    }
    assert!(of(&free, 4).factor < 0.12);
    assert!(of(&weights, 4).factor > 0.7, "{:?}", of(&weights, 4));
    assert_eq!(of(&weights, 4).standing, Standing::Clamped(Clamp::Slots));
}

#[test]
fn a_new_controller_takes_up_what_an_old_one_had_learnt() {
    let mut old = Bench::new(Law::default(), &[10, 10, 30]);
    let learnt = old.seconds(30);
    let baseline = old.controller.figures().baseline;
    let mut new = controller(Law::default(), 3);
    new.restore(baseline, learnt.backends.iter().map(|backend| (backend.index, backend.factor)));
    new.restore(baseline, [(1, f64::NAN), (2, -1.0), (9, 2.0)]);
    let weights = new.step(at(1));
    for (new, old) in weights.backends.iter().zip(&learnt.backends) {
        assert!((new.factor - old.factor).abs() < 1e-6, "{new:?} {old:?}");
    }
    assert_eq!(new.figures().baseline, baseline);
}
