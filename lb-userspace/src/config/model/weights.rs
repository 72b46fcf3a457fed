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
    Latency(Constants),
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
            Self::Latency(_) => "latency",
        }
    }

    /// The law, where there is one.
    #[must_use]
    pub const fn law(&self) -> Option<&Law> {
        match self {
            Self::Static => None,
            Self::Latency(constants) => Some(constants.law()),
        }
    }
}
