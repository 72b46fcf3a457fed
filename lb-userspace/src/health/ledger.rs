//! What is to be shown of health checks: the last result of each backend, and counts. Pure: times come with the events.

use super::{
    event::{Change, Checked},
    machine::State,
    report::{Outcome, Report},
    target::{Id, Target},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use utoipa::ToSchema;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The clock of events.
    pub monotonic: Instant,
    /// The clock of calendars.
    pub real: SystemTime,
}

/// What is known of all checks.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    backends: BTreeMap<Id, Entry>,
    services: BTreeMap<Arc<str>, Durations>,
}

/// What is known of the checks of a backend.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// The last check that ended.
    pub last: Option<Last>,
    /// How often it came to each state from another, in the order of [`STATES`].
    pub transitions: [u64; 3],
    /// Checks by [`Outcome`]: passed, failed, not made; in the order of [`RESULTS`].
    pub checks: [u64; 3],
    /// Until when its certificate is valid.
    pub certificate: Option<SystemTime>,
}

/// A check that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// When.
    pub at: SystemTime,
    /// Position in [`RESULTS`].
    pub result: usize,
    /// Why it did not pass.
    pub reason: Option<String>,
    /// How long it took.
    pub latency: Duration,
}

/// The states, in the order in which transitions to them are counted.
pub const STATES: [State; 3] = [State::Up, State::Failing, State::Down];
/// Words of the results, in the order in which they are counted.
pub const RESULTS: [&str; 3] = ["passed", "failed", "not-made"];
/// Upper bounds of the histogram of durations, in seconds.
pub const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// How long the checks of a service took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Durations {
    /// Checks at most as long as each of [`BOUNDS`].
    pub within: [u64; BOUNDS.len()],
    /// All checks.
    pub count: u64,
    /// Sum of their durations, in seconds.
    pub sum: f64,
}

/// What the checks of a backend say, in JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthRow {
    /// `up`, `failing` or `down`; also while a panic has it ignored.
    pub state: String,
    /// Since when (RFC 3339).
    pub since: String,
    /// Of the last check: `passed`, `failed`, or `not-made` where this machine could not make it; null before the first.
    pub result: Option<String>,
    /// Why it did not pass.
    pub reason: Option<String>,
    /// When it ended (RFC 3339).
    pub checked_at: Option<String>,
    /// How long it took, in seconds.
    pub latency_seconds: Option<f64>,
    /// How often the backend came to another state since the daemon began.
    pub transitions: u64,
    /// Until when its certificate is valid (RFC 3339); null where it shows none.
    pub certificate_until: Option<String>,
}

impl Ledger {
    /// Forgets what is not checked any more.
    pub fn keep(&mut self, targets: &[Target]) {
        let ids: HashSet<&Id> = targets.iter().map(|target| &target.id).collect();
        self.backends.retain(|id, _| ids.contains(id));
        let services: HashSet<&Arc<str>> = ids.iter().map(|id| &id.service).collect();
        self.services.retain(|service, _| services.contains(service));
    }

    /// Takes a change of state in.
    pub fn changed(&mut self, change: &Change, clock: Clock) {
        let since = clock.real_of(change.at);
        let entry = self.backends.entry(change.id.clone()).or_insert_with(|| Entry::new(change.to, since));
        if change.from.is_some() {
            entry.transitions[position(change.to)] += 1;
        }
        (entry.state, entry.since) = (change.to, since);
    }

    /// Takes a check in.
    pub fn checked(&mut self, checked: &Checked, clock: Clock) {
        let Checked { id, at, state, report, .. } = checked;
        let at = clock.real_of(*at);
        let entry = self.backends.entry(id.clone()).or_insert_with(|| Entry::new(*state, at));
        entry.checked(at, report);
        if report.success().is_some() {
            self.services.entry(Arc::clone(&id.service)).or_default().add(report.latency);
        }
    }

    /// What is known of the backends.
    pub fn backends(&self) -> impl Iterator<Item = (&Id, &Entry)> {
        self.backends.iter()
    }

    /// How long checks took, by service.
    pub fn services(&self) -> impl Iterator<Item = (&str, &Durations)> {
        self.services.iter().map(|(service, durations)| (&**service, durations))
    }

    /// What is known of a backend, in JSON.
    #[must_use]
    pub fn row(&self, service: &str, backend: &str) -> Option<HealthRow> {
        let id = Id { service: service.into(), backend: backend.into() };
        self.backends.get(&id).map(HealthRow::from)
    }
}

impl Entry {
    const fn new(state: State, since: SystemTime) -> Self {
        Self { state, since, last: None, transitions: [0; 3], checks: [0; 3], certificate: None }
    }

    fn checked(&mut self, at: SystemTime, report: &Report) {
        let (result, reason) = match &report.outcome {
            Outcome::Passed => (0, None),
            Outcome::Failed(failure) => (1, Some(failure.to_string())),
            Outcome::NotMade(obstacle) => (2, Some(obstacle.to_string())),
        };
        self.checks[result] += 1;
        self.certificate = report.certificate.map(|certificate| certificate.not_after).or(self.certificate);
        self.last = Some(Last { at, result, reason, latency: report.latency });
    }
}

impl Durations {
    fn add(&mut self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        for (within, bound) in self.within.iter_mut().zip(BOUNDS) {
            *within += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

impl Clock {
    /// Both clocks now.
    #[must_use]
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), real: SystemTime::now() }
    }

    fn real_of(self, at: Instant) -> SystemTime {
        let ago = self.monotonic.saturating_duration_since(at);
        self.real.checked_sub(ago).unwrap_or(self.real)
    }
}

impl From<&Entry> for HealthRow {
    fn from(entry: &Entry) -> Self {
        let time = |at: SystemTime| humantime::format_rfc3339_millis(at).to_string();
        let last = entry.last.as_ref();
        Self {
            state: entry.state.word().to_owned(),
            since: time(entry.since),
            result: last.map(|last| RESULTS[last.result].to_owned()),
            reason: last.and_then(|last| last.reason.clone()),
            checked_at: last.map(|last| time(last.at)),
            latency_seconds: last.map(|last| last.latency.as_secs_f64()),
            transitions: entry.transitions.iter().sum(),
            certificate_until: entry.certificate.map(time),
        }
    }
}

fn position(state: State) -> usize {
    STATES.iter().position(|have| *have == state).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Clock, Ledger};
    use crate::health::{
        event::{Change, Checked},
        machine::State::{self, Down, Failing, Up},
        report::{Failure, Outcome, Report},
        target::Id,
    };
    use std::time::Duration;

    fn id() -> Id {
        Id { service: "web".into(), backend: "b".into() }
    }

    fn change(from: Option<State>, to: State, clock: Clock) -> Change {
        Change { id: id(), from, to, at: clock.monotonic, recovered_at: None, run: 3, cause: None }
    }

    fn report(outcome: Outcome, milliseconds: u64) -> Report {
        let latency = Duration::from_millis(milliseconds);
        Report { outcome, latency, connect: None, first_byte: None, certificate: None }
    }

    #[test]
    fn the_last_check_and_the_transitions_are_shown() {
        let (mut ledger, clock) = (Ledger::default(), Clock::now());
        assert_eq!(ledger.row("web", "b"), None);
        ledger.changed(&change(None, Up, clock), clock);
        let row = ledger.row("web", "b").unwrap();
        assert_eq!((row.state.as_str(), row.transitions, row.result), ("up", 0, None));
        for (from, to) in [(Up, Failing), (Failing, Down), (Down, Up), (Up, Failing)] {
            ledger.changed(&change(Some(from), to, clock), clock);
        }
        let failed = Outcome::Failed(Failure::Connect("connection refused".to_owned()));
        for (outcome, milliseconds) in [(Outcome::Passed, 3), (Outcome::Passed, 30), (failed, 300)] {
            let report = report(outcome, milliseconds);
            let checked =
                Checked { id: id(), at: clock.monotonic, state: Failing, recovered_at: None, report };
            ledger.checked(&checked, clock);
        }
        let row = ledger.row("web", "b").unwrap();
        assert_eq!((row.state.as_str(), row.transitions), ("failing", 4));
        assert_eq!(row.reason.as_deref(), Some("no connection: connection refused"));
        let (_, entry) = ledger.backends().next().unwrap();
        assert_eq!((entry.transitions, entry.checks), ([1, 2, 1], [2, 1, 0]));
        let (service, durations) = ledger.services().next().unwrap();
        assert_eq!((service, durations.count), ("web", 3));
        // Buckets are cumulative: 3 ms is within 5 ms and all longer ones.
        assert_eq!(durations.within, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
        ledger.keep(&[]);
        assert_eq!((ledger.row("web", "b"), ledger.services().count()), (None, 0));
    }
}
