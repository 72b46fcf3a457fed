//! What one check of one backend found.

use std::time::{Duration, SystemTime};

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Whether it passed, and why not.
    pub outcome: Outcome,
    /// From its start to the outcome. Of a check that passed the connection is closed afterwards, which is not in here.
    pub latency: Duration,
    /// From its start to the established connection; `None`: there was none.
    pub connect: Option<Duration>,
    /// From the request to the first byte of its answer (http, https: to the end of the answer's head); `None`:
    /// nothing was asked or nothing answered.
    pub first_byte: Option<Duration>,
    /// The backend's certificate, also when it was found wanting; `None`: it showed none.
    pub certificate: Option<Certificate>,
}

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend did what was asked.
    Passed,
    /// It did not.
    Failed(Failure),
    /// The check could not be made, which says nothing of the backend: neither a success nor a failure.
    NotMade(Obstacle),
}

/// What a certificate tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Until when it is valid.
    pub not_after: SystemTime,
}

/// How far a check had come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No connection yet.
    Connect,
    /// Connected, no TLS yet.
    Handshake,
    /// Asked, no whole answer yet.
    Answer,
}

/// Why a backend did not pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Time ran out.
    #[error("no {} within {} ms", .phase.lacks(), .timeout.as_millis())]
    Late {
        /// What it was waited for.
        phase: Phase,
        /// For how long, from the start of the check.
        timeout: Duration,
    },
    /// Connecting failed.
    #[error("no connection: {0}")]
    Connect(String),
    /// The connection broke or was closed before the answer was whole.
    #[error("the connection ended before the answer: {0}")]
    Broken(String),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
    /// What came is not what the protocol says.
    #[error("{0}")]
    Protocol(String),
    /// HTTP answered with a status that does not pass.
    #[error("answered with status {status}, not {first} to {last}")]
    Status {
        /// The status.
        status: u16,
        /// Least that passes.
        first: u16,
        /// Greatest that passes.
        last: u16,
    },
    /// The text is not in the body.
    #[error("the answer's body does not hold {0:?}")]
    Body(String),
    /// The result never came.
    #[error("the check did not end")]
    Lost,
}

/// Why a check could not be made on this machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// The machine has no socket, port or memory left.
    #[error("no socket to be had ({0}); raise the limit of open files (LimitNOFILE=, ulimit -n)")]
    Resources(String),
    /// The source address is not one of this machine's, or has no port left.
    #[error("cannot send from {0}; give this machine the address, or correct `source` in [service.health]")]
    Source(String),
    /// The way through the data path is not there.
    #[error("no way to the backend in the data path: {0}")]
    Way(String),
}

impl Phase {
    const fn lacks(self) -> &'static str {
        match self {
            Self::Connect => "connection",
            Self::Handshake => "TLS handshake",
            Self::Answer => "answer",
        }
    }
}

impl Report {
    /// Whether the check counts as a success or a failure; `None`: as neither.
    #[must_use]
    pub const fn success(&self) -> Option<bool> {
        match self.outcome {
            Outcome::Passed => Some(true),
            Outcome::Failed(_) => Some(false),
            Outcome::NotMade(_) => None,
        }
    }

    /// A check that failed without any measurement.
    #[must_use]
    pub const fn lost(latency: Duration) -> Self {
        let outcome = Outcome::Failed(Failure::Lost);
        Self { outcome, latency, connect: None, first_byte: None, certificate: None }
    }
}
