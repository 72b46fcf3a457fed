//! Samples of one backend, gathered into windows and smoothed.

use std::time::Duration;

use super::Law;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered.
    Success,
    /// It refused, reset, answered with an error, or the client gave up.
    Error,
}

/// One request, or one probe, that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// From the last byte of the request to the first byte of its answer.
    pub latency: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

impl Sample {
    /// A request that was answered after `latency`.
    #[must_use]
    pub const fn success(latency: Duration) -> Self {
        Self { latency, outcome: Outcome::Success }
    }

    /// A request that failed after `latency`.
    #[must_use]
    pub const fn error(latency: Duration) -> Self {
        Self { latency, outcome: Outcome::Error }
    }
}

/// Latencies below this count as this much: a logarithm is taken.
const LEAST_LATENCY: f64 = 1e-6;

/// What is known of one backend's latency. Times are of the caller's clock, latencies in seconds.
#[derive(Clone, Debug)]
pub(super) struct Estimate {
    opened: Duration,
    samples: u32,
    sum: f64,
    /// Requests that were outstanding for longer than the cap when last seen, and were counted then.
    counted_late: u32,
    outstanding_seen: Option<Duration>,
    last_sample: Option<Duration>,
    /// Mean of the last closed window.
    mean: Option<f64>,
    smoothed: Option<f64>,
    /// Length of the last closed window, in seconds.
    window: f64,
}

impl Estimate {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            opened: now,
            samples: 0,
            sum: 0.0,
            counted_late: 0,
            outstanding_seen: None,
            last_sample: None,
            mean: None,
            smoothed: None,
            window: 0.0,
        }
    }

    /// Takes a request that has ended. One that was counted while it was outstanding is not counted again.
    pub(super) fn observe(&mut self, law: &Law, now: Duration, sample: Sample) {
        if sample.latency > law.cap && self.counted_late > 0 {
            self.counted_late -= 1;
            return;
        }
        let latency = match sample.outcome {
            Outcome::Success => sample.latency.min(law.cap),
            Outcome::Error => law.cap,
        };
        self.count(now, latency, 1);
    }

    /// Takes the ages of all requests that are outstanding now. Those that passed the cap since the last time
    /// count as the cap.
    pub(super) fn outstanding(&mut self, law: &Law, now: Duration, ages: impl IntoIterator<Item = Duration>) {
        let since = self.outstanding_seen.map(|seen| now.saturating_sub(seen));
        let (mut late, mut new) = (0_u32, 0_u32);
        for over in ages.into_iter().filter_map(|age| age.checked_sub(law.cap)).filter(|over| !over.is_zero())
        {
            late = late.saturating_add(1);
            if since.is_none_or(|since| over <= since) {
                new = new.saturating_add(1);
            }
        }
        self.counted_late = late;
        self.outstanding_seen = Some(now);
        if new > 0 {
            self.count(now, law.cap, new);
        }
    }

    fn count(&mut self, now: Duration, latency: Duration, times: u32) {
        self.samples = self.samples.saturating_add(times);
        self.sum += latency.as_secs_f64() * f64::from(times);
        self.last_sample = Some(now);
    }

    /// Closes the window if it holds enough samples, and says whether it did.
    pub(super) fn close(&mut self, law: &Law, now: Duration) -> bool {
        if self.samples < law.min_samples {
            return false;
        }
        let mean = (self.sum / f64::from(self.samples)).clamp(LEAST_LATENCY, law.cap.as_secs_f64());
        let window = now.saturating_sub(self.opened).as_secs_f64();
        let smoothing = law.smoothing.as_secs_f64();
        // The part that the window takes of the average: 1 when there is nothing to smooth over.
        let part = if smoothing > 0.0 { 1.0 - (-window / smoothing).exp() } else { 1.0 };
        self.smoothed = Some(self.smoothed.map_or(mean, |smoothed| smoothed + part * (mean - smoothed)));
        self.window = window;
        self.mean = Some(mean);
        self.open(now);
        true
    }

    fn open(&mut self, now: Duration) {
        self.opened = now;
        self.samples = 0;
        self.sum = 0.0;
    }

    /// Forgets what it knew when no sample came for too long, and says whether there is nothing known.
    pub(super) fn missing(&mut self, law: &Law, now: Duration) -> bool {
        if let Some(last) = self.last_sample.filter(|_| self.silent(law, now)) {
            self.forget(last);
        }
        self.smoothed.is_none()
    }

    /// Whether no sample came for long, since the last or since it was opened.
    pub(super) fn silent(&self, law: &Law, now: Duration) -> bool {
        now.saturating_sub(self.last_sample.unwrap_or(self.opened)) > law.stale_after
    }

    /// Starts anew: what was measured of another state of the backend says nothing of this one.
    pub(super) fn forget(&mut self, now: Duration) {
        let (counted_late, outstanding_seen) = (self.counted_late, self.outstanding_seen);
        *self = Self { counted_late, outstanding_seen, ..Self::new(now) };
    }

    /// Samples in the open window.
    pub(super) const fn samples(&self) -> u32 {
        self.samples
    }

    /// Mean of the last closed window.
    pub(super) const fn mean(&self) -> Option<f64> {
        self.mean
    }

    /// Length of the last closed window, in seconds.
    pub(super) const fn window(&self) -> f64 {
        self.window
    }

    /// The exponential average of the windows' means.
    pub(super) const fn smoothed(&self) -> Option<f64> {
        self.smoothed
    }
}
