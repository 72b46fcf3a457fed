//! Tables of all runs, as they stand in docs/latency-control.md.

use comfy_table::{CellAlignment, Table, presets};

use crate::{
    balancer::Policy,
    capacity::Capacity,
    erlang,
    record::PhaseRecord,
    scenario::{Load, Scenario},
    scenarios::{STEADY, STEP},
    suite::{Compared, EQUAL, FIRST, LAW, NAIVE, ORACLE},
};

/// The standard pool at several loads.
#[must_use]
pub fn standard(all: &[Compared]) -> Table {
    let mut table = empty(&[
        "load",
        "equal d / p99",
        "naive 1/L",
        "first law",
        "law",
        "oracle",
        "best fixed",
        "in the step: equal",
        "first law",
        "law",
        "oracle",
    ]);
    for compared in all.iter().filter(|compared| is_standard(&compared.scenario)) {
        let Load::Constant(load) = compared.scenario.load else { continue };
        let steady = |policy| cell(compared, policy, STEADY, with_p99);
        let step = |policy| cell(compared, policy, STEP, mean);
        table.add_row(vec![
            load.to_string(),
            steady(EQUAL),
            cell(compared, NAIVE, STEADY, mean),
            steady(FIRST),
            steady(LAW),
            steady(ORACLE),
            number(erlang::best(&compared.scenario, load)),
            step(EQUAL),
            step(FIRST),
            step(LAW),
            step(ORACLE),
        ]);
    }
    table
}

fn is_standard(scenario: &Scenario) -> bool {
    scenario.name.starts_with("load-")
}

/// The other scenarios.
#[must_use]
pub fn others(all: &[Compared]) -> Table {
    let mut table = empty(&[
        "scenario",
        "equal",
        "naive 1/L",
        "first law",
        "law",
        "oracle",
        "then: equal",
        "naive 1/L",
        "first law",
        "law",
        "oracle",
    ]);
    for compared in all.iter().filter(|compared| !is_standard(&compared.scenario)) {
        let mut row = vec![compared.scenario.title.clone()];
        for phase in [STEADY, STEP] {
            row.extend(
                [EQUAL, NAIVE, FIRST, LAW, ORACLE].map(|policy| cell(compared, policy, phase, with_errors)),
            );
        }
        table.add_row(row);
    }
    table
}

/// How fast and how calmly shares move.
#[must_use]
pub fn shares(all: &[Compared]) -> Table {
    let mut table = empty(&[
        "scenario",
        "variation: first law",
        "law",
        "90 % shifted after: first law",
        "law",
        "slots moved a minute: first law",
        "law",
    ]);
    for compared in all {
        let (Some(first), Some(law)) = (compared.outcome(FIRST), compared.outcome(LAW)) else { continue };
        let shifted = |seconds: Option<f64>| match (compared.scenario.watched, seconds) {
            (None, _) => "-".into(),
            (_, Some(seconds)) => format!("{seconds:.0} s"),
            (_, None) => "never".into(),
        };
        let moved = |part: f64| match compared.scenario.slots {
            Some(_) => format!("{:.1} %", part * 100.0),
            None => "-".into(),
        };
        table.add_row(vec![
            compared.scenario.title.clone(),
            format!("{:.3}", first.share_variation),
            format!("{:.3}", law.share_variation),
            shifted(first.shifted),
            shifted(law.shifted),
            moved(first.moved),
            moved(law.moved),
        ]);
    }
    table
}

/// What each part of the law is worth.
#[must_use]
pub fn variants(all: &[Compared]) -> Table {
    let names: Vec<_> = all.iter().take(1).flat_map(|c| &c.outcomes).map(|outcome| outcome.name).collect();
    let mut header = vec!["scenario"];
    header.extend(&names);
    let mut table = empty(&header);
    for compared in all {
        for (phase, when) in [(STEADY, ""), (STEP, ", then")] {
            let mut row = vec![format!("{}{when}", compared.scenario.title)];
            row.extend(names.iter().map(|name| cell(compared, name, phase, with_errors)));
            table.add_row(row);
        }
    }
    table
}

/// What is carried within the target.
#[must_use]
pub fn capacity(found: &[(Policy, Capacity)]) -> Table {
    let mut table =
        empty(&["policy", "requests a second", "load", "over equal weights", "the controller says"]);
    let least = found.first().map_or(f64::NAN, |(_, capacity)| capacity.throughput);
    for (policy, capacity) in found {
        let told = capacity.told.map_or("-".into(), |told| {
            format!("{:.0} instead of {:.0}: {:+.0}", told.adapted, told.configured, told.gained())
        });
        table.add_row(vec![
            policy.name().to_owned(),
            format!("{:.0}", capacity.throughput),
            format!("{:.2}", capacity.load),
            format!("{:+.0}", capacity.throughput - least),
            told,
        ]);
    }
    table
}

/// A table that Markdown understands.
pub(super) fn empty(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(header.to_vec());
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn cell(compared: &Compared, policy: &str, phase: &str, show: fn(&PhaseRecord) -> String) -> String {
    let phase = compared.outcome(policy).and_then(|outcome| outcome.phase(phase));
    phase.map_or("-".into(), show)
}

fn mean(phase: &PhaseRecord) -> String {
    number(phase.mean())
}

fn with_p99(phase: &PhaseRecord) -> String {
    format!("{} / {:.0}", number(phase.mean()), phase.p99())
}

fn with_errors(phase: &PhaseRecord) -> String {
    let failed = phase.error_part() * 100.0;
    if failed < 0.05 { mean(phase) } else { format!("{} ({failed:.1} %)", mean(phase)) }
}

/// Milliseconds with as many digits as mean something.
fn number(milliseconds: f64) -> String {
    if milliseconds < 100.0 { format!("{milliseconds:.1}") } else { format!("{milliseconds:.0}") }
}
