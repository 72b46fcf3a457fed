//! The constants of the control law, their bounds, and what is wrong with those that break them.

use std::{fmt, time::Duration};

/// The control law's constants. docs/latency-control.md says what each is for and how it was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Law {
    /// T: time from one step to the next. 1 s.
    pub period: Duration,
    /// C: what an error counts as, and a request that is outstanding for longer. 250 ms.
    pub cap: Duration,
    /// Time constant of the exponential average of a backend's latency. 2 s; 5 s for probes.
    pub smoothing: Duration,
    /// Distance of ln(latency / mean latency) from 0 that counts as none, and is taken off a greater one. 0.2.
    pub deadband: f64,
    /// k: change of ln(weight) in a step for a distance of 1, while latencies are at their baseline. 0.05.
    pub gain: f64,
    /// The gain falls with (mean latency / baseline) to this power. 1.5.
    pub gain_exponent: f64,
    /// k': as the gain, for the part of the distance beyond ln(`urgent_ratio`); it does not fall. 0.05; 0: none.
    pub urgent_gain: f64,
    /// Draws a weight to the configured one: ln(factor) times this counts as distance. 0.2; 0: not at all.
    pub pull: f64,
    /// Whether a step goes only as far as the last window and the average both ask. Yes.
    pub confirm: bool,
    /// Largest change of ln(weight) in a step. 0.1.
    pub step: f64,
    /// Least factor on a configured weight. 0.1.
    pub floor: f64,
    /// Largest factor on a configured weight. 4.
    pub ceiling: f64,
    /// How fast the baseline rises towards latencies above it, per second. 8e-6: twice in a day.
    pub baseline_creep: f64,
    /// Samples that a window needs; it stays open, and its backend's weight as it is, until it has them. 5.
    pub min_samples: u32,
    /// A backend without a sample for this long has no data. 10 s.
    pub stale_after: Duration,
    /// How fast ln(weight) of a backend without data returns to the configured weight, per second. 0.02.
    pub drift: f64,
    /// How long a backend that came up takes to its whole weight. 30 s; 0: none.
    pub slow_start: Duration,
    /// Factor at the beginning of a slow start. 0.1.
    pub slow_start_floor: f64,
    /// With a smaller part of the backends up, health is ignored and the configured weights hold. 0.5; 0: never.
    pub panic_threshold: f64,
    /// Part of a service's slots that may move in a minute because of latency. 0.02.
    pub churn: f64,
    /// The same for slots of a backend whose latency is `urgent_ratio` times the mean. 0.1.
    pub churn_urgent: f64,
    /// Latency of a backend over the mean, or below it, from which it is urgent: weight and slots move faster. 3.
    pub urgent_ratio: f64,
    /// The 99th percentile that capacity is counted at: see [`super::Figures`]. 100 ms.
    pub p99_target: Duration,
}

impl Default for Law {
    /// For latencies that are measured passively, on the requests themselves.
    fn default() -> Self {
        Self {
            period: Duration::from_secs(1),
            cap: Duration::from_millis(250),
            smoothing: Duration::from_secs(2),
            deadband: 0.2,
            gain: 0.05,
            gain_exponent: 1.5,
            urgent_gain: 0.05,
            pull: 0.2,
            confirm: true,
            step: 0.1,
            floor: 0.1,
            ceiling: 4.0,
            baseline_creep: 8e-6,
            min_samples: 5,
            stale_after: Duration::from_secs(10),
            drift: 0.02,
            slow_start: Duration::from_secs(30),
            slow_start_floor: 0.1,
            panic_threshold: 0.5,
            churn: 0.02,
            churn_urgent: 0.1,
            urgent_ratio: 3.0,
            p99_target: Duration::from_millis(100),
        }
    }
}

/// One constant's bounds. `get` reads it as a number: durations in seconds.
struct Rule {
    key: &'static str,
    get: fn(&Law) -> f64,
    least: f64,
    most: f64,
    unit: &'static str,
}

const RULES: &[Rule] = &[
    rule("period", |law| law.period.as_secs_f64(), 0.1, 60.0, " s"),
    rule("cap", |law| law.cap.as_secs_f64(), 0.001, 60.0, " s"),
    rule("smoothing", |law| law.smoothing.as_secs_f64(), 0.0, 600.0, " s"),
    rule("deadband", |law| law.deadband, 0.0, 2.0, ""),
    rule("gain", |law| law.gain, 0.0, 1.0, ""),
    rule("gain_exponent", |law| law.gain_exponent, 0.0, 4.0, ""),
    rule("urgent_gain", |law| law.urgent_gain, 0.0, 1.0, ""),
    rule("pull", |law| law.pull, 0.0, 2.0, ""),
    rule("step", |law| law.step, 0.001, 1.0, ""),
    rule("floor", |law| law.floor, 0.01, 1.0, ""),
    rule("ceiling", |law| law.ceiling, 1.0, 10.0, ""),
    rule("baseline_creep", |law| law.baseline_creep, 0.0, 0.1, " a second"),
    rule("min_samples", |law| f64::from(law.min_samples), 1.0, 10_000.0, ""),
    rule("stale_after", |law| law.stale_after.as_secs_f64(), 1.0, 3_600.0, " s"),
    rule("drift", |law| law.drift, 0.0, 1.0, " a second"),
    rule("slow_start", |law| law.slow_start.as_secs_f64(), 0.0, 3_600.0, " s"),
    rule("slow_start_floor", |law| law.slow_start_floor, 0.01, 1.0, ""),
    rule("panic_threshold", |law| law.panic_threshold, 0.0, 1.0, ""),
    rule("churn", |law| law.churn, 0.0, 1.0, " of the slots a minute"),
    rule("churn_urgent", |law| law.churn_urgent, 0.0, 1.0, " of the slots a minute"),
    rule("urgent_ratio", |law| law.urgent_ratio, 1.0, 1_000.0, ""),
    rule("p99_target", |law| law.p99_target.as_secs_f64(), 0.000_1, 60.0, " s"),
];

const fn rule(key: &'static str, get: fn(&Law) -> f64, least: f64, most: f64, unit: &'static str) -> Rule {
    Rule { key, get, least, most, unit }
}

/// Every constant that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(LawProblem::to_string).collect::<Vec<_>>().join("; "))]
pub struct LawError(
    /// At least one, in the order of [`Law`]'s fields.
    pub Vec<LawProblem>,
);

/// One constant that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LawProblem {
    /// Its name, which is also its key in the configuration.
    pub key: &'static str,
    /// What is wrong and how to mend it.
    pub message: String,
}

impl fmt::Display for LawProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

impl Law {
    /// For latencies that probes measure, at least two a second and backend: five times fewer samples need a
    /// longer average.
    #[must_use]
    pub fn for_probes() -> Self {
        Self { smoothing: Duration::from_secs(5), ..Self::default() }
    }

    /// Checks every constant against its bounds, and those against each other that must agree.
    ///
    /// # Errors
    /// All that is wrong, not only the first.
    pub fn validate(&self) -> Result<(), LawError> {
        let mut problems: Vec<_> = RULES.iter().filter_map(|rule| rule.problem(self)).collect();
        if self.churn > self.churn_urgent {
            let message = format!(
                "{} is less than churn ({}), which it should exceed; raise it or lower churn",
                self.churn_urgent, self.churn
            );
            problems.push(LawProblem { key: "churn_urgent", message });
        }
        if self.stale_after < self.period {
            let message = format!(
                "{} s is shorter than period ({} s), so that every backend would have no data; raise it",
                self.stale_after.as_secs_f64(),
                self.period.as_secs_f64()
            );
            problems.push(LawProblem { key: "stale_after", message });
        }
        if problems.is_empty() { Ok(()) } else { Err(LawError(problems)) }
    }
}

impl Rule {
    fn problem(&self, law: &Law) -> Option<LawProblem> {
        let Self { key, get, least, most, unit } = self;
        let value = get(law);
        // Also refuses what is not a number, which is in no range.
        if (*least..=*most).contains(&value) {
            return None;
        }
        let message = format!("{value}{unit} is out of range; write {least} to {most}{unit}");
        Some(LawProblem { key, message })
    }
}
