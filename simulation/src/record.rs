//! What a run leaves: latencies by phase, and a line for each second.

use hdrhistogram::{CreationError, Histogram};
use lb_userspace::weight::Figures;

use crate::{
    scenario::{Phase, Scenario},
    time::{Nanos, SECOND, milliseconds, seconds},
};

/// What clients met in a phase.
#[derive(Clone, Debug)]
pub struct PhaseRecord {
    /// Its name.
    pub name: &'static str,
    /// Latencies in microseconds, of all requests that arrived in it.
    pub latencies: Histogram<u64>,
    /// Requests that failed or timed out.
    pub errors: u64,
    /// By backend: sum of latencies in milliseconds, and number.
    pub of_backends: Vec<(f64, u64)>,
}

/// A second of a run.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Sum of the latencies of the requests that arrived in it, in milliseconds.
    pub sum: f64,
    /// Their number.
    pub number: u64,
    /// How many of them failed.
    pub errors: u64,
    /// Share of each backend in new requests or connections.
    pub shares: Vec<f64>,
}

/// What a run leaves.
#[derive(Clone, Debug)]
pub struct Record {
    /// By phase of the scenario.
    pub phases: Vec<PhaseRecord>,
    /// By second.
    pub seconds: Vec<Second>,
    /// Slots that moved.
    pub moved: u64,
    /// How far the balancers' shares of a backend were apart at most, relative to the mean share; from the second minute.
    pub apart: f64,
    /// What the first balancer's controller says at the end.
    pub figures: Option<Figures>,
    bounds: Vec<Phase>,
}

impl Record {
    /// An empty record of a scenario.
    ///
    /// # Errors
    /// None with the histogram's constant bounds.
    pub fn new(scenario: &Scenario) -> Result<Self, CreationError> {
        let phases = scenario.phases.iter().map(|phase| {
            Ok(PhaseRecord {
                name: phase.name,
                // Up to a minute, three digits.
                latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?,
                errors: 0,
                of_backends: vec![(0.0, 0); scenario.backends.len()],
            })
        });
        Ok(Self {
            phases: phases.collect::<Result<_, CreationError>>()?,
            seconds: vec![Second::default(); (scenario.end / SECOND) as usize],
            moved: 0,
            apart: 0.0,
            figures: None,
            bounds: scenario.phases.clone(),
        })
    }

    /// Takes a client's request that has ended.
    pub fn request(&mut self, arrived: Nanos, backend: usize, latency: Nanos, success: bool) {
        let milliseconds = milliseconds(latency);
        if let Some(second) = self.seconds.get_mut((arrived / SECOND) as usize) {
            second.sum += milliseconds;
            second.number += 1;
            second.errors += u64::from(!success);
        }
        for (bounds, phase) in self.bounds.iter().zip(&mut self.phases) {
            if (bounds.from..bounds.to).contains(&arrived) {
                phase.latencies.saturating_record(latency / 1_000);
                phase.errors += u64::from(!success);
                if let Some((sum, number)) = phase.of_backends.get_mut(backend) {
                    *sum += milliseconds;
                    *number += 1;
                }
            }
        }
    }

    /// Takes the shares in force from now on.
    pub fn shares(&mut self, now: Nanos, shares: Vec<f64>) {
        if let Some(second) = self.seconds.get_mut((now / SECOND) as usize) {
            second.shares = shares;
        }
    }

    /// A backend's share over time, in the seconds of a stretch of time.
    pub fn share(&self, backend: usize, from: Nanos, to: Nanos) -> impl Iterator<Item = f64> {
        let range = (from / SECOND) as usize..(to / SECOND) as usize;
        let seconds = self.seconds.get(range).unwrap_or_default();
        seconds.iter().filter_map(move |second| second.shares.get(backend).copied())
    }

    /// How much the shares vary in a stretch of time: standard deviation over mean, in the mean of the backends.
    #[must_use]
    pub fn share_variation(&self, backends: usize, from: Nanos, to: Nanos) -> f64 {
        let variations = (0..backends).map(|backend| {
            let (mut number, mut sum, mut squares) = (0.0, 0.0, 0.0);
            for share in self.share(backend, from, to) {
                number += 1.0;
                sum += share;
                squares += share * share;
            }
            let mean = sum / number;
            let variance: f64 = squares / number - mean * mean;
            variance.max(0.0).sqrt() / mean
        });
        variations.sum::<f64>() / backends as f64
    }

    /// Seconds from an event until the backend's share has gone nine tenths of its way from before the event to the
    /// last minute of `until`.
    #[must_use]
    pub fn shifted(&self, backend: usize, event: Nanos, until: Nanos) -> Option<f64> {
        let minute = 60 * SECOND;
        let mean = |from, to| {
            let shares: Vec<f64> = self.share(backend, from, to).collect();
            shares.iter().sum::<f64>() / shares.len() as f64
        };
        let (before, after) = (mean(event - minute, event), mean(until - minute, until));
        let goal = 0.9_f64.mul_add(after - before, before);
        let reached = |share: f64| if after < before { share <= goal } else { share >= goal };
        let position = self.share(backend, event, until).position(reached)?;
        Some(seconds(position as Nanos * SECOND))
    }
}

impl Second {
    /// Mean latency in milliseconds, when there was a request.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.number > 0).then(|| self.sum / self.number as f64)
    }
}

impl PhaseRecord {
    /// Mean latency of a request, in milliseconds.
    #[must_use]
    pub fn mean(&self) -> f64 {
        let (sum, number) =
            self.of_backends.iter().fold((0.0, 0), |(sum, number), &(s, n)| (sum + s, number + n));
        sum / number as f64
    }

    /// d = (1/N) sum of the backends' mean latencies, in milliseconds.
    #[must_use]
    pub fn backend_mean(&self) -> f64 {
        let busy = self.of_backends.iter().filter(|(_, number)| *number > 0);
        let (sum, count) = busy.fold((0.0, 0.0), |(sum, count), &(s, n)| (sum + s / n as f64, count + 1.0));
        sum / count
    }

    /// 99th percentile, in milliseconds.
    #[must_use]
    pub fn p99(&self) -> f64 {
        self.latencies.value_at_quantile(0.99) as f64 / 1_000.0
    }

    /// Part of the requests that failed.
    #[must_use]
    pub fn error_part(&self) -> f64 {
        self.errors as f64 / self.latencies.len() as f64
    }

    /// A backend's part of the requests.
    #[must_use]
    pub fn part(&self, backend: usize) -> f64 {
        let own = self.of_backends.get(backend).map_or(0, |&(_, number)| number);
        own as f64 / self.latencies.len() as f64
    }

    /// Adds another run's record of the same phase.
    pub fn add(&mut self, other: &Self) {
        // Both histograms have the same bounds.
        let _ = self.latencies.add(&other.latencies);
        self.errors += other.errors;
        for (own, other) in self.of_backends.iter_mut().zip(&other.of_backends) {
            own.0 += other.0;
            own.1 += other.1;
        }
    }
}
