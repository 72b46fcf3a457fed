//! Changes that an operator asks for while the balancer runs: checked against the same rules as the configuration, then
//! part of the desired state.

use super::{Standing, State};
use crate::config::{
    Backend, Service,
    rules::{self, Checked, Refusal},
};
use crate::health::threshold::Verdict;
use lb_common::{backend::Forwarding, limits::MAX_BACKENDS};
use std::{net::SocketAddr, time::Duration};

/// A change of one backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Gives a backend another weight. One that drains serves again.
    SetWeight {
        /// Name of the service.
        service: String,
        /// Name of the backend.
        backend: String,
        /// The weight; 0: no new connections.
        weight: u32,
    },
    /// Adds a backend to a service.
    AddBackend {
        /// Name of the service.
        service: String,
        /// The backend.
        backend: Backend,
    },
    /// Gives a backend no new connections, and leaves it those that it has.
    Drain {
        /// Name of the service.
        service: String,
        /// Name of the backend.
        backend: String,
        /// After so long the backend counts as dead; `None`: it keeps its connections until they end.
        deadline: Option<Duration>,
    },
    /// Takes a backend out. It keeps the connections that it has until they end.
    Remove {
        /// Name of the service.
        service: String,
        /// Name of the backend.
        backend: String,
        /// It does not: they are chosen anew at once.
        now: bool,
    },
}

impl Change {
    /// Names of the service and the backend.
    #[must_use]
    pub fn names(&self) -> (&str, &str) {
        match self {
            Self::AddBackend { service, backend } => (service, &backend.name),
            Self::SetWeight { service, backend, .. }
            | Self::Drain { service, backend, .. }
            | Self::Remove { service, backend, .. } => (service, backend),
        }
    }
}

impl State {
    /// Takes a change in, or says why not and changes nothing. Says whether the desired state may have changed. `now`:
    /// `CLOCK_MONOTONIC`, for deadlines.
    pub fn change(&mut self, change: &Change, now: Duration) -> Checked<bool> {
        let (service, backend) = change.names();
        let key = (service.to_owned(), backend.to_owned());
        let before = (self.services.clone(), self.drains.clone(), self.evict.clone());
        match change {
            Change::SetWeight { weight, .. } => {
                let weight = rules::weight(i64::from(*weight))?;
                let (service, at) = self.find(service, backend)?;
                let others = weighted(service, at);
                rules::enough_slots(service.slots, others + usize::from(weight > 0))?;
                service.backends[at].weight = weight;
                self.drains.remove(&key);
            }
            Change::AddBackend { backend, .. } => self.add(service, backend)?,
            Change::Drain { deadline, .. } => {
                self.find(service, backend)?;
                self.drains.insert(key, deadline.map(|after| now.saturating_add(after)));
            }
            Change::Remove { now: at_once, .. } => {
                let (service, at) = self.find(service, backend)?;
                service.backends.remove(at);
                if *at_once {
                    self.drains.remove(&key);
                    self.evict.insert(key);
                }
            }
        }
        Ok(before != (self.services.clone(), self.drains.clone(), self.evict.clone()))
    }

    /// Lets the deadlines that have passed take effect. Says whether any has.
    pub fn expire(&mut self, now: Duration) -> bool {
        let mut any = false;
        for (key, deadline) in &mut self.drains {
            if deadline.is_some_and(|at| at <= now && at != OVER) {
                *deadline = Some(OVER);
                self.evict.insert(key.clone());
                any = true;
            }
        }
        any
    }

    /// To be told when a plan was carried out whole: what was to be dropped at once is gone, and its name free for another.
    pub fn carried_out(&mut self) {
        self.evict.clear();
        let services = &self.services;
        let there = |(service, backend): &(String, String)| {
            let service = services.iter().find(|have| have.name == *service);
            service.is_some_and(|have| have.backends.iter().any(|have| have.name == *backend))
        };
        self.drains.retain(|key, deadline| there(key) || deadline.is_some_and(|at| at != OVER));
    }

    /// What a backend is there for, by its operator and its checks.
    pub(super) fn standing(&self, service: &Service, backend: &Backend, verdict: Verdict) -> Standing {
        let by_checks = self.vital_standing(service, backend, verdict);
        match self.drains.get(&(service.name.clone(), backend.name.clone())) {
            None => by_checks,
            Some(Some(OVER)) => Standing::Down,
            // A dead one has no connections to end.
            Some(_) if by_checks == Standing::Down => Standing::Down,
            Some(_) => Standing::Draining,
        }
    }

    fn service_mut(&mut self, name: &str) -> Checked<&mut Service> {
        let Some(at) = self.services.iter().position(|have| have.name == name) else {
            let names = self.services.iter().map(|have| have.name.as_str());
            return Err(Refusal(format!("there is no service {name:?}; {}", those(names))));
        };
        Ok(&mut self.services[at])
    }

    /// A service, and the position of one of its backends.
    fn find(&mut self, service: &str, name: &str) -> Checked<(&mut Service, usize)> {
        let service = self.service_mut(service)?;
        let Some(at) = service.backends.iter().position(|have| have.name == name) else {
            let names = service.backends.iter().map(|have| have.name.as_str());
            let (of, those) = (&service.name, those(names));
            return Err(Refusal(format!("service {of:?} has no backend {name:?}; {those}")));
        };
        Ok((service, at))
    }

    fn add(&mut self, name: &str, backend: &Backend) -> Checked<()> {
        rules::name(&backend.name)?;
        rules::weight(i64::from(backend.weight))?;
        let count: usize = self.services.iter().map(|have| have.backends.len()).sum();
        if count >= MAX_BACKENDS as usize {
            return Err(Refusal(format!(
                "there are {MAX_BACKENDS} backends already; remove one, or use another balancer"
            )));
        }
        let service = self.service_mut(name)?.clone();
        if service.backends.iter().any(|have| have.name == backend.name) {
            let (taken, of) = (&backend.name, &service.name);
            return Err(Refusal(format!(
                "service {of:?} has a backend {taken:?} already; choose another name"
            )));
        }
        let end = (backend.address, backend.port);
        if let Some(same) = service.backends.iter().find(|have| (have.address, have.port) == end) {
            let (address, of) = (backend.address, &same.name);
            return Err(Refusal(format!(
                "backend {of:?} has address {address} already; change its weight instead"
            )));
        }
        rules::reachable(service.forwarding, SocketAddr::new(service.address, service.port), end)?;
        self.answers(&service, backend)?;
        rules::enough_slots(service.slots, weighted(&service, usize::MAX) + usize::from(backend.weight > 0))?;
        let key = (name.to_owned(), backend.name.clone());
        self.drains.remove(&key);
        self.evict.remove(&key);
        self.service_mut(name)?.backends.push(backend.clone());
        Ok(())
    }

    /// That the answers of a new backend of nat tell which service they belong to.
    fn answers(&self, service: &Service, backend: &Backend) -> Checked<()> {
        if service.forwarding != Forwarding::Nat {
            return Ok(());
        }
        let address = backend.address;
        if let Some(vip) = self.services.iter().find(|have| have.address == address) {
            let name = &vip.name;
            return Err(Refusal(format!(
                "address {address} is that of service {name:?}, which nat would send on again; write the real server's"
            )));
        }
        let port = service.port_of(backend);
        let nat = self
            .services
            .iter()
            .filter(|have| have.forwarding == Forwarding::Nat && have.protocol == service.protocol);
        for have in nat {
            let meets = |other: &&Backend| {
                let theirs = have.port_of(other);
                // A service of one port takes it from the service of every port of its own address.
                let apart = have.address == service.address
                    && theirs != port
                    && (theirs == 0 && service.port == port || port == 0 && have.port == theirs);
                other.address == address && (theirs == port || theirs == 0 || port == 0) && !apart
            };
            if have.backends.iter().any(|other| meets(&other)) {
                let name = &have.name;
                return Err(Refusal(format!(
                    "{address} answers for nat service {name:?} already, and the two could not be told apart; give the backend another port or address"
                )));
            }
        }
        Ok(())
    }
}

/// A deadline that has passed.
pub(super) const OVER: Duration = Duration::MAX;

/// Backends with weight, but for the one at `except`.
fn weighted(service: &Service, except: usize) -> usize {
    let others = service.backends.iter().enumerate().filter(|(at, _)| *at != except);
    others.filter(|(_, backend)| backend.weight > 0).count()
}

fn those<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.collect();
    if names.is_empty() { "there is none".to_owned() } else { format!("there are: {}", names.join(", ")) }
}
