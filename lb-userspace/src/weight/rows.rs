//! What is shown of weights that follow latency, in JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Shown, ShownBackend};

/// A service whose weights follow latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeightsRow {
    /// `waiting` for samples, `steering`, `frozen` or `panic`.
    pub mode: String,
    /// The same in a sentence.
    pub reason: String,
    /// d: the mean of the backends' latencies, in seconds; null before there are any.
    pub mean_backend_latency_seconds: Option<f64>,
    /// The same, each backend counted by its weight.
    pub mean_request_latency_seconds: Option<f64>,
    /// 99th percentile over all backends.
    pub p99_seconds: Option<f64>,
    /// The mean that latencies are compared with.
    pub reference_seconds: Option<f64>,
    /// The least that it has been.
    pub baseline_seconds: Option<f64>,
    /// The gain of the last step.
    pub gain: f64,
    /// Connections a second at which the 99th percentile was still within its target (P1).
    pub capacity: Option<f64>,
    /// The same with the configured weights, inferred (P0).
    pub capacity_configured: Option<f64>,
    /// P1 - P0.
    pub capacity_gained: Option<f64>,
}

/// A backend whose weight follows its latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencyRow {
    /// `steering`, `level`, `returning`, `clamped`, `held`, `drifting` or `frozen`.
    pub state: String,
    /// The same in a sentence.
    pub reason: String,
    /// What the controller wants the configured weight to be multiplied with.
    pub factor: f64,
    /// Whether its slots may move faster.
    pub urgent: bool,
    /// Mean of the last window, in seconds; null before there is one.
    pub mean_seconds: Option<f64>,
    /// The average that the controller follows.
    pub smoothed_seconds: Option<f64>,
    /// Median of the last samples.
    pub p50_seconds: Option<f64>,
    /// Their 99th percentile.
    pub p99_seconds: Option<f64>,
    /// Samples since it is measured.
    pub samples: u64,
}

impl From<&Shown> for WeightsRow {
    fn from(shown: &Shown) -> Self {
        let figures = &shown.figures;
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        Self {
            mode: shown.mode.to_owned(),
            reason: shown.reason.clone(),
            mean_backend_latency_seconds: seconds(figures.mean_backend_latency),
            mean_request_latency_seconds: seconds(figures.mean_request_latency),
            p99_seconds: seconds(figures.p99),
            reference_seconds: seconds(figures.reference),
            baseline_seconds: seconds(figures.baseline),
            gain: figures.gain,
            capacity: figures.capacity.map(|capacity| capacity.adapted),
            capacity_configured: figures.capacity.map(|capacity| capacity.configured),
            capacity_gained: figures.capacity.map(|capacity| capacity.gained()),
        }
    }
}

impl From<&ShownBackend> for LatencyRow {
    fn from(shown: &ShownBackend) -> Self {
        let ShownBackend { weight, quantiles, samples } = shown;
        let seconds = |duration: Duration| duration.as_secs_f64();
        Self {
            state: weight.standing.word().to_owned(),
            reason: weight.standing.to_string(),
            factor: weight.factor,
            urgent: weight.urgent,
            mean_seconds: weight.mean.map(seconds),
            smoothed_seconds: weight.smoothed.map(seconds),
            p50_seconds: quantiles.map(|(median, _)| seconds(median)),
            p99_seconds: quantiles.map(|(_, most)| seconds(most)),
            samples: *samples,
        }
    }
}
