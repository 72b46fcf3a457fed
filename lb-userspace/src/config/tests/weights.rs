use super::{accepted, check, with};
use crate::{
    config::{LatencySource, Weights},
    weight::Law,
};
use std::time::Duration;

/// Line 9 is the type of check, line 11 the mode.
fn latency(keys: &str) -> String {
    with(9, "type = \"http\"").replace("mode = \"static\"", &format!("mode = \"latency\"\n{keys}"))
}

fn law(text: &str) -> Law {
    *accepted(text).services[0].weights.law().expect("weights from latency")
}

#[test]
fn every_constant_has_its_default_and_can_be_written() {
    assert_eq!(accepted(&with(9, "type = \"http\"")).services[0].weights, Weights::Static);
    assert_eq!(law(&latency("")), Law::for_probes());
    let all = "period = \"2s\"\ncap = \"400ms\"\nsmoothing = \"0s\"\ndeadband = 0.1\ngain = 0.1\ngain_exponent = 1\n\
               urgent_gain = 0\nurgent_ratio = 2.5\npull = 0.3\nconfirm = false\nstep = 0.2\nfloor = 0.2\nceiling = 3\n\
               baseline_creep = 0.0001\nmin_samples = 3\nstale_after = \"20s\"\ndrift = 0.01\nslow_start_floor = 0.2\n\
               churn = 0.05\nchurn_urgent = 0.2\np99_target = \"50ms\"";
    let written = law(&latency(all));
    let expected = Law {
        period: Duration::from_secs(2),
        cap: Duration::from_millis(400),
        smoothing: Duration::ZERO,
        deadband: 0.1,
        gain: 0.1,
        gain_exponent: 1.0,
        urgent_gain: 0.0,
        urgent_ratio: 2.5,
        pull: 0.3,
        confirm: false,
        step: 0.2,
        floor: 0.2,
        ceiling: 3.0,
        baseline_creep: 0.0001,
        min_samples: 3,
        stale_after: Duration::from_secs(20),
        drift: 0.01,
        slow_start_floor: 0.2,
        churn: 0.05,
        churn_urgent: 0.2,
        p99_target: Duration::from_millis(50),
        ..Law::for_probes()
    };
    assert_eq!(written, expected);
    // The service's own keys hold for the law too.
    let text = latency("").replace("slots = 64", "slots = 64\npanic_threshold = 20\nslow_start = \"5s\"");
    let law = law(&text);
    assert_eq!((law.panic_threshold, law.slow_start), (0.2, Duration::from_secs(5)));
}

#[test]
fn checks_come_twice_a_second() {
    let of = |keys: &str| latency("").replace("type = \"http\"", &format!("type = \"http\"\n{keys}"));
    let interval = |text: &str| accepted(text).services[0].health.as_ref().unwrap().interval;
    assert_eq!(interval(&of("")), Duration::from_millis(500), "unless told otherwise");
    assert_eq!(interval(&of("interval = \"100ms\"")), Duration::from_millis(100));
    check(&[(
        of("interval = \"1s\""),
        r#"10:12: interval "1s" is too long for weights mode "latency", which needs two checks a second; use at most "500ms""#,
    )]);
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let algorithm =
        |word: &str| latency("").replace("algorithm = \"hash\"", &format!("algorithm = \"{word}\""));
    check(&[
        (latency("gains = 1.0"), r#"12:1: unknown key "gains"; did you mean "gain"?"#),
        (latency("gain = 7"), "12:8: gain: 7 is out of range; write 0 to 1"),
        (latency("gain = \"7\""), "12:8: a string cannot stand here; write a number, without quotes"),
        (latency("cap = \"2m\""), "12:7: cap: 120 s is out of range; write 0.001 to 60 s"),
        (
            latency("cap = \"soon\""),
            "12:7: cap \"soon\" is not a time span; write a whole number and ms, s, m or h, like \"0ms\"",
        ),
        (latency("min_samples = -1"), "12:15: min_samples: 0 is out of range; write 1 to 10000"),
        (
            latency("churn = 0.5"),
            "10:1: churn_urgent: 0.1 is less than churn (0.5), which it should exceed; raise it or lower churn",
        ),
        (
            with(11, "mode = \"static\"\ngain = 0.1"),
            r#"12:8: gain has no effect with weights mode "static"; remove it"#,
        ),
        (
            algorithm("maglev"),
            r#"11:8: weights mode "latency" does not go with this algorithm: "maglev" keeps the tables of several balancers equal, and each measures for itself; use algorithm "hash" or "round-robin", or mode "static""#,
        ),
        (
            algorithm("least-connections"),
            r#"11:8: weights mode "latency" does not go with this algorithm: "least-connections" follows the load already; use algorithm "hash" or "round-robin", or mode "static""#,
        ),
    ]);
    assert!(law(&algorithm("round-robin")).period > Duration::ZERO);
}

/// A nat service without checks.
fn nat(keys: &str) -> String {
    with(11, &format!("mode = \"latency\"\n{keys}"))
        .lines()
        .map(|line| if line.starts_with("forwarding") { "forwarding = \"nat\"" } else { line })
        .flat_map(|line| [line, "\n"])
        .collect()
}

#[test]
fn nat_takes_its_clients_requests_unless_told_otherwise() {
    let source = |text: &str| accepted(text).services[0].weights.source();
    assert_eq!(source(&nat("")), Some(LatencySource::Passive { one_of: 32 }));
    assert_eq!(source(&nat("sample = 1")), Some(LatencySource::Passive { one_of: 1 }));
    assert_eq!(law(&nat("source = \"passive\"")), Law::default());
    assert_eq!(source(&latency("")), Some(LatencySource::Probes));
    // Checks that nobody measures by may be as rare as they like.
    let rare = nat("").replace("type = \"none\"", "type = \"http\"\ninterval = \"30s\"");
    assert_eq!(source(&rare), Some(LatencySource::Passive { one_of: 32 }));
    check(&[
        (
            latency("source = \"passive\""),
            r#"12:10: weights source "passive" needs answers that pass the balancer, and with forwarding "l2-dsr" they do not; use "nat", or source "probes""#,
        ),
        (latency("sample = 2"), r#"12:10: sample has no effect with weights source "probes"; remove it"#),
        (
            nat("sample = 3"),
            "12:10: sample 3 is no power of two from 1 to 65536; of one flow in so many the latency is taken",
        ),
        (
            nat("source = \"probes\""),
            r#"11:8: weights mode "latency" takes latencies from health checks, and there are none; add [service.health]"#,
        ),
    ]);
}
