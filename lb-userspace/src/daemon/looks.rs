//! Looking at routes and neighbours while the daemon goes on with everything else: a backend that does not answer is waited for,
//! and what its health checks say must not wait with it.

use super::RETRY;
use crate::neighbour::{NextHop, ResolveError, Resolver};
use std::{future::pending, net::IpAddr, pin::Pin, time::Duration};
use tracing::warn;

/// What a look found.
pub(super) struct Looked {
    /// Each address with what netlink says of it.
    pub answers: Vec<(IpAddr, Result<NextHop, ResolveError>)>,
}

/// At most one look at a time; what is wanted meanwhile comes after it.
pub(super) struct Looks<'r> {
    resolver: &'r Resolver,
    running: Option<Pin<Box<dyn Future<Output = Looked> + 'r>>>,
    /// Another one is wanted, and whether it solicits.
    wanted: Option<bool>,
}

impl<'r> Looks<'r> {
    pub fn new(resolver: &'r Resolver) -> Self {
        Self { resolver, running: None, wanted: None }
    }

    /// Looks at these addresses, now or after the look under way. `solicit`: also asks backends that are not resolved, and has
    /// the kernel confirm those that it has not heard of for long, as it does only for neighbours of its own.
    pub fn want(&mut self, solicit: bool, addresses: impl FnOnce() -> Vec<IpAddr>) {
        if self.running.is_some() {
            self.wanted = Some(solicit || self.wanted == Some(true));
            return;
        }
        self.running = Some(Box::pin(look(self.resolver, addresses(), solicit)));
    }

    /// Begins the look that was wanted during the last one.
    pub fn again(&mut self, addresses: impl FnOnce() -> Vec<IpAddr>) {
        if let Some(solicit) = self.wanted.take() {
            self.want(solicit, addresses);
        }
    }

    /// The end of the look under way. Nothing is lost when this is dropped before.
    pub async fn next(&mut self) -> Looked {
        let Some(running) = &mut self.running else { return pending().await };
        let looked = running.await;
        self.running = None;
        looked
    }
}

async fn look(resolver: &Resolver, addresses: Vec<IpAddr>, solicit: bool) -> Looked {
    let deadline = if solicit { RETRY / 2 } else { Duration::ZERO };
    let answers = resolver.resolve_all(&addresses, deadline).await;
    if solicit {
        let known: Vec<NextHop> = answers.iter().flatten().cloned().collect();
        if let Err(error) = resolver.refresh(&known).await {
            warn!("{error}; a backend whose MAC address changes is not noticed until this works");
        }
    }
    Looked { answers: addresses.into_iter().zip(answers).collect() }
}
