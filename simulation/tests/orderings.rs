//! What must hold of the law, in a short simulation: computed values of given seeds, the same on every run.
#![expect(
    clippy::expect_used,
    clippy::cast_precision_loss,
    reason = "a test's helpers; counts far below 2^52"
)]

use lb_simulation::{
    balancer::Policy,
    engine, erlang,
    record::Record,
    scenario::{Change, Event, Load, Phase, Scenario, Source},
    scenarios::standard,
    suite::{EQUAL, FIRST, LAW, NAIVE, ORACLE, candidates},
    time::{MILLISECOND, SECOND},
};

/// The standard pool, in a third of the time: a full-speed backend halves at 100 s.
fn short(load: f64) -> Scenario {
    Scenario {
        events: vec![Event { at: 100 * SECOND, backend: 0, change: Change::Speed(0.5) }],
        end: 200 * SECOND,
        phases: vec![
            Phase { name: "steady", from: 40 * SECOND, to: 100 * SECOND },
            Phase { name: "step", from: 100 * SECOND, to: 200 * SECOND },
            Phase { name: "settled", from: 140 * SECOND, to: 200 * SECOND },
        ],
        ..standard(load)
    }
}

fn run(scenario: &Scenario, name: &str) -> Record {
    let candidate = candidates(scenario).into_iter().find(|candidate| candidate.name == name);
    engine::run(scenario, candidate.expect("there is such a policy").policy, 1).expect("the law is valid")
}

fn mean(record: &Record, phase: &str) -> f64 {
    let phase = record.phases.iter().find(|other| other.name == phase);
    phase.expect("there is such a phase").mean()
}

#[test]
fn the_simulation_agrees_with_queueing_theory() {
    for load in [0.55, 0.8] {
        let simulated = mean(&run(&short(load), ORACLE), "steady");
        let theory = erlang::proportional(&standard(load), load);
        assert!((simulated / theory - 1.0).abs() < 0.03, "load {load}: {simulated} against {theory} ms");
    }
}

#[test]
fn the_law_beats_equal_weights_and_is_near_the_oracle() {
    for (load, steady, step) in [(0.55, 1.02, 1.05), (0.8, 1.05, 1.25)] {
        let scenario = short(load);
        let [equal, law, oracle] = [EQUAL, LAW, ORACLE].map(|name| run(&scenario, name));
        for phase in ["steady", "step"] {
            assert!(mean(&law, phase) < 0.85 * mean(&equal, phase), "load {load}, {phase}");
        }
        for (phase, most) in [("steady", steady), ("step", step)] {
            let ratio = mean(&law, phase) / mean(&oracle, phase);
            assert!(ratio < most, "load {load}, {phase}: {ratio} of the oracle");
        }
    }
}

#[test]
fn the_naive_policy_oscillates_and_the_law_does_not() {
    let scenario = short(0.8);
    let variation =
        |name| run(&scenario, name).share_variation(scenario.backends.len(), 50 * SECOND, 100 * SECOND);
    assert!(variation(NAIVE) > 1.0);
    assert!(variation(LAW) < 0.03);
    assert!(mean(&run(&scenario, NAIVE), "steady") > 10.0 * mean(&run(&scenario, LAW), "steady"));
}

#[test]
fn the_halved_backend_loses_its_share_soon() {
    let record = run(&short(0.8), LAW);
    let shifted = record.shifted(0, 100 * SECOND, 200 * SECOND);
    assert!(shifted.is_some_and(|seconds| seconds <= 20.0), "simulated seconds: {shifted:?}");
}

#[test]
fn a_backend_of_fast_errors_stays_at_the_floor() {
    let scenario = Scenario {
        events: vec![Event { at: 60 * SECOND, backend: 0, change: Change::FastErrors(true) }],
        phases: vec![Phase { name: "settled", from: 120 * SECOND, to: 200 * SECOND }],
        ..short(0.7)
    };
    let part = |name| run(&scenario, name).phases.first().expect("one phase").part(0);
    // A tenth of one in sixteen.
    assert!((part(LAW) - 0.1 / 16.0).abs() < 0.000_2, "{}", part(LAW));
    assert!(part(NAIVE) > 0.3, "the naive policy sends it {}", part(NAIVE));
}

#[test]
fn identical_backends_lose_next_to_nothing() {
    let mut scenario = Scenario { events: Vec::new(), ..short(0.8) };
    for machine in &mut scenario.backends {
        machine.speed = 1.0;
    }
    let loss = mean(&run(&scenario, LAW), "steady") / mean(&run(&scenario, EQUAL), "steady") - 1.0;
    assert!(loss < 0.01, "{loss}");
}

#[test]
fn two_probes_a_second_are_enough() {
    let scenario = Scenario { source: Source::Probes(500 * MILLISECOND), ..short(0.8) };
    let ratio = mean(&run(&scenario, LAW), "steady") / mean(&run(&scenario, ORACLE), "steady");
    assert!(ratio < 1.1, "{ratio}");
}

#[test]
fn a_jump_of_the_load_does_not_freeze_bad_weights() {
    let scenario = Scenario {
        load: Load::Ramp(vec![(250 * SECOND, 0.3), (250 * SECOND + 1, 0.9)]),
        events: Vec::new(),
        end: 320 * SECOND,
        phases: vec![Phase { name: "settled", from: 280 * SECOND, to: 320 * SECOND }],
        ..short(0.9)
    };
    let [first, law, oracle] = [FIRST, LAW, ORACLE].map(|name| mean(&run(&scenario, name), "settled"));
    assert!(law < 1.3 * oracle, "{law} against the oracle's {oracle}");
    assert!(
        first > 10.0 * oracle,
        "without pull and urgent gain the weights of the quiet time stay: {first}"
    );
}

#[test]
fn the_churn_cap_holds_and_costs_little() {
    let scenario = Scenario { slots: Some(16_384), ..short(0.8) };
    let record = run(&scenario, LAW);
    // A full bucket and ten percent of the slots a minute, at the very most.
    let most = 16_384.0 * 0.1 * (1.0 + 200.0 / 60.0);
    assert!(record.moved > 0 && (record.moved as f64) < most, "{}", record.moved);
    let ratio = mean(&record, "settled") / mean(&run(&short(0.8), LAW), "settled");
    assert!(ratio < 1.1, "{ratio}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let scenario = Scenario { end: 60 * SECOND, ..short(0.8) };
    let law = candidates(&scenario)[3].policy;
    let run = |policy: Policy, seed| {
        let record = engine::run(&scenario, policy, seed).expect("the law is valid");
        let seconds = record.seconds.iter().map(|second| (second.sum.to_bits(), second.number));
        let shares: Vec<_> = record.seconds.iter().flat_map(|second| &second.shares).copied().collect();
        (seconds.collect::<Vec<_>>(), shares)
    };
    assert_eq!(run(law, 7), run(law, 7));
    assert_ne!(run(law, 7), run(law, 8));
}
