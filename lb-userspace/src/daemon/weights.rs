//! Weights that follow latency, in the daemon: a governor for each service that asks for one, fed with samples, stepped each period.

use super::{balancer::Balancer, moves::Cause};
use crate::{
    config::{Check, LatencySource, Service},
    dataplane::Installed,
    health::{event::Checked, report::Outcome as Result},
    state::{self, Factors, installed_of},
    weight::{Governed, Governor, Outcome, Sample, Shown},
};
use lb_common::slot::BackendIndex;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    time::Duration,
};
use tracing::{info, warn};

/// The governors, by service. None of a service with static weights: it costs nothing.
#[derive(Default)]
pub(super) struct Governors {
    services: BTreeMap<String, One>,
}

struct One {
    governor: Governor,
    /// Checks are what it measures by, and not clients' requests.
    by_checks: bool,
    /// Connections of its backends, when they were last read.
    connections: BTreeMap<BackendIndex, u64>,
}

impl Governors {
    /// Has a governor for each service that asks for one.
    pub fn keep(&mut self, services: &[Service], now: Duration) {
        let mut before = std::mem::take(&mut self.services);
        for service in services {
            let Some(law) = service.weights.law() else { continue };
            let capped = !service.algorithm.tracks_all();
            let had = before.remove(&service.name);
            if let Some(had) = had {
                let by_checks = service.weights.source() == Some(LatencySource::Probes);
                let same = had.governor.is_for(law, service.slots, capped) && had.by_checks == by_checks;
                let one = if same { Some(had) } else { One::new(service, Some(&had.governor), now) };
                self.services.extend(one.map(|one| (service.name.clone(), one)));
                continue;
            }
            let by_checks = service.weights.source() == Some(LatencySource::Probes);
            if by_checks && service.health.as_ref().is_some_and(|health| health.check == Check::Tcp) {
                warn!(
                    "service {}: weights follow the latency of checks of type tcp, which is that of the kernel's handshake and not of the application; use another type if there is one",
                    service.name
                );
            }
            self.services.extend(One::new(service, None, now).map(|one| (service.name.clone(), one)));
        }
    }

    /// Takes a sample: how long a request or check of a backend took, and how it ended. `now`: `CLOCK_MONOTONIC`. Of a service
    /// whose weights are static it changes nothing.
    pub fn sample(
        &mut self,
        service: &str,
        backend: &str,
        latency: Duration,
        outcome: Outcome,
        now: Duration,
    ) {
        if let Some(one) = self.services.get_mut(service) {
            one.governor.sample(backend, latency, outcome, now);
        }
    }

    /// Takes what the data path saw of a backend, by its index: requests that ended alike, with how many they are, and the ages of all
    /// that are outstanding at `now`. A check needs no ages: its timeout makes it an error soon enough.
    pub fn seen(
        &mut self,
        service: &str,
        backend: BackendIndex,
        samples: impl IntoIterator<Item = (Sample, u32)>,
        ages: impl IntoIterator<Item = Duration>,
        now: Duration,
    ) {
        if let Some(one) = self.services.get_mut(service) {
            for (sample, times) in samples {
                one.governor.samples(backend, sample, times, now);
            }
            one.governor.outstanding(backend, ages, now);
        }
    }

    /// Takes what a check measured: from the request to its answer where one is asked, else to the end of the check. One that this
    /// machine could not make is no sample.
    pub fn checked(&mut self, checked: &Checked, now: Duration) {
        if !self.services.get(&*checked.id.service).is_some_and(|one| one.by_checks) {
            return;
        }
        let report = &checked.report;
        let outcome = match report.outcome {
            Result::Passed => Outcome::Success,
            Result::Failed(_) => Outcome::Error,
            Result::NotMade(_) => return,
        };
        let latency = report.first_byte.unwrap_or(report.latency);
        self.sample(&checked.id.service, &checked.id.backend, latency, outcome, now);
    }

    /// What is to be shown, by service.
    pub fn shown(&self) -> BTreeMap<String, Shown> {
        self.services.iter().map(|(name, one)| (name.clone(), one.governor.shown())).collect()
    }

    fn explain(&self, service: &str, now: Duration) -> Option<String> {
        self.services.get(service).map(|one| one.governor.explain(now))
    }
}

impl One {
    fn new(service: &Service, heir_of: Option<&Governor>, now: Duration) -> Option<Self> {
        let law = *service.weights.law()?;
        let governor = Governor::new(law, service.slots, !service.algorithm.tracks_all(), now);
        match governor {
            Ok(mut governor) => {
                if let Some(other) = heir_of {
                    governor.inherit(other);
                }
                let by_checks = service.weights.source() == Some(LatencySource::Probes);
                Some(Self { governor, by_checks, connections: BTreeMap::new() })
            }
            // The configuration holds valid constants alone.
            Err(error) => {
                warn!("service {}: its weights stay as configured: {error}", service.name);
                None
            }
        }
    }
}

impl Balancer {
    /// Has each governor whose time it is take a step, and the slots follow.
    pub(super) fn steer(&mut self, now: Duration) {
        let due: Vec<String> = self
            .governors
            .services
            .iter()
            .filter(|(_, one)| one.governor.is_due(now))
            .map(|(name, _)| name.clone())
            .collect();
        if due.is_empty() {
            return;
        }
        let installed = match self.installed() {
            Ok(installed) => installed,
            Err(error) => return warn!("{error:#}; weights stay as they are until this works"),
        };
        self.take_samples(&due, &installed, now);
        let mut moved = 0;
        for name in due {
            moved += self.step(&name, &installed, now);
        }
        if moved > 0 {
            self.reconcile_or_warn(Some(Cause::Latency));
        }
    }

    /// One step of a service; gives how many slots are to move.
    fn step(&mut self, name: &str, installed: &Installed, now: Duration) -> u32 {
        let backends = self.governed(name, installed);
        let connections: Vec<_> =
            backends.iter().map(|backend| (backend.index, self.connections(backend.index))).collect();
        let Some(one) = self.governors.services.get_mut(name) else { return 0 };
        let opened = one.opened(connections);
        one.governor.requests(opened);
        let before = one.governor.mode();
        let step = one.governor.step(&backends, now);
        let mode = one.governor.mode();
        if mode != before {
            info!("service {name}: {mode}");
            self.events.tell("weights", name, json!({ "mode": mode.word(), "reason": mode.to_string() }));
        }
        self.state.handle(state::Event::Factors(Factors { service: name.to_owned(), factors: step.factors }));
        step.moved
    }

    /// The backends of a service that the maps have, as its governor is to see them.
    fn governed(&self, name: &str, installed: &Installed) -> Vec<Governed> {
        let service = self.state.services().iter().find(|have| have.name == name);
        let there = installed.services.iter().find(|have| have.name == name);
        let Some((service, there)) = service.zip(there) else { return Vec::new() };
        let mut slots: HashMap<BackendIndex, u32> = HashMap::new();
        for slot in &there.slots {
            *slots.entry(slot.backend).or_default() += 1;
        }
        let all = self.state.steered(service).into_iter().filter_map(|backend| {
            let have = installed_of(installed, there, &backend.name, backend.address)?;
            Some(Governed {
                index: have.index,
                slots: slots.get(&have.index).copied().unwrap_or_default(),
                name: backend.name,
                weight: backend.weight,
                share: backend.share,
                health: backend.health,
                factor: backend.factor,
            })
        });
        all.collect()
    }

    /// Why the weights of a service are what they are, a line each; `None`: there is no such service.
    pub(super) fn explain(&self, name: &str, now: Duration) -> Option<Vec<String>> {
        let service = self.state.services().iter().find(|have| have.name == name)?;
        let mut text = self
            .governors
            .explain(name, now)
            .unwrap_or_else(|| "weights are static: the configured ones, with slow start\n".to_owned());
        if self.vitals.panics(name) {
            text.insert_str(0, "PANIC: too few backends are up; health is ignored\n");
        }
        let desired = self.state.desired();
        let own = desired.iter().find(|have| have.name == service.name).into_iter();
        for backend in own.flat_map(|service| &service.backends) {
            let standing = format!("{:?}", backend.standing).to_lowercase();
            let (weight, force) = (backend.weight, backend.effective_weight());
            // Writing to a string cannot fail.
            let _ = write!(text, "{}: weight {weight}, in force {force:.1}, {standing}", backend.name);
            if let Some(row) = self.vitals.ledger().row(name, &backend.name) {
                let _ = write!(text, "; checks: {} since {}", row.state, row.since);
                if let Some(reason) = row.reason {
                    let _ = write!(text, ", {reason}");
                }
            }
            text.push('\n');
        }
        Some(text.lines().map(str::to_owned).collect())
    }
}

impl One {
    /// Connections that were opened since the last time.
    fn opened(&mut self, now: Vec<(BackendIndex, u64)>) -> u64 {
        let before = std::mem::replace(&mut self.connections, now.into_iter().collect());
        let all = self.connections.iter();
        // A backend that is new has no time before; one whose index was given anew counts from 0.
        all.map(|(index, count)| count.saturating_sub(before.get(index).copied().unwrap_or(*count))).sum()
    }
}
