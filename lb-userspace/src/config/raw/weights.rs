//! `[service.weights]` as written.

use super::{Number, Text};
use serde::Deserialize;
use toml::Spanned;

/// A number with or without a fraction.
pub(in super::super) type Decimal = Spanned<f64>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in super::super) struct RawWeights {
    pub mode: Option<Text>,
    pub source: Option<Text>,
    pub sample: Option<Number>,
    pub period: Option<Text>,
    pub cap: Option<Text>,
    pub smoothing: Option<Text>,
    pub deadband: Option<Decimal>,
    pub gain: Option<Decimal>,
    pub gain_exponent: Option<Decimal>,
    pub urgent_gain: Option<Decimal>,
    pub urgent_ratio: Option<Decimal>,
    pub pull: Option<Decimal>,
    pub confirm: Option<Spanned<bool>>,
    pub step: Option<Decimal>,
    pub floor: Option<Decimal>,
    pub ceiling: Option<Decimal>,
    pub baseline_creep: Option<Decimal>,
    pub min_samples: Option<Number>,
    pub stale_after: Option<Text>,
    pub drift: Option<Decimal>,
    pub slow_start_floor: Option<Decimal>,
    pub churn: Option<Decimal>,
    pub churn_urgent: Option<Decimal>,
    pub p99_target: Option<Text>,
}

impl RawWeights {
    /// The keys that are there beside `mode`, and where their values begin.
    pub fn keys(&self) -> Vec<(&'static str, usize)> {
        fn of<T>(key: &'static str, value: Option<&Spanned<T>>) -> Option<(&'static str, usize)> {
            value.map(|value| (key, value.span().start))
        }
        [
            of("source", self.source.as_ref()),
            of("sample", self.sample.as_ref()),
            of("period", self.period.as_ref()),
            of("cap", self.cap.as_ref()),
            of("smoothing", self.smoothing.as_ref()),
            of("deadband", self.deadband.as_ref()),
            of("gain", self.gain.as_ref()),
            of("gain_exponent", self.gain_exponent.as_ref()),
            of("urgent_gain", self.urgent_gain.as_ref()),
            of("urgent_ratio", self.urgent_ratio.as_ref()),
            of("pull", self.pull.as_ref()),
            of("confirm", self.confirm.as_ref()),
            of("step", self.step.as_ref()),
            of("floor", self.floor.as_ref()),
            of("ceiling", self.ceiling.as_ref()),
            of("baseline_creep", self.baseline_creep.as_ref()),
            of("min_samples", self.min_samples.as_ref()),
            of("stale_after", self.stale_after.as_ref()),
            of("drift", self.drift.as_ref()),
            of("slow_start_floor", self.slow_start_floor.as_ref()),
            of("churn", self.churn.as_ref()),
            of("churn_urgent", self.churn_urgent.as_ref()),
            of("p99_target", self.p99_target.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
