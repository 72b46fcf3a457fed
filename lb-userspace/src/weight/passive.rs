//! What the data plane counted of nat's backends, as samples. Pure: takes readings of the counters, which wrap around.

use std::{collections::HashMap, time::Duration};

use lb_common::{
    latency::{Awaits, BUCKETS, LatencyStats, SampledFlow, bucket_start},
    slot::BackendIndex,
};

use super::{Outcome, Sample};

/// A request that waits for longer is given up: its client has gone, or its protocol has no answer.
const GIVEN_UP: Duration = Duration::from_mins(1);

/// The last reading of each backend's counters.
#[derive(Clone, Debug, Default)]
pub struct Passive {
    before: HashMap<BackendIndex, LatencyStats>,
}

/// Requests that wait for their answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// For how long, by backend.
    pub ages: HashMap<BackendIndex, Vec<Duration>>,
    /// Keys of those that are given up.
    pub given_up: Vec<u64>,
}

impl Passive {
    /// What came since the last reading of this backend, each sample with how many there were of it. The first reading
    /// tells nothing: it may be of times long past.
    ///
    /// The program counts by powers of 2. Within each bucket a sample lies so that all together make the sum that the program
    /// kept beside them, which makes the mean exact wherever that is possible.
    pub fn read(&mut self, backend: BackendIndex, now: &LatencyStats) -> Vec<(Sample, u32)> {
        let Some(before) = self.before.insert(backend, *now) else { return Vec::new() };
        let counts: [u32; BUCKETS] =
            std::array::from_fn(|bucket| now.buckets[bucket].wrapping_sub(before.buckets[bucket]));
        let total = Duration::from_nanos(now.total_ns.wrapping_sub(before.total_ns)).as_secs_f64();
        let middles: f64 =
            counts.iter().zip(0..).map(|(&count, bucket)| f64::from(count) * middle(bucket)).sum();
        let scale = if middles > 0.0 { total / middles } else { 1.0 };
        let answered = counts.iter().zip(0..).filter(|(count, _)| **count > 0).map(|(&count, bucket)| {
            let latency = (middle(bucket) * scale).clamp(start(bucket), start(bucket + 1));
            (Sample::success(Duration::from_secs_f64(latency)), count)
        });
        let errors = now.errors.wrapping_sub(before.errors);
        let failed =
            (errors > 0).then_some((Sample { latency: Duration::ZERO, outcome: Outcome::Error }, errors));
        answered.chain(failed).collect()
    }

    /// Forgets backends that are not there any more: an index that is given anew begins anew.
    pub fn retain(&mut self, there: impl Fn(BackendIndex) -> bool) {
        self.before.retain(|&backend, _| there(backend));
    }
}

impl Waiting {
    /// Of the sampled flows; `now`: `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn of(flows: &[(u64, SampledFlow)], now: Duration) -> Self {
        let mut waiting = Self::default();
        for (key, flow) in flows.iter().filter(|(_, flow)| flow.awaits != Awaits::Nothing as u16) {
            let age = now.saturating_sub(Duration::from_nanos(flow.since));
            if age > GIVEN_UP {
                waiting.given_up.push(*key);
            } else {
                waiting.ages.entry(flow.backend).or_default().push(age);
            }
        }
        waiting
    }
}

/// Where a bucket starts, in seconds.
fn start(bucket: usize) -> f64 {
    Duration::from_nanos(bucket_start(bucket)).as_secs_f64()
}

/// The middle of a bucket, in seconds.
fn middle(bucket: usize) -> f64 {
    f64::midpoint(start(bucket), start(bucket + 1))
}

#[cfg(test)]
mod tests {
    use super::{GIVEN_UP, Passive, Waiting};
    use crate::weight::Outcome;
    use lb_common::latency::{Awaits, LatencyStats, SampledFlow, bucket};
    use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
    use std::time::Duration;

    fn count(stats: &mut LatencyStats, nanoseconds: u64) {
        let bucket = &mut stats.buckets[bucket(nanoseconds)];
        *bucket = bucket.wrapping_add(1);
        stats.total_ns = stats.total_ns.wrapping_add(nanoseconds);
    }

    #[test]
    fn the_first_reading_tells_nothing_and_errors_are_samples() {
        let mut passive = Passive::default();
        let mut stats = LatencyStats { errors: u32::MAX, ..LatencyStats::default() };
        count(&mut stats, 5_000_000);
        assert!(passive.read(7, &stats).is_empty());
        assert!(passive.read(7, &stats).is_empty());
        stats.errors = 2;
        let read = passive.read(7, &stats);
        assert!(read.len() == 1 && read[0].0.outcome == Outcome::Error && read[0].1 == 3, "{read:?}");
        passive.retain(|_| false);
        assert!(passive.read(7, &stats).is_empty());
    }

    #[test]
    fn ages_are_of_what_waits_and_the_oldest_are_given_up() {
        let now = Duration::from_secs(1000);
        let flow = |awaits: Awaits, age: Duration, backend| SampledFlow {
            asked: 0,
            since: now.saturating_sub(age).as_nanos() as u64,
            sequence: 0,
            backend,
            awaits: awaits as u16,
        };
        let (young, old) = (Duration::from_millis(300), GIVEN_UP + Duration::from_nanos(1));
        let flows = [
            (1, flow(Awaits::Answer, young, 4)),
            (2, flow(Awaits::SynAck, GIVEN_UP, 4)),
            (3, flow(Awaits::Nothing, old, 4)),
            (4, flow(Awaits::Answer, old, 5)),
        ];
        let waiting = Waiting::of(&flows, now);
        assert_eq!(waiting.ages.into_iter().collect::<Vec<_>>(), [(4, vec![young, GIVEN_UP])]);
        assert_eq!(waiting.given_up, [4]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn means_are_right_and_no_sample_is_lost(
            start in any::<u32>(),
            latencies in proptest::collection::vec(1_000u64..2_000_000_000, 1..200),
        ) {
            let mut stats = LatencyStats { total_ns: u64::MAX - 5, buckets: [start; 32], ..LatencyStats::default() };
            let mut passive = Passive::default();
            passive.read(1, &stats);
            for latency in &latencies {
                count(&mut stats, *latency);
            }
            let read = passive.read(1, &stats);
            let number: u32 = read.iter().map(|(_, count)| count).sum();
            prop_assert_eq!(number as usize, latencies.len());
            let sum: f64 = read.iter().map(|(sample, count)| sample.latency.as_secs_f64() * f64::from(*count)).sum();
            let truth = Duration::from_nanos(latencies.iter().sum()).as_secs_f64();
            // At the worst every sample lies at one end of its bucket.
            prop_assert!((0.66..1.5).contains(&(sum / truth)), "{} {}", sum, truth);
        }

        #[test]
        fn the_mean_of_one_bucket_is_exact(latencies in proptest::collection::vec(16_777_216u64..33_554_431, 1..50)) {
            let (mut stats, mut passive) = (LatencyStats::default(), Passive::default());
            passive.read(1, &stats);
            for latency in &latencies {
                count(&mut stats, *latency);
            }
            let read = passive.read(1, &stats);
            let mean = latencies.iter().sum::<u64>() / latencies.len() as u64;
            prop_assert!(read[0].0.latency.as_nanos().abs_diff(mean.into()) <= 1, "{:?} {}", read, mean);
        }
    }
}
