//! When a check is due: pure, with the random numbers of a seeded generator.
//!
//! Checks of many backends that all began together would also hit the network, and the one server that many backends
//! hang on, together for ever. So the first ones are spread over a whole interval, and every later one comes up to
//! [`JITTER`] of the interval early. Never late: the time to notice a failure, fall x interval + timeout, is promised.

use std::time::Duration;

/// Largest part of an interval by which a check comes early.
pub const JITTER: f64 = 0.1;

/// How long from now the first check of number `place` (from 0) of `of` is due that begin together: each has its own
/// part of the interval, and stands anywhere in it.
#[must_use]
pub fn first(place: usize, of: usize, interval: Duration, random: &mut fastrand::Rng) -> Duration {
    let of = of.max(1) as u32;
    (interval * (place as u32).min(of - 1) + interval.mul_f64(random.f64())) / of
}

/// From the time when a check was due to the next: the interval, or up to [`JITTER`] of it less.
#[must_use]
pub fn gap(interval: Duration, random: &mut fastrand::Rng) -> Duration {
    interval.mul_f64(1.0 - JITTER * random.f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Instant;

    /// Of 1,000 backends at 1 s, no 10 ms begin more than the 10 that are their share, and one neighbour's.
    #[test]
    fn first_checks_do_not_come_at_once() {
        let mut random = fastrand::Rng::with_seed(1);
        let interval = Duration::from_secs(1);
        let mut slots = [0; 100];
        for place in 0..1000 {
            let due = first(place, 1000, interval, &mut random);
            slots[(due.as_millis() / 10).min(99) as usize] += 1;
        }
        assert!(slots.iter().all(|&count| (9..=11).contains(&count)), "{slots:?}");
    }

    /// After many rounds they are still spread, and two backends do not keep step.
    #[test]
    fn later_checks_drift_apart() {
        let (start, mut random) = (Instant::now(), fastrand::Rng::with_seed(2));
        let interval = Duration::from_secs(1);
        let mut due = [start; 2];
        let mut apart = Vec::new();
        for _ in 0..1000 {
            for due in &mut due {
                *due += gap(interval, &mut random);
            }
            apart.push(due[0].max(due[1]) - due[0].min(due[1]));
        }
        assert!(apart.iter().any(|apart| *apart > interval / 2), "they keep step");
    }

    #[test]
    fn the_same_seed_gives_the_same_times() {
        let times = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            (0..50).map(|_| gap(Duration::from_secs(1), &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(times(7), times(7));
        assert_ne!(times(7), times(8));
    }

    proptest! {
        #[test]
        fn a_check_is_never_late(seed: u64, millis in 1..3_600_000_u64, of in 1..5000_usize, place in 0..5000_usize) {
            let mut random = fastrand::Rng::with_seed(seed);
            let interval = Duration::from_millis(millis);
            let first = first(place.min(of - 1), of, interval, &mut random);
            prop_assert!(first <= interval, "{first:?}");
            let gap = gap(interval, &mut random);
            prop_assert!(gap <= interval && gap >= interval.mul_f64(0.9 - 1e-6), "{gap:?}");
        }
    }
}
