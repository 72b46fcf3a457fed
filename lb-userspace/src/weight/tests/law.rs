//! The constants' rules.

use std::time::Duration;

use super::super::{Controller, Law};
use super::members;

#[test]
fn the_defaults_keep_the_rules() {
    assert_eq!(Law::default().validate(), Ok(()));
    assert_eq!(Law::for_probes().validate(), Ok(()));
    assert_eq!(Law::for_probes().smoothing, Duration::from_secs(5));
}

#[test]
fn a_refusal_names_the_constant_and_its_range() {
    let law = Law { gain: 1.5, ..Law::default() };
    let error = law.validate().expect_err("the gain is too large");
    assert_eq!(error.to_string(), "gain: 1.5 is out of range; write 0 to 1");
}

#[test]
fn durations_are_told_in_seconds() {
    let law = Law { cap: Duration::from_secs(90), ..Law::default() };
    assert_eq!(
        law.validate().expect_err("the cap is too long").to_string(),
        "cap: 90 s is out of range; write 0.001 to 60 s"
    );
}

#[test]
fn all_problems_are_told_together() {
    let law = Law { floor: 0.0, deadband: f64::NAN, step: f64::INFINITY, ..Law::default() };
    let keys: Vec<_> =
        law.validate().expect_err("three are wrong").0.iter().map(|problem| problem.key).collect();
    assert_eq!(keys, ["deadband", "step", "floor"]);
}

#[test]
fn constants_that_contradict_each_other_are_refused() {
    let law = Law { churn: 0.2, ..Law::default() };
    let error = law.validate().expect_err("the hurry is slower than the leisure");
    assert_eq!(error.0[0].key, "churn_urgent");
    let law = Law { period: Duration::from_secs(20), ..Law::default() };
    let error = law.validate().expect_err("data would always be stale");
    assert_eq!(error.0[0].key, "stale_after");
    assert!(error.to_string().contains("raise it"), "{error}");
}

#[test]
fn a_controller_takes_no_law_that_breaks_a_rule() {
    let law = Law { ceiling: 0.5, ..Law::default() };
    assert!(Controller::new(law, Duration::ZERO, members(2)).is_err());
}
