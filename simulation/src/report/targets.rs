//! The targets, and how far they are met.

use comfy_table::Table;

use super::tables::empty;
use crate::{
    scenarios::{STEADY, STEP},
    suite::{Compared, EQUAL, FIRST, LAW, NAIVE, ORACLE, Outcome},
};

/// A target and what was measured.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is asked for.
    pub text: String,
    /// What was measured with the first law, and with the law.
    pub measured: [Option<f64>; 2],
    /// Largest value that meets it.
    pub most: f64,
    /// How values are written.
    pub show: fn(f64) -> String,
}

impl Target {
    /// Whether the law meets it.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.measured[1].is_some_and(|value| value <= self.most)
    }
}

/// Every target that these runs can tell of.
#[must_use]
pub fn all(runs: &[Compared]) -> Vec<Target> {
    let mut targets = latencies(runs);
    targets.extend(calm(runs));
    targets
}

fn latencies(runs: &[Compared]) -> Vec<Target> {
    let change = |scenario, phase| both(runs, scenario, |c, law| Some(c.ratio(law, EQUAL, phase)? - 1.0));
    let oracle = |scenario: &str| both(runs, scenario, |c, law| c.ratio(law, ORACLE, STEADY));
    let mut targets = vec![
        target("d at load 0.55, against equal weights", change("load-0.55", STEADY), -0.23, percent),
        target("the same in the step", change("load-0.55", STEP), -0.66, percent),
    ];
    for load in ["0.55", "0.7", "0.8"] {
        let text = format!("d at load {load}, over the oracle's");
        targets.push(target(&text, oracle(&format!("load-{load}")), 1.05, times));
    }
    targets.push(target("d at load 0.9, over the oracle's", oracle("load-0.9"), 1.08, times));
    targets.push(target("d with two probes a second, over the oracle's", oracle("probes"), 1.1, times));
    let identical = both(runs, "identical", |c, law| Some(c.ratio(law, EQUAL, STEADY)? - 1.0));
    targets.push(target("loss with identical backends at load 0.8", identical, 0.01, percent));
    targets
}

fn calm(runs: &[Compared]) -> Vec<Target> {
    let mut targets = Vec::new();
    for load in ["0.7", "0.8", "0.9"] {
        let shifted = both(runs, &format!("load-{load}"), |c, law| c.outcome(law)?.shifted);
        targets.push(target(&format!("90 % of the share shifted at load {load}"), shifted, 20.0, seconds));
    }
    for load in ["0.55", "0.7", "0.8", "0.9"] {
        let variation = both(runs, &format!("load-{load}"), |c, law| Some(c.outcome(law)?.share_variation));
        targets.push(target(&format!("variation of the shares at load {load}"), variation, 0.03, plain));
    }
    let share = both(runs, "fast-errors", |c, law| {
        let settled = c.outcome(law)?.phase("settled")?;
        // The floor is a tenth of one in sixteen.
        Some(settled.part(c.scenario.watched?) * c.scenario.backends.len() as f64)
    });
    targets.push(target("share of a backend of fast errors, over its configured one", share, 0.101, plain));
    targets
}

fn target(text: &str, measured: [Option<f64>; 2], most: f64, show: fn(f64) -> String) -> Target {
    Target { text: text.to_owned(), measured, most, show }
}

/// A figure of a scenario with either law.
fn both(
    runs: &[Compared],
    scenario: &str,
    figure: impl Fn(&Compared, &str) -> Option<f64>,
) -> [Option<f64>; 2] {
    let compared = runs.iter().find(|compared| compared.scenario.name == scenario);
    [FIRST, LAW].map(|law| compared.and_then(|compared| figure(compared, law)))
}

/// The targets as a table.
#[must_use]
pub fn table(targets: &[Target]) -> Table {
    let mut table = empty(&["target", "at most", "first law", "law", "met"]);
    for target in targets {
        let shown = target.measured.map(|value| value.map_or("-".into(), target.show));
        let [first, law] = shown;
        let met = if target.is_met() { "yes" } else { "no" };
        table.add_row(vec![target.text.clone(), (target.show)(target.most), first, law, met.into()]);
    }
    table
}

/// What the naive policy makes of load 0.75, in milliseconds: it must be bad, or the scenarios tell nothing.
#[must_use]
pub fn negative_control(runs: &[Compared]) -> Option<f64> {
    let compared = runs.iter().find(|compared| compared.scenario.name == "load-0.75")?;
    compared.mean(NAIVE, STEADY)
}

/// How far apart two balancers' shares of a backend ever were.
#[must_use]
pub fn apart(runs: &[Compared]) -> Option<f64> {
    let compared = runs.iter().find(|compared| compared.scenario.balancers > 1)?;
    compared.outcome(LAW).map(|outcome: &Outcome| outcome.apart)
}

fn percent(value: f64) -> String {
    format!("{:+.1} %", value * 100.0)
}

fn times(value: f64) -> String {
    format!("{value:.3}")
}

fn seconds(value: f64) -> String {
    format!("{value:.0} s")
}

fn plain(value: f64) -> String {
    format!("{value:.3}")
}
