//! Health checks in the daemon: who is checked, and what becomes of what the checks tell.

use super::{
    balancer::{Balancer, now},
    moves::{Cause, Moves},
};
use crate::{
    config::Service,
    health::{
        event::{Change, Checked, Event},
        ledger::{Clock, Ledger},
        machine, runner,
        target::{Id, Target, TargetError, targets_beside},
        threshold::{Notice, Verdict},
    },
    state::{self, Finding},
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::json;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::Receiver;
use tracing::{debug, error, info, warn};

/// Events that are taken in before the maps follow.
const AT_ONCE: usize = 4096;

/// The checks, and what they found.
pub(super) struct Vitals {
    /// One moment on the clock of events and on `CLOCK_MONOTONIC`.
    epoch: (Instant, Duration),
    /// `None`: they have not begun.
    runner: Option<runner::Handle>,
    targets: Vec<Target>,
    ledger: Ledger,
    /// Services whose health is ignored.
    panics: BTreeSet<String>,
}

/// What is to be shown of health, beside the rows.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// The checks.
    pub ledger: Ledger,
    /// Slots that moved.
    pub moves: Moves,
}

/// Lets this process open as many files as it may: a check holds a socket.
pub(super) fn raise_open_files() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        warn!(
            "cannot raise the limit of open files ({error}); with many backends, health checks may come late"
        );
    }
}

impl Vitals {
    /// No checks yet.
    pub fn new() -> Self {
        let (targets, ledger, panics) = (Vec::new(), Ledger::default(), BTreeSet::new());
        Self { epoch: (Instant::now(), now()), runner: None, targets, ledger, panics }
    }

    /// A time of events on `CLOCK_MONOTONIC`; always the same for the same.
    fn monotonic(&self, at: Instant) -> Duration {
        let (instant, monotonic) = self.epoch;
        monotonic + at.saturating_duration_since(instant)
    }

    /// Who is to be checked of these services. `afresh`: certificates are read again.
    pub fn targets(&self, services: &[Service], afresh: bool) -> Result<Vec<Target>, TargetError> {
        targets_beside(if afresh { &[] } else { &self.targets }, services)
    }

    /// The checks, for rows.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether a service's health is ignored.
    pub fn panics(&self, service: &str) -> bool {
        self.panics.contains(service)
    }
}

impl Balancer {
    /// Begins the checks.
    pub fn begin_checks(&mut self, targets: Vec<Target>) -> Receiver<Event> {
        raise_open_files();
        let (runner, events) = runner::spawn(runner::Options::default());
        self.vitals.runner = Some(runner);
        self.check(targets);
        events
    }

    /// Checks these from now on. A new one begins as the state knows it.
    pub(super) fn check(&mut self, mut targets: Vec<Target>) {
        for target in &mut targets {
            let known = self.state.health_of(&target.id.service, &target.id.backend);
            target.first = known.unwrap_or(target.first);
        }
        self.vitals.ledger.keep(&targets);
        if let Some(runner) = &self.vitals.runner {
            runner.replace(targets.clone());
        }
        self.vitals.targets = targets;
        self.governors.keep(self.state.services(), now());
    }

    /// Takes in what the checks tell, all that there is, and brings the maps after it once.
    pub fn hear(&mut self, first: Event, more: &mut Receiver<Event>) {
        let mut changed = false;
        let mut next = Some(first);
        for _ in 0..AT_ONCE {
            let Some(event) = next else { break };
            changed |= self.take(event);
            next = more.try_recv().ok();
        }
        if let Some(event) = next {
            changed |= self.take(event);
        }
        if changed {
            self.reconcile_or_warn(Some(Cause::Health));
        }
    }

    fn take(&mut self, event: Event) -> bool {
        let clock = Clock::now();
        match event {
            Event::Changed(change) => {
                self.vitals.ledger.changed(&change, clock);
                self.tell(&change);
                let Change { id, from, to, recovered_at, .. } = change;
                self.find(&id, to, from.is_some(), recovered_at)
            }
            Event::Checked(checked) => {
                self.vitals.ledger.checked(&checked, clock);
                self.governors.checked(&checked, self.vitals.monotonic(checked.at));
                let failed = checked.report.success() == Some(false);
                let Checked { id, state, recovered_at, .. } = checked;
                self.find(&id, state, failed, recovered_at)
            }
        }
    }

    fn find(&mut self, id: &Id, state: machine::State, tried: bool, recovered_at: Option<Instant>) -> bool {
        let recovered_at = recovered_at.map(|at| self.vitals.monotonic(at));
        let (service, backend) = (id.service.to_string(), id.backend.to_string());
        self.state.handle(state::Event::Health(Finding { service, backend, state, tried, recovered_at }))
    }

    /// Logs a change, and tells who listens.
    fn tell(&self, change: &Change) {
        let Change { id, from, to, run, cause, .. } = change;
        let Some(from) = from else { return debug!("{change}") };
        match to {
            machine::State::Up => info!("{change}"),
            machine::State::Failing | machine::State::Down => warn!("{change}"),
        }
        let reason = match to {
            machine::State::Up => format!("passed {run} times in a row"),
            _ => cause.as_ref().map_or_else(String::new, ToString::to_string),
        };
        let told = json!({ "from": from.word(), "state": to.word(), "reason": reason, "checks": run });
        self.events.tell("health", id.to_string(), told);
    }

    /// Says loudly when a service's health begins or ends to be ignored.
    pub(super) fn tell_panics(&mut self) {
        let mut news = Vec::new();
        for service in self.state.services() {
            let verdict = self.state.verdict(service);
            let panics = verdict != Verdict::Heeded;
            if panics != self.vitals.panics(&service.name) {
                news.push((service.name.clone(), verdict, service.panic_threshold));
            }
        }
        let services = self.state.services();
        self.vitals.panics.retain(|name| services.iter().any(|service| service.name == *name));
        for (name, verdict, threshold) in news {
            let notice = Notice { service: &name, verdict, threshold }.to_string();
            let panics = verdict != Verdict::Heeded;
            if panics {
                error!("{notice}");
            } else {
                info!("{notice}");
            }
            self.events.tell("panic", name.clone(), json!({ "panic": panics, "reason": notice }));
            if panics {
                self.vitals.panics.insert(name);
            } else {
                self.vitals.panics.remove(&name);
            }
        }
    }

    /// What is to be shown of health, beside the rows.
    pub(super) fn shown(&self) -> Shown {
        Shown { ledger: self.vitals.ledger.clone(), moves: self.moves.clone() }
    }
}
