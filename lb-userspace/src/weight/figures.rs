//! The figures that say what the weights are worth: the mean backend latency, and the capacity gained.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{Controller, Law, Outcome, Sample};

/// A service's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// d = (1/N) × the sum of the backends' smoothed latencies, over the N that have data.
    pub mean_backend_latency: Option<Duration>,
    /// The same, each backend counted by its weight: what a request meets in the mean.
    pub mean_request_latency: Option<Duration>,
    /// The weighted geometric mean, which latencies are compared with.
    pub reference: Option<Duration>,
    /// The least that the reference has been.
    pub baseline: Option<Duration>,
    /// The gain of the last step.
    pub gain: f64,
    /// 99th percentile of the last stretch of samples.
    pub p99: Option<Duration>,
    /// What the weights gain over the configured ones.
    pub capacity: Option<CapacityGain>,
}

/// Throughputs at which [`Law::p99_target`] holds, in requests a second.
///
/// `adapted` (P1) was seen: the greatest throughput of a stretch of samples that kept the target. `configured` (P0) is
/// inferred: weights from latency keep all backends equally far from their limits, so with the configured weights the
/// one whose factor is least would meet its limit first, when the throughput is that factor times P1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CapacityGain {
    /// P1, with the weights from latency.
    pub adapted: f64,
    /// P0, with the configured weights.
    pub configured: f64,
}

impl CapacityGain {
    /// P1 - P0.
    #[must_use]
    pub fn gained(&self) -> f64 {
        self.adapted - self.configured
    }
}

impl Figures {
    pub(super) fn of(controller: &Controller) -> Self {
        let (mut count, mut sum, mut weights, mut weighted) = (0.0, 0.0, 0.0, 0.0);
        let mut least: Option<f64> = None;
        for backend in controller.backends.iter().filter(|backend| backend.governed()) {
            let Some(latency) = backend.estimate.smoothed() else { continue };
            let weight = backend.weight() * backend.factor();
            count += 1.0;
            sum += latency;
            weights += weight;
            weighted += weight * latency;
            least = Some(least.map_or(backend.factor(), |least| least.min(backend.factor())));
        }
        let has_data = count > 0.0;
        let adapted = controller.throughput.greatest;
        let capacity = adapted.zip(least).map(|(adapted, least)| CapacityGain {
            adapted,
            // A service of one backend, or of equals, has nothing to gain.
            configured: adapted * least.min(1.0),
        });
        Self {
            mean_backend_latency: has_data.then(|| Duration::from_secs_f64(sum / count)),
            mean_request_latency: has_data.then(|| Duration::from_secs_f64(weighted / weights)),
            reference: controller.mean.map(Duration::from_secs_f64),
            baseline: controller.baseline.map(Duration::from_secs_f64),
            gain: controller.gain,
            p99: controller.throughput.p99,
            capacity,
        }
    }
}

/// Samples of a stretch: of fewer a 99th percentile says little.
const STRETCH: u64 = 1_000;
/// Least length of a stretch: the greatest throughput of many short ones would be that of a lucky second.
const STRETCH_TIME: Duration = Duration::from_secs(10);
/// Longest latency told apart, in microseconds.
const LONGEST: u64 = 60_000_000;

/// The throughput of a service, and the 99th percentile that it had.
#[derive(Clone, Debug)]
pub(super) struct Throughput {
    /// Latencies in microseconds; `None` if there cannot be one, which its constant bounds exclude.
    latencies: Option<Histogram<u32>>,
    requests: u64,
    opened: Duration,
    pub p99: Option<Duration>,
    /// The greatest that kept the target, in requests a second.
    pub greatest: Option<f64>,
}

impl Throughput {
    pub(super) fn new(now: Duration) -> Self {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 2).ok();
        Self { latencies, requests: 0, opened: now, p99: None, greatest: None }
    }

    pub(super) fn sample(&mut self, law: &Law, sample: Sample) {
        let latency = match sample.outcome {
            Outcome::Success => sample.latency,
            // An error keeps no target, however soon it came.
            Outcome::Error => sample.latency.max(law.cap).max(law.p99_target * 2),
        };
        if let Some(latencies) = &mut self.latencies {
            latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) const fn requests(&mut self, count: u64) {
        self.requests = self.requests.saturating_add(count);
    }

    /// Closes the stretch if it is long enough.
    #[expect(clippy::cast_precision_loss, reason = "a count of requests needs no more than 52 bits")]
    pub(super) fn step(&mut self, law: &Law, now: Duration) {
        let length = now.saturating_sub(self.opened);
        let Some(latencies) = &mut self.latencies else { return };
        if latencies.len() < STRETCH || length < STRETCH_TIME {
            return;
        }
        let p99 = Duration::from_micros(latencies.value_at_quantile(0.99));
        latencies.reset();
        if p99 <= law.p99_target && self.requests > 0 {
            let rate = self.requests as f64 / length.as_secs_f64();
            self.greatest = Some(self.greatest.map_or(rate, |greatest| greatest.max(rate)));
        }
        self.p99 = Some(p99);
        self.requests = 0;
        self.opened = now;
    }
}
