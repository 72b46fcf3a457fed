//! `[service.weights]` as validated.

use crate::weight::{Law, LawError};

/// How the weights in force come about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one for each service, and none is copied often")]
pub enum Weights {
    /// They are the configured ones.
    #[default]
    Static,
    /// They follow the backends' latencies.
    Latency(Constants, LatencySource),
}

/// Where latencies come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencySource {
    /// Health checks.
    Probes,
    /// Clients' requests, of one flow in `one_of`, a power of two: nat alone, where answers pass too.
    Passive {
        /// 1 to 65,536.
        one_of: u32,
    },
}

impl LatencySource {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Probes => "probes",
            Self::Passive { .. } => "passive",
        }
    }
}

/// The constants of the control law, valid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constants(Law);

/// A valid law holds numbers alone.
impl Eq for Constants {}

impl Constants {
    /// Constants that keep their bounds.
    ///
    /// # Errors
    /// All that do not.
    pub fn new(law: Law) -> Result<Self, LawError> {
        law.validate().map(|()| Self(law))
    }

    /// The constants.
    #[must_use]
    pub const fn law(&self) -> &Law {
        &self.0
    }
}

impl Weights {
    /// Its word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Latency(..) => "latency",
        }
    }

    /// The law, where there is one.
    #[must_use]
    pub const fn law(&self) -> Option<&Law> {
        match self {
            Self::Static => None,
            Self::Latency(constants, _) => Some(constants.law()),
        }
    }

    /// Where their latencies come from, where they follow any.
    #[must_use]
    pub const fn source(&self) -> Option<LatencySource> {
        match self {
            Self::Static => None,
            Self::Latency(_, source) => Some(*source),
        }
    }

    /// One flow in how many is sampled; `None`: none is.
    #[must_use]
    pub const fn sampled(&self) -> Option<u32> {
        match self.source() {
            Some(LatencySource::Passive { one_of }) => Some(one_of),
            _ => None,
        }
    }
}
