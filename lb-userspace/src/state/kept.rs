//! Run-time changes as they are kept over a restart: each with what the configuration said when it was made, so that the
//! one who spoke last has the last word. docs/durability.md tells the rule to operators.

use super::{State, changes::OVER};
use crate::config::{Service, WrittenBackend, WrittenService, validate};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// What run-time changes made of a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Services that were added, removed or replaced as a whole, by name.
    #[serde(default)]
    pub services: BTreeMap<String, Statement<WrittenService>>,
    /// Backends of configured services that were added, changed or removed, by `service/backend`.
    #[serde(default)]
    pub backends: BTreeMap<String, Statement<WrittenBackend>>,
    /// Backends that drain, by `service/backend`.
    #[serde(default)]
    pub drains: BTreeMap<String, KeptDrain>,
    /// Removed backends whose flows were to be dropped, as `service/backend`.
    #[serde(default)]
    pub evicted: Vec<String>,
}

/// What is said of something; `None`: it does not exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement<T> {
    /// By the configuration, when the change was made.
    pub configured: Option<T>,
    /// Since the change.
    pub now: Option<T>,
}

/// A drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDrain {
    /// What the configuration said of the backend when it began.
    pub configured: Option<WrittenBackend>,
    /// When it counts as dead, in seconds since 1970; 0: it does already. `None`: never.
    pub until: Option<u64>,
}

/// Both clocks at one moment: deadlines are kept by the one that goes on over a reboot.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// `CLOCK_MONOTONIC`.
    pub monotonic: Duration,
    /// `CLOCK_REALTIME`, since 1970.
    pub real: Duration,
}

impl State {
    /// The run-time changes, to be kept.
    #[must_use]
    pub fn kept(&self, clocks: Clocks) -> Kept {
        let mut kept = Kept::default();
        for now in &self.services {
            let now = WrittenService::from(now);
            match written(&self.configured, &now.name) {
                Some(configured) if same_but_backends(&configured, &now) => {
                    kept.backends.extend(differences(&configured, &now));
                }
                configured => {
                    kept.services.insert(now.name.clone(), Statement { configured, now: Some(now) });
                }
            }
        }
        for gone in self.configured.iter().filter(|have| !self.services.iter().any(|s| s.name == have.name)) {
            let statement = Statement { configured: Some(gone.into()), now: None };
            kept.services.insert(gone.name.clone(), statement);
        }
        for ((service, backend), deadline) in &self.drains {
            let until = deadline.map(|at| if at == OVER { 0 } else { clocks.real_of(at) });
            let configured = written_backend(&self.configured, service, backend);
            kept.drains.insert(key(service, backend), KeptDrain { configured, until });
        }
        kept.evicted = self.evict.iter().map(|(service, backend)| key(service, backend)).collect();
        kept
    }

    /// Takes kept changes up again, over the configuration that was just taken in. Gives what was not, and why.
    pub fn restore(&mut self, kept: &Kept, clocks: Clocks) -> Vec<String> {
        let mut notes = Vec::new();
        let mut wanted = Merged::of(&self.configured);
        let holds = self.take_up(kept, &mut wanted, &mut notes, false);
        if !holds {
            // One of the changes does not go with the configuration as it is now: each alone, to find out which.
            notes.clear();
            wanted = Merged::of(&self.configured);
            self.take_up(kept, &mut wanted, &mut notes, true);
        }
        // What does not validate alone is not in it.
        self.services = validate(&wanted.services).unwrap_or_else(|_| self.configured.clone());
        self.drains.clear();
        for (name, drain) in &kept.drains {
            let Some((service, backend)) = name.split_once('/') else { continue };
            let says = written_backend(&self.configured, service, backend);
            let gone = !self.services.iter().any(|have| have.name == service);
            if says != drain.configured || gone {
                notes.push(format!(
                    "backend {name} drains no more: the configuration says something else of it now"
                ));
                continue;
            }
            let deadline = drain.until.map(|until| clocks.monotonic_of(until));
            self.drains.insert((service.to_owned(), backend.to_owned()), deadline);
        }
        let evicted = kept.evicted.iter().filter_map(|name| name.split_once('/'));
        self.evict = evicted.map(|(service, backend)| (service.to_owned(), backend.to_owned())).collect();
        notes
    }

    /// Puts the changes into `wanted`. With `each`, those that do not validate are left out; else says whether all do.
    fn take_up(&self, kept: &Kept, wanted: &mut Merged, notes: &mut Vec<String>, each: bool) -> bool {
        for (name, statement) in &kept.services {
            let says = written(&self.configured, name);
            let what = format!("service {name}");
            if let Some(now) = statement.after(says.as_ref(), &what, notes) {
                wanted.try_or_note(each, &what, notes, |merged| merged.put_service(name, now.clone()));
            }
        }
        for (name, statement) in &kept.backends {
            let Some((service, backend)) = name.split_once('/') else { continue };
            let says = written_backend(&self.configured, service, backend);
            let what = format!("backend {name}");
            if let Some(now) = statement.after(says.as_ref(), &what, notes) {
                wanted.try_or_note(each, &what, notes, |merged| {
                    merged.put_backend(service, backend, now.clone());
                });
            }
        }
        each || validate(&wanted.services).is_ok()
    }
}

impl<T: PartialEq> Statement<T> {
    /// What holds, if it is not what the configuration says now.
    fn after(&self, says: Option<&T>, what: &str, notes: &mut Vec<String>) -> Option<&Option<T>> {
        if says == self.now.as_ref() {
            return None;
        }
        if says != self.configured.as_ref() {
            notes.push(format!(
                "the change of {what} ends: the configuration says something else of it than when it was made"
            ));
            return None;
        }
        Some(&self.now)
    }
}

/// Services that are put together.
#[derive(Clone)]
struct Merged {
    services: Vec<WrittenService>,
}

impl Merged {
    fn of(services: &[Service]) -> Self {
        Self { services: services.iter().map(WrittenService::from).collect() }
    }

    fn put_service(&mut self, name: &str, now: Option<WrittenService>) {
        self.services.retain(|have| have.name != name);
        self.services.extend(now);
    }

    fn put_backend(&mut self, service: &str, name: &str, now: Option<WrittenBackend>) {
        // Of a service that the configuration does not have any more nothing is left.
        let Some(service) = self.services.iter_mut().find(|have| have.name == service) else { return };
        let at = service.backends.iter().position(|have| have.name == name);
        match (at, now) {
            (Some(at), Some(now)) => service.backends[at] = now,
            (Some(at), None) => drop(service.backends.remove(at)),
            (None, now) => service.backends.extend(now),
        }
    }

    fn try_or_note(
        &mut self,
        each: bool,
        what: &str,
        notes: &mut Vec<String>,
        change: impl FnOnce(&mut Self),
    ) {
        let mut next = self.clone();
        change(&mut next);
        if each && let Err(problems) = validate(&next.services) {
            notes.push(format!("the change of {what} ends: {}", problems.join("; ")));
            return;
        }
        *self = next;
    }
}

impl Clocks {
    fn real_of(self, monotonic: Duration) -> u64 {
        // 0 is for what is over.
        (self.real + monotonic.saturating_sub(self.monotonic)).as_secs().max(1)
    }

    fn monotonic_of(self, until: u64) -> Duration {
        match until {
            0 => OVER,
            until => self.monotonic + Duration::from_secs(until).saturating_sub(self.real),
        }
    }
}

fn key(service: &str, backend: &str) -> String {
    format!("{service}/{backend}")
}

fn written(services: &[Service], name: &str) -> Option<WrittenService> {
    services.iter().find(|have| have.name == name).map(WrittenService::from)
}

fn written_backend(services: &[Service], service: &str, backend: &str) -> Option<WrittenBackend> {
    let service = services.iter().find(|have| have.name == service)?;
    service.backends.iter().find(|have| have.name == backend).map(WrittenBackend::from)
}

fn same_but_backends(one: &WrittenService, other: &WrittenService) -> bool {
    let bare = |service: &WrittenService| WrittenService { backends: Vec::new(), ..service.clone() };
    bare(one) == bare(other)
}

/// The backends of which two say something else.
fn differences(
    configured: &WrittenService,
    now: &WrittenService,
) -> BTreeMap<String, Statement<WrittenBackend>> {
    let of = |service: &WrittenService| -> BTreeMap<String, WrittenBackend> {
        service.backends.iter().map(|backend| (backend.name.clone(), backend.clone())).collect()
    };
    let (mut configured, now_has) = (of(configured), of(now));
    let mut all: BTreeMap<_, _> = now_has
        .into_iter()
        .map(|(name, has)| {
            let configured = configured.remove(&name);
            (key(&now.name, &name), Statement { configured, now: Some(has) })
        })
        .collect();
    all.extend(
        configured
            .into_iter()
            .map(|(name, gone)| (key(&now.name, &name), Statement { configured: Some(gone), now: None })),
    );
    all.retain(|_, statement| statement.configured != statement.now);
    all
}
