//! Two thousand connections under everything that may not break them.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and tells how it went; clippy only knows functions marked as tests"
)]

use std::time::Duration;

use lb_tests::{
    crowd::Habit,
    soak::{self, Report},
};

fn run(steers: bool) -> Report {
    let habit = Habit { connections: 2000, pause: Duration::from_millis(500), messages: 20 };
    let report = soak::run(1.0, habit, steers, |what, seen, messages| {
        println!("{what}; {messages} messages, open {:?}, broken {:?}", seen.open, seen.broken);
    });
    let report = report.unwrap();
    println!("{report:#?}");
    report.check().unwrap();
    for kind in [
        "weights changed",
        "backends added",
        "backends drained",
        "backends killed",
        "daemons killed",
        "programs swapped",
    ] {
        assert!(report.happened.contains_key(kind), "{kind}: {:?}", report.happened);
    }
    assert!(!report.drained.is_empty() && report.messages > 20_000, "{} messages", report.messages);
    // Connections that lived through a change were looked up, so the run was not spared the question.
    assert!(report.packets.1 > 0, "{:?}", report.packets);
    report
}

#[test]
fn two_thousand_connections_outlive_changes_drains_deaths_and_restarts() {
    let report = run(false);
    assert_eq!(report.steered, 0);
}

#[test]
fn and_weights_that_follow_latency_beside() {
    let report = run(true);
    assert!(report.steered > 100, "{} slots", report.steered);
}
