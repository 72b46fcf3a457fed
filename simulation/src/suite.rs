//! All runs, and what is made of them.

use anyhow::Result;
use lb_userspace::weight::Law;
use rayon::prelude::*;

use crate::{
    balancer::Policy,
    engine,
    record::{PhaseRecord, Record},
    scenario::{Scenario, Source},
    time::SECOND,
};

/// A policy and the name that it has in tables.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub policy: Policy,
}

/// What came of a scenario with a policy, over all seeds.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The policy's name.
    pub name: &'static str,
    /// Pooled over the seeds.
    pub phases: Vec<PhaseRecord>,
    /// Variation of the shares before anything happens, in the mean of the seeds.
    pub share_variation: f64,
    /// Seconds until nine tenths of the watched backend's share were shifted: the worst seed; `None`: never.
    pub shifted: Option<f64>,
    /// Part of the table that moved in a minute, in the mean of the seeds and of time.
    pub moved: f64,
    /// How far the balancers' shares of a backend were apart at most, relative to the mean share.
    pub apart: f64,
    /// The first seed's run, for pictures.
    pub example: Record,
}

/// A scenario and what came of it with each policy.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The scenario.
    pub scenario: Scenario,
    /// In the order of [`candidates`].
    pub outcomes: Vec<Outcome>,
}

/// Name of the law that is judged.
pub const LAW: &str = "law";
/// Name of the law without pull, confirmation and urgent gain.
pub const FIRST: &str = "first law";
/// Name of the policy that knows.
pub const ORACLE: &str = "oracle";
/// Name of the policy that does nothing.
pub const EQUAL: &str = "equal";
/// Name of the negative control.
pub const NAIVE: &str = "naive 1/L";

/// The policies that are compared in a scenario.
#[must_use]
pub fn candidates(scenario: &Scenario) -> Vec<Candidate> {
    let law = law_for(scenario);
    let first = Law { pull: 0.0, confirm: false, urgent_gain: 0.0, ..law };
    vec![
        Candidate { name: EQUAL, policy: Policy::Equal },
        Candidate { name: NAIVE, policy: Policy::Inverse },
        Candidate { name: FIRST, policy: Policy::Law(first) },
        Candidate { name: LAW, policy: Policy::Law(law) },
        Candidate { name: ORACLE, policy: Policy::Oracle },
    ]
}

/// The law, and the law without each of what was added to the first one.
#[must_use]
pub fn variants(scenario: &Scenario) -> Vec<Candidate> {
    let law = law_for(scenario);
    vec![
        Candidate { name: LAW, policy: Policy::Law(law) },
        Candidate { name: "without pull", policy: Policy::Law(Law { pull: 0.0, ..law }) },
        Candidate { name: "without confirmation", policy: Policy::Law(Law { confirm: false, ..law }) },
        Candidate { name: "without urgent gain", policy: Policy::Law(Law { urgent_gain: 0.0, ..law }) },
    ]
}

fn law_for(scenario: &Scenario) -> Law {
    match scenario.source {
        Source::Requests => Law::default(),
        Source::Probes(_) => Law::for_probes(),
    }
}

/// What is compared in a scenario.
pub type Candidates = fn(&Scenario) -> Vec<Candidate>;

/// How many runs [`compare`] makes.
#[must_use]
pub fn runs(scenarios: &[Scenario], candidates: Candidates, seeds: u64) -> u64 {
    scenarios.iter().map(|scenario| candidates(scenario).len() as u64 * seeds).sum()
}

/// Runs every scenario with every policy and seed, on all processors, and calls `done` after each run. The order of
/// the runs does not matter to the result.
///
/// # Errors
/// Constants of a law that break its rules.
pub fn compare(
    scenarios: &[Scenario],
    candidates: Candidates,
    seeds: u64,
    done: impl Fn() + Sync,
) -> Result<Vec<Compared>> {
    let jobs: Vec<_> = scenarios
        .iter()
        .flat_map(|scenario| candidates(scenario).into_iter().map(move |candidate| (scenario, candidate)))
        .flat_map(|job| (1..=seeds).map(move |seed| (job, seed)))
        .collect();
    let records: Result<Vec<Record>> = jobs
        .par_iter()
        .map(|((scenario, candidate), seed)| {
            let record = engine::run(scenario, candidate.policy, *seed);
            done();
            record
        })
        .collect();
    let mut records = records?.into_iter();
    let compared = scenarios.iter().map(|scenario| {
        let outcomes = candidates(scenario).into_iter().filter_map(|candidate| {
            let own: Vec<_> = records.by_ref().take(seeds as usize).collect();
            Outcome::of(scenario, candidate.name, own)
        });
        Compared { scenario: scenario.clone(), outcomes: outcomes.collect() }
    });
    Ok(compared.collect())
}

/// The stretch of time in which the variation of shares is measured.
const SETTLED_FROM: u64 = 150 * SECOND;
const SETTLED_TO: u64 = 300 * SECOND;

impl Outcome {
    /// Pools the runs of one policy; `None` if there is none.
    fn of(scenario: &Scenario, name: &'static str, records: Vec<Record>) -> Option<Self> {
        let runs = records.len() as f64;
        let backends = scenario.backends.len();
        let variations =
            records.iter().map(|record| record.share_variation(backends, SETTLED_FROM, SETTLED_TO));
        let share_variation = variations.sum::<f64>() / runs;
        let shifts: Option<Vec<f64>> = records.iter().map(|record| shifted(scenario, record)).collect();
        let slots = f64::from(scenario.slots.unwrap_or(1));
        let minutes = scenario.end as f64 / (60 * SECOND) as f64;
        let moved = records.iter().map(|record| record.moved as f64).sum::<f64>() / runs / slots / minutes;
        let apart = records.iter().map(|record| record.apart).fold(0.0, f64::max);
        let mut phases: Vec<PhaseRecord> = records.first()?.phases.clone();
        for record in records.iter().skip(1) {
            for (pooled, other) in phases.iter_mut().zip(&record.phases) {
                pooled.add(other);
            }
        }
        let shifted = shifts.and_then(|shifts| shifts.into_iter().reduce(f64::max));
        let example = records.into_iter().next()?;
        Some(Self { name, phases, share_variation, shifted, moved, apart, example })
    }

    /// A phase by its name.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<&PhaseRecord> {
        self.phases.iter().find(|phase| phase.name == name)
    }
}

fn shifted(scenario: &Scenario, record: &Record) -> Option<f64> {
    let watched = scenario.watched?;
    let begins = scenario.events.first()?.at;
    let ends = scenario.events.get(1).map_or(scenario.end, |event| event.at);
    record.shifted(watched, begins, ends)
}

impl Compared {
    /// What came of a policy, by its name.
    #[must_use]
    pub fn outcome(&self, name: &str) -> Option<&Outcome> {
        self.outcomes.iter().find(|outcome| outcome.name == name)
    }

    /// Mean latency of a request in a phase with a policy, in milliseconds.
    #[must_use]
    pub fn mean(&self, policy: &str, phase: &str) -> Option<f64> {
        Some(self.outcome(policy)?.phase(phase)?.mean())
    }

    /// A mean over another policy's.
    #[must_use]
    pub fn ratio(&self, policy: &str, to: &str, phase: &str) -> Option<f64> {
        Some(self.mean(policy, phase)? / self.mean(to, phase)?)
    }
}
