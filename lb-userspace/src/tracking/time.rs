//! One reading of the clock, in the units of slots and of flows.

use lb_common::flow::{TICK_SHIFT, Tick};
use std::time::Duration;

/// A reading of `CLOCK_MONOTONIC`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(Duration);

impl Now {
    /// The clock as it stands.
    #[must_use]
    pub const fn new(since_boot: Duration) -> Self {
        Self(since_boot)
    }

    /// As slots count.
    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0.as_secs() as u32
    }

    /// As flows count.
    #[must_use]
    pub const fn tick(self) -> Tick {
        (self.0.as_nanos() >> TICK_SHIFT) as Tick
    }

    /// Time since an earlier reading.
    #[must_use]
    pub const fn since(self, then: Self) -> Duration {
        self.0.saturating_sub(then.0)
    }
}
