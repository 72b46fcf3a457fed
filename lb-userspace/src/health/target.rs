//! Who is checked: every backend of every service that has a check.

use super::{
    machine::{State, Thresholds},
    probe::{Endpoint, PrepareError, Probe},
    via::Way,
};
use crate::config::{Health, Service, Start, Via};
use std::{collections::HashMap, fmt, net::SocketAddr, sync::Arc};

/// Name of a service and of one of its backends.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The service's name.
    pub service: Arc<str>,
    /// The backend's name.
    pub backend: Arc<str>,
}

/// A backend to be checked.
#[derive(Clone, Debug)]
pub struct Target {
    /// Whose result it is.
    pub id: Id,
    /// Where the check goes. Its mark is set for each check, when there is a [`Target::way`].
    pub endpoint: Endpoint,
    /// The way through the data path that packets to the endpoint must take; `None`: the kernel's.
    pub way: Option<Way>,
    /// How it is checked.
    pub health: Arc<Health>,
    /// The check itself.
    pub probe: Arc<Probe>,
    /// What the backend is before its first check.
    pub first: State,
}

/// A service whose checks cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("health of service {service}: {cause}")]
pub struct TargetError {
    /// The service's name.
    pub service: String,
    /// Why.
    pub cause: PrepareError,
}

/// The targets of a configuration. A service without checks has none: its backends count as up.
///
/// # Errors
/// [`TargetError`] of the first service whose certificates cannot be read.
pub fn targets(services: &[Service]) -> Result<Vec<Target>, TargetError> {
    targets_beside(&[], services)
}

/// As [`targets`]; checks that are the same as those of `known` are taken from there, and their certificates not read again: a file
/// that went away meanwhile is no reason to refuse a change of something else.
///
/// # Errors
/// As [`targets`], of services whose checks are new.
pub fn targets_beside(known: &[Target], services: &[Service]) -> Result<Vec<Target>, TargetError> {
    let known: HashMap<&str, &Target> = known.iter().map(|target| (&*target.id.service, target)).collect();
    let mut targets = Vec::new();
    for service in services {
        let Some(health) = &service.health else { continue };
        let same = known.get(service.name.as_str()).filter(|target| *target.health == *health);
        let probe = match same {
            Some(target) => Arc::clone(&target.probe),
            None => Arc::new(
                Probe::new(health).map_err(|cause| TargetError { service: service.name.clone(), cause })?,
            ),
        };
        let health = Arc::new(health.clone());
        let name: Arc<str> = service.name.as_str().into();
        for backend in &service.backends {
            let port = health.port.unwrap_or_else(|| service.port_of(backend));
            // nat's own way is the backend's address and port.
            let as_vip =
                health.via == Via::DataPath && service.forwarding != lb_common::backend::Forwarding::Nat;
            let address = if as_vip { service.address } else { backend.address };
            targets.push(Target {
                id: Id { service: Arc::clone(&name), backend: backend.name.as_str().into() },
                endpoint: Endpoint {
                    address: SocketAddr::new(address, port),
                    source: health.source,
                    mark: None,
                },
                way: as_vip.then_some(Way { vip: service.address, backend: backend.address }),
                health: Arc::clone(&health),
                probe: Arc::clone(&probe),
                first: match health.start {
                    Start::Up => State::Up,
                    Start::Down => State::Down,
                },
            });
        }
    }
    Ok(targets)
}

impl Target {
    /// The thresholds of its rise and fall.
    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        let Health { rise, fall, grace, .. } = *self.health;
        Thresholds { rise, fall, grace }
    }

    /// Whether it is the same machine that is checked.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.endpoint == other.endpoint && self.way == other.way
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.backend)
    }
}
