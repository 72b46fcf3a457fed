//! What a step gives: weights for the slot table, and why they are so.

use std::{fmt, time::Duration};

use lb_common::slot::BackendIndex;

use super::{Health, Law, Standing, member::Tracked};

/// Effective weights are in this part of a configured one: at the least factor, weight 1 still has steps of 1 in 1,000,
/// and the largest weight at the largest factor fits into 32 bits.
pub const WEIGHT_SCALE: u32 = 10_000;

/// How far the law holds for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No backend that it holds for has data yet, or there is none.
    Waiting,
    /// The weights follow the latencies.
    Steering,
    /// Half of the backends or more have no data: all weights hold.
    Frozen,
    /// Too few backends are up: health and latency are ignored, and the configured weights hold.
    Panic,
}

/// The weights of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Weights {
    /// How far the law holds.
    pub mode: Mode,
    /// By index.
    pub backends: Vec<BackendWeight>,
}

/// The weight of a backend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackendWeight {
    /// The backend.
    pub index: BackendIndex,
    /// For the slot table: configured weight × factor × ramp × [`WEIGHT_SCALE`], at least 1; 0: no new connections.
    pub effective: u32,
    /// The latency's part, [`Law::floor`] to [`Law::ceiling`]. Kept, but not in force, in panic.
    pub factor: f64,
    /// The slow start's part, up to 1.
    pub ramp: f64,
    /// Whether its latency is so far from the mean that slots may leave it, or come to it, at [`Law::churn_urgent`].
    pub urgent: bool,
    /// Why it is so.
    pub standing: Standing,
    /// Mean latency of the last window that had enough samples, capped at [`Law::cap`].
    pub mean: Option<Duration>,
    /// The exponential average of those means, which the law follows.
    pub smoothed: Option<Duration>,
}

impl Mode {
    /// One word, for tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Steering => "steering",
            Self::Frozen => "frozen",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting for samples",
            Self::Steering => "weights follow the latencies",
            Self::Frozen => "half of the backends have no data: all weights hold",
            Self::Panic => {
                "PANIC: too few backends are up; health is ignored and the configured weights hold"
            }
        })
    }
}

impl Tracked {
    pub(super) fn output(&self, law: &Law, now: Duration, mode: Mode) -> BackendWeight {
        let (factor, ramp) = (self.factor(), self.ramp(law, now));
        let part = match mode {
            Mode::Panic if self.health.wanted() => 1.0,
            _ if self.health == Health::Up => factor * ramp,
            _ => 0.0,
        };
        BackendWeight {
            index: self.member.index,
            effective: effective(self.member.weight, part),
            factor,
            ramp,
            urgent: self.urgent,
            standing: self.standing,
            mean: self.estimate.mean().map(Duration::from_secs_f64),
            smoothed: self.estimate.smoothed().map(Duration::from_secs_f64),
        }
    }
}

fn effective(weight: u32, part: f64) -> u32 {
    if weight == 0 || part <= 0.0 {
        return 0;
    }
    // `as` saturates, so a weight above the configuration's largest cannot wrap.
    ((f64::from(weight) * part * f64::from(WEIGHT_SCALE)).round() as u32).max(1)
}
