//! How many slots the latency controller may move: the churn cap, as two token buckets.

use std::time::Duration;

use super::Law;

/// Why slots are to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The latency controller's weights.
    Latency,
    /// The same, for slots that leave or come to a backend that is [`super::BackendWeight::urgent`].
    UrgentLatency,
    /// A backend failed or came back, or an operator changed something: never held back.
    Exempt,
}

/// The churn cap of one service.
///
/// Each bucket holds a minute's allowance at most, so that a service at rest may move that many slots at once, and any
/// minute sees at most twice the allowance. Moves for latency draw from both buckets, urgent ones from theirs alone:
/// what was moved at leisure counts against the hurry.
#[derive(Clone, Debug)]
pub struct ChurnCap {
    ordinary: Bucket,
    urgent: Bucket,
}

#[derive(Clone, Debug)]
struct Bucket {
    /// Slots a minute, and the most it holds.
    allowance: f64,
    tokens: f64,
    filled: Duration,
}

impl ChurnCap {
    /// A cap for a table of this many slots, with whole buckets.
    #[must_use]
    pub fn new(law: &Law, slots: u32, now: Duration) -> Self {
        let bucket = |part: f64| {
            let allowance = f64::from(slots) * part;
            Bucket { allowance, tokens: allowance, filled: now }
        };
        Self { ordinary: bucket(law.churn), urgent: bucket(law.churn_urgent) }
    }

    /// How many slots may move now for this cause; [`u32::MAX`] for one that is exempt.
    pub fn available(&mut self, now: Duration, cause: Cause) -> u32 {
        self.ordinary.fill(now);
        self.urgent.fill(now);
        match cause {
            Cause::Exempt => u32::MAX,
            Cause::Latency => self.ordinary.tokens.min(self.urgent.tokens) as u32,
            Cause::UrgentLatency => self.urgent.tokens as u32,
        }
    }

    /// How many of `wanted` slots may move now. They count as moved.
    pub fn take(&mut self, now: Duration, wanted: u32, cause: Cause) -> u32 {
        let granted = wanted.min(self.available(now, cause));
        if cause == Cause::Exempt {
            return granted;
        }
        self.urgent.tokens -= f64::from(granted);
        if cause == Cause::Latency {
            self.ordinary.tokens -= f64::from(granted);
        }
        granted
    }
}

impl Bucket {
    fn fill(&mut self, now: Duration) {
        let minutes = now.saturating_sub(self.filled).as_secs_f64() / 60.0;
        self.tokens = (self.tokens + self.allowance * minutes).min(self.allowance);
        self.filled = self.filled.max(now);
    }
}
