//! Why a weight is what it is.

use std::fmt;

/// What the last step did with a backend's weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Follows its latency.
    Steering,
    /// Its latency is within the deadband around the mean, and its weight is the configured one.
    Level,
    /// Its latency is within the deadband around the mean, so its weight is drawn to the configured one.
    Returning,
    /// Would go further, but for this.
    Clamped(Clamp),
    /// Too few samples for a step; this many so far.
    Held {
        /// In the open window.
        samples: u32,
    },
    /// Has had no sample for too long, and returns to its configured weight.
    Drifting,
    /// Does not change, whatever the samples say.
    Frozen(Freeze),
}

/// What kept a weight from going further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clamp {
    /// The least factor.
    Floor,
    /// The largest factor.
    Ceiling,
    /// The largest change in a step.
    Step,
    /// The slots moved so far: the weight waits for them.
    Slots,
}

/// Why a weight does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// Half of the service's backends, or more, have no data: it is the measuring that fails.
    DataMissing,
    /// Too few of the service's backends are up; health is ignored and the configured weights hold.
    Panic,
    /// Its checks fail.
    Down,
    /// An operator lets its connections end.
    Draining,
    /// An operator took it out.
    Disabled,
    /// Its configured weight is 0.
    WeightZero,
    /// It came up a short while ago.
    SlowStart,
}

impl Standing {
    /// Whether it is the same but for numbers that change all the time.
    #[must_use]
    pub fn same_kind(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
            && match (self, other) {
                (Self::Clamped(this), Self::Clamped(that)) => this == that,
                (Self::Frozen(this), Self::Frozen(that)) => this == that,
                _ => true,
            }
    }

    /// One word, for tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Steering => "steering",
            Self::Level => "level",
            Self::Returning => "returning",
            Self::Clamped(_) => "clamped",
            Self::Held { .. } => "held",
            Self::Drifting => "drifting",
            Self::Frozen(_) => "frozen",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steering => f.write_str("follows its latency"),
            Self::Level => f.write_str("level: its latency is near the mean"),
            Self::Returning => f.write_str("its latency is near the mean: returns to its configured weight"),
            Self::Clamped(clamp) => write!(f, "clamped: {clamp}"),
            Self::Held { samples: 0 } => f.write_str("held: no sample yet"),
            Self::Held { samples: 1 } => f.write_str("held: too few samples, 1 so far"),
            Self::Held { samples } => write!(f, "held: too few samples, {samples} so far"),
            Self::Drifting => f.write_str("no data: returns to its configured weight"),
            Self::Frozen(freeze) => write!(f, "frozen: {freeze}"),
        }
    }
}

impl fmt::Display for Clamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Floor => "at the least factor",
            Self::Ceiling => "at the largest factor",
            Self::Step => "as fast as a step may be",
            Self::Slots => "ahead of the slots moved so far",
        })
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataMissing => "half of the backends have no data",
            Self::Panic => "too few backends are up, the configured weights hold",
            Self::Down => "down",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::WeightZero => "its configured weight is 0",
            Self::SlowStart => "slow start",
        })
    }
}
