//! What health checks found of the backends, and what it makes of their standing and share. It has no clock: the time
//! that slow starts go by is the one that [`State::advance`] was last told.

use super::{DesiredBackend, Standing, State, installed_of};
use crate::{
    config::{Backend, Service, Start},
    dataplane::Installed,
    health::{
        machine::{self, slow_start},
        threshold::{Verdict, judge},
    },
    weight::WEIGHT_SCALE,
};
use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
    time::Duration,
};

/// What the checks of a backend say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// Its state.
    pub state: machine::State,
    /// Whether a check had its say; else it is what it begins as.
    pub tried: bool,
    /// When it last came up from another state, on `CLOCK_MONOTONIC`; `None`: it did not.
    pub recovered_at: Option<Duration>,
}

/// What is known of a backend's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vital {
    state: machine::State,
    tried: bool,
    recovered_at: Option<Duration>,
    /// Whose health it is: a backend with another address is another one.
    place: Place,
}

type Place = (IpAddr, u16);

/// By service and backend.
pub(super) type Vitals = BTreeMap<String, BTreeMap<String, Vital>>;

const fn place(backend: &Backend) -> Place {
    (backend.address, backend.port)
}

impl State {
    /// Takes in what checks found. Says whether the desired state may have changed.
    pub(super) fn found(&mut self, finding: Finding) -> bool {
        let Finding { service, backend, state, tried, recovered_at } = finding;
        let have = self.services.iter().find(|have| have.name == service && have.health.is_some());
        let have = have.and_then(|service| service.backends.iter().find(|have| have.name == backend));
        // Of a backend that was just taken out, or a service that is not checked any more.
        let Some(have) = have else { return false };
        let place = place(have);
        let own = self.vitals.entry(service).or_default();
        let tried = tried || own.get(&backend).is_some_and(|before| before.tried && before.place == place);
        let vital = Vital { state, tried, recovered_at, place };
        own.insert(backend, vital) != Some(vital)
    }

    /// The state that checks found a backend in; of one that is not checked yet what it begins as; `None`: it never is.
    #[must_use]
    pub fn health_of(&self, service: &str, backend: &str) -> Option<machine::State> {
        let service = self.services.iter().find(|have| have.name == service)?;
        let backend = service.backends.iter().find(|have| have.name == backend)?;
        self.vital(service, backend).map(|vital| vital.state)
    }

    fn vital(&self, service: &Service, backend: &Backend) -> Option<Vital> {
        let health = service.health.as_ref()?;
        let known = self.vitals.get(&service.name).and_then(|own| own.get(&backend.name));
        let state = match health.start {
            Start::Up => machine::State::Up,
            Start::Down => machine::State::Down,
        };
        let place = place(backend);
        let begins = Vital { state, tried: false, recovered_at: None, place };
        Some(known.copied().filter(|vital| vital.place == place).unwrap_or(begins))
    }

    /// Whether the health of a service is heeded. Backends without weight, or that an operator drains, have no say, and
    /// neither have those that begin as down and were not checked yet.
    #[must_use]
    pub fn verdict(&self, service: &Service) -> Verdict {
        if service.health.is_none() {
            return Verdict::Heeded;
        }
        let wanted = service.backends.iter().filter(|backend| {
            backend.weight > 0 && !self.drains.contains_key(&(service.name.clone(), backend.name.clone()))
        });
        let vitals = wanted.filter_map(|backend| self.vital(service, backend));
        let has_say = |vital: &Vital| vital.tried || vital.state == machine::State::Up;
        judge(vitals.filter(has_say).map(|vital| vital.state), service.panic_threshold)
    }

    /// What a backend's checks make of its standing.
    pub(super) fn vital_standing(&self, service: &Service, backend: &Backend, verdict: Verdict) -> Standing {
        let state = self.vital(service, backend).map_or(machine::State::Up, |vital| vital.state);
        match verdict.effective(state) {
            machine::State::Up => Standing::Serving,
            machine::State::Failing => Standing::Failing,
            machine::State::Down => Standing::Down,
        }
    }

    /// A backend's weight for the slot table.
    pub(super) fn share(&self, service: &Service, backend: &Backend, verdict: Verdict) -> u32 {
        let factor = if verdict == Verdict::Heeded { self.factor(service, backend) } else { 1.0 };
        part_of(self.risen_share(service, backend, verdict), factor)
    }

    /// The same without what latency makes of it.
    pub(super) fn risen_share(&self, service: &Service, backend: &Backend, verdict: Verdict) -> u32 {
        let ramp = if verdict == Verdict::Heeded { self.ramp(service, backend) } else { 1.0 };
        part_of(DesiredBackend::whole_share(backend.weight), ramp)
    }

    /// The slow start's part of a backend's weight.
    fn ramp(&self, service: &Service, backend: &Backend) -> f64 {
        let recovered_at = self.vital(service, backend).and_then(|vital| vital.recovered_at);
        let passed = recovered_at.map(|recovered_at| self.clock.saturating_sub(recovered_at));
        slow_start(passed, service.slow_start)
    }

    /// Lets time pass for slow starts. Says whether the desired state may have changed. `now`: `CLOCK_MONOTONIC`.
    pub fn advance(&mut self, now: Duration) -> bool {
        let rises = |state: &Self| {
            let mut all = state.services.iter().filter(|service| state.vitals.contains_key(&service.name));
            all.any(|service| service.backends.iter().any(|backend| state.ramp(service, backend) < 1.0))
        };
        let rose = rises(self);
        self.clock = now;
        self.forget_gone();
        rose || rises(self)
    }

    /// Drops what is known of backends that are no more.
    fn forget_gone(&mut self) {
        let services = &self.services;
        self.vitals.retain(|name, own| {
            let service = services.iter().find(|have| have.name == *name && have.health.is_some());
            let Some(service) = service else { return false };
            own.retain(|name, _| service.backends.iter().any(|have| have.name == *name));
            !own.is_empty()
        });
        self.factors
            .retain(|name, _| services.iter().any(|have| have.name == *name && have.weights.law().is_some()));
    }

    /// Takes over from an earlier daemon, by what the maps say, which backends were out: one that is marked as dead is down,
    /// and one that no slot names though it has weight is failing. They have to rise first.
    pub fn adopt_health(&mut self, installed: &Installed) {
        for service in self.services.clone() {
            let there = installed.services.iter().find(|have| have.name == service.name);
            let Some(there) = there.filter(|_| service.health.is_some()) else { continue };
            let named: HashSet<_> = there.slots.iter().map(|slot| slot.backend).collect();
            for backend in &service.backends {
                let have = installed_of(installed, there, &backend.name, backend.address);
                let Some(have) = have else { continue };
                let drains = self.drains.contains_key(&(service.name.clone(), backend.name.clone()));
                let had_weight = have.weight > 0 && have.record.next_hop.is_resolved() && !drains;
                let state = match (have.record.next_hop.is_down(), named.contains(&have.index)) {
                    (true, _) => machine::State::Down,
                    (false, false) if had_weight => machine::State::Failing,
                    _ => continue,
                };
                self.found(Finding {
                    service: service.name.clone(),
                    backend: backend.name.clone(),
                    state,
                    tried: true,
                    recovered_at: None,
                });
            }
        }
    }
}

/// A backend with weight keeps a share, however small.
fn part_of(share: u32, factor: f64) -> u32 {
    if share == 0 { 0 } else { ((f64::from(share) * factor).round() as u32).max(1) }
}

impl DesiredBackend {
    /// The share of a backend that has its whole weight.
    #[must_use]
    pub const fn whole_share(weight: u32) -> u32 {
        weight * WEIGHT_SCALE
    }
}
