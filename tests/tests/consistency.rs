//! Two thousand connections under everything that may not break them.

use std::time::Duration;

use lb_tests::{crowd::Habit, soak};

#[test]
fn two_thousand_connections_outlive_changes_drains_deaths_and_restarts() {
    let habit = Habit { connections: 2000, pause: Duration::from_millis(500), messages: 20 };
    let report = soak::run(1.0, habit, |what, seen, messages| {
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
}
