//! Checks that are made: a connection, what is asked on it, and the answer, within a timeout.
//!
//! **The end of a connection.** A check must not look like an attack or a crash to the backend: a connection that is
//! closed while the backend's last words are unread ends with a reset, which servers log, and some count and ban for.
//! So a check says that it is done (FIN, in TLS a `close_notify` first), reads what still comes until the backend has
//! closed too, and only then closes; for [`LINGER`] at most. That comes after the outcome is known and is not part of
//! the latency. `SO_LINGER` stays off: with a time of 0 it would reset, with another one block. The side that ends
//! first keeps the connection in TIME-WAIT for a minute: this machine, but for HTTP, where `Connection: close` asks the
//! backend to. 1,000 backends at 1 s leave 60,000 such entries of some 250 bytes, and 60 of a backend's 28,000 ports.

mod connect;
mod http;
mod iso8583;
mod tls;

pub use connect::Endpoint;
pub use tls::PrepareError;

use super::report::{Failure, Obstacle, Outcome, Report};
use crate::config;
use connect::Session;
use std::pin::Pin;
use std::time::Duration;

/// How long the end of a connection may take.
pub const LINGER: Duration = Duration::from_millis(500);

/// The end of a connection, still to be awaited.
pub type Closing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A check that is ready to be made, of any backend of a service.
#[derive(Debug)]
pub struct Probe {
    kind: Kind,
    timeout: Duration,
}

#[derive(Debug)]
enum Kind {
    Tcp,
    Http(config::Http),
    Https(config::Http, tls::Client),
    Tls(tls::Client),
    Iso8583(iso8583::Echo),
}

/// Why a check gave no success.
enum Trouble {
    Failure(Failure),
    Obstacle(Obstacle),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Probe {
    /// Makes a check ready: reads the certificates that a backend's must be signed by.
    ///
    /// # Errors
    /// [`PrepareError`] when those cannot be read.
    pub fn new(health: &config::Health) -> Result<Self, PrepareError> {
        let kind = match &health.check {
            config::Check::Tcp => Kind::Tcp,
            config::Check::Http(http) => Kind::Http(http.clone()),
            config::Check::Https(http, tls) => {
                Kind::Https(http.clone(), tls::Client::new(tls, &[http::ALPN])?)
            }
            config::Check::Tls(tls) => Kind::Tls(tls::Client::new(tls, &[])?),
            config::Check::Iso8583(iso8583) => Kind::Iso8583(iso8583::Echo::new(*iso8583)),
        };
        Ok(Self { kind, timeout: health.timeout })
    }

    /// For how long a check may last, without [`LINGER`].
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Makes the check once. Await the second part for the connection to end in order.
    ///
    /// Needs a tokio runtime with I/O and time; the socket belongs to the network namespace of the thread.
    pub async fn run(&self, endpoint: &Endpoint) -> (Report, Option<Closing>) {
        let mut session = Session::new();
        let ended = tokio::time::timeout(self.timeout, self.ask(&mut session, endpoint)).await;
        let outcome = match ended {
            Ok(Ok(())) => Outcome::Passed,
            Ok(Err(Trouble::Failure(failure))) => Outcome::Failed(failure),
            Ok(Err(Trouble::Obstacle(obstacle))) => Outcome::NotMade(obstacle),
            Err(_) => Outcome::Failed(Failure::Late { phase: session.phase(), timeout: self.timeout }),
        };
        session.end(outcome)
    }

    async fn ask(&self, session: &mut Session, endpoint: &Endpoint) -> Result<(), Trouble> {
        let stream = session.connect(endpoint).await?;
        // Boxed: else a check of tcp would be as large as one of https.
        match &self.kind {
            Kind::Tcp => {
                session.close(stream);
                Ok(())
            }
            Kind::Http(http) => Box::pin(http::check(session, http, endpoint, stream)).await,
            Kind::Https(http, tls) => {
                let stream = Box::pin(tls.handshake(session, endpoint, stream)).await?;
                Box::pin(http::check(session, http, endpoint, stream)).await
            }
            Kind::Tls(tls) => {
                let stream = Box::pin(tls.handshake(session, endpoint, stream)).await?;
                session.close(stream);
                Ok(())
            }
            Kind::Iso8583(echo) => Box::pin(echo.check(session, stream)).await,
        }
    }
}
