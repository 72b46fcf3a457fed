//! `[service.weights]` written down again.

use super::super::model::Weights;
use super::span;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How the weights in force come about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the keys of the configuration, told in docs/latency-control.md")]
pub struct WrittenWeights {
    pub mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub period: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadband: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gain_exponent: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgent_gain: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub urgent_ratio: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pull: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceiling: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline_creep: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_samples: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start_floor: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub churn_urgent: Option<Decimal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_target: Option<String>,
}

/// A number that is one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Decimal(f64);

/// JSON and the law's bounds have no other numbers.
impl Eq for Decimal {}

impl From<&Weights> for WrittenWeights {
    fn from(weights: &Weights) -> Self {
        let mode = weights.word().to_owned();
        let Some(law) = weights.law() else { return Self { mode, ..Self::default() } };
        // Whole, so that a new constant is not forgotten here.
        let crate::weight::Law {
            period,
            cap,
            smoothing,
            deadband,
            gain,
            gain_exponent,
            urgent_gain,
            pull,
            confirm,
            step,
            floor,
            ceiling,
            baseline_creep,
            min_samples,
            stale_after,
            drift,
            // The service's own keys.
            slow_start: _,
            panic_threshold: _,
            slow_start_floor,
            churn,
            churn_urgent,
            urgent_ratio,
            p99_target,
        } = *law;
        let number = |number| Some(Decimal(number));
        Self {
            mode,
            source: weights.source().map(|source| source.word().to_owned()),
            sample: weights.sampled(),
            period: Some(span(period)),
            cap: Some(span(cap)),
            smoothing: Some(span(smoothing)),
            deadband: number(deadband),
            gain: number(gain),
            gain_exponent: number(gain_exponent),
            urgent_gain: number(urgent_gain),
            urgent_ratio: number(urgent_ratio),
            pull: number(pull),
            confirm: Some(confirm),
            step: number(step),
            floor: number(floor),
            ceiling: number(ceiling),
            baseline_creep: number(baseline_creep),
            min_samples: Some(min_samples.into()),
            stale_after: Some(span(stale_after)),
            drift: number(drift),
            slow_start_floor: number(slow_start_floor),
            churn: number(churn),
            churn_urgent: number(churn_urgent),
            p99_target: Some(span(p99_target)),
        }
    }
}
