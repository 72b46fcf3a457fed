//! Simulated time.

use std::time::Duration;

/// Nanoseconds since the start of a run, or between two moments of it.
pub type Nanos = u64;

/// A second.
pub const SECOND: Nanos = 1_000_000_000;
/// A millisecond.
pub const MILLISECOND: Nanos = 1_000_000;

/// A time as the controller takes it.
#[must_use]
pub const fn duration(time: Nanos) -> Duration {
    Duration::from_nanos(time)
}

/// A time in seconds.
#[must_use]
pub fn seconds(time: Nanos) -> f64 {
    time as f64 / SECOND as f64
}

/// A time in milliseconds.
#[must_use]
pub fn milliseconds(time: Nanos) -> f64 {
    time as f64 / MILLISECOND as f64
}

/// A time multiplied by a factor.
#[must_use]
pub fn scaled(time: Nanos, factor: f64) -> Nanos {
    (time as f64 * factor).round() as Nanos
}
