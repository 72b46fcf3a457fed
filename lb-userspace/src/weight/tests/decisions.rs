//! What is told of decisions, and the figures.

use super::super::{Health, Law, Mode, Sample, What};
use super::{Bench, at, ms};

#[test]
fn an_operator_reads_what_happened_and_why() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 30]);
    bench.seconds(10);
    bench.controller.set_health(bench.now, 1, Health::Down);
    bench.second();
    let text = bench.controller.explain(bench.now);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "weights follow the latencies");
    assert!(lines[1].starts_with("mean latency "), "{text}");
    assert!(lines[2].starts_with("web-1: weight 100 -> ") && lines[2].ends_with("; frozen: down"), "{text}");
    assert!(lines[5].starts_with("web-4: weight 100 -> "), "{text}");
    assert!(lines[5].contains(", latency 30.0 ms (2."), "{text}");
    assert!(text.contains("10 s ago: weights follow the latencies"), "{text}");
    assert!(text.contains("web-4: factor 1.000 -> 0.9"), "{text}");
    assert!(text.contains("as it answers in 30.0 ms, 2."), "{text}");
    assert!(text.contains("0 s ago: web-1: factor 1."), "{text}");
}

#[test]
fn decisions_are_few_when_nothing_happens_and_bounded_when_much_does() {
    let mut bench = Bench::new(Law::default(), &[10, 11, 10, 11]);
    bench.seconds(300);
    let all: Vec<_> = bench.controller.decisions().map(|decision| decision.what.clone()).collect();
    assert_eq!(all, [What::Mode(Mode::Steering)]);
    for round in 0..2_000 {
        let health = if round % 2 == 0 { Health::Down } else { Health::Up };
        bench.controller.set_health(bench.now, 1, health);
        bench.second();
    }
    assert_eq!(bench.controller.decisions().count(), 256);
}

#[test]
fn the_mean_backend_latency_counts_backends_and_the_other_counts_requests() {
    let mut bench = Bench::new(Law { gain: 0.0, urgent_gain: 0.0, ..Law::default() }, &[10, 20, 30]);
    let figures = {
        bench.seconds(3);
        bench.controller.figures()
    };
    assert_eq!(figures.mean_backend_latency, Some(ms(20)));
    assert_eq!(figures.mean_request_latency, Some(ms(20)), "the weights are equal");
    let geometric = (10.0_f64 * 20.0 * 30.0).cbrt();
    let reference = figures.reference.expect("there is data").as_secs_f64() * 1e3;
    assert!((reference - geometric).abs() < 1e-6, "{reference}");
}

#[test]
fn capacity_gained_is_what_the_least_factor_would_have_cost() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 30]);
    assert_eq!(bench.controller.figures().capacity, None);
    for _ in 0..60 {
        bench.controller.requests(4_000);
        bench.second();
    }
    let figures = bench.controller.figures();
    let capacity = figures.capacity.expect("the target holds");
    assert!(figures.p99 <= Some(ms(32)), "{figures:?}");
    assert!((capacity.adapted - 4_000.0).abs() < 1.0, "{capacity:?}");
    let least = bench.controller.weights().backends[3].factor;
    assert!((capacity.configured - 4_000.0 * least).abs() < 1.0, "{capacity:?}");
    assert!((capacity.gained() - capacity.adapted * (1.0 - least)).abs() < 1.0);
}

#[test]
fn throughput_beyond_the_target_is_no_capacity() {
    let mut bench = Bench::new(Law::default(), &[10, 10, 10, 10]);
    for _ in 0..60 {
        bench.controller.requests(9_000);
        for _ in 0..4 {
            bench.controller.observe(bench.now, 1, Sample::error(ms(1)));
        }
        bench.second();
    }
    let figures = bench.controller.figures();
    assert!(figures.p99 >= Some(Law::default().cap), "five in a hundred are errors: {figures:?}");
    assert_eq!(figures.capacity, None);
    assert_eq!(bench.now, at(60));
}
