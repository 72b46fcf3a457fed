//! All targets together, sans-io: which check is due, what its result means, and when to look again.
//!
//! ```text
//!   replace(targets) ──► due ──next_start()──► in flight ──finished(report)──► machine ──► events
//!                         ▲                        │ no result in time: lost, a failure
//!                         └── start + interval ────┘
//! ```
//!
//! Of each target one check at most is in flight. From the start of one to the next it is the interval at most, so a
//! backend that fails is [`State::Failing`] within fall x interval + timeout.

use super::{
    event::{Change, Checked, Event},
    machine::{Machine, Transition},
    report::{Failure, Outcome, Report},
    schedule,
    target::{Id, Target},
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

#[cfg(doc)]
use super::machine::State;

/// How long after its timeout a check that has not ended is given up, and how often that is looked for.
const LOST_AFTER: Duration = Duration::from_secs(1);

/// Checks that are due within so long of each other start together, the later ones early: a process that wakes up two
/// hundred times a second does with less than one that wakes up a thousand times. Longer saves more, and has checks
/// wait for each other, which their latency shows.
const TOGETHER: Duration = Duration::from_millis(5);

/// All targets, their states and their times.
#[derive(Debug)]
pub struct Board {
    random: fastrand::Rng,
    entries: HashMap<Key, Entry>,
    keys: HashMap<Id, Key>,
    next: u64,
    /// Times that were valid once; an entry says whether they still are.
    due: BinaryHeap<Reverse<(Instant, Key)>>,
    deadlines: BinaryHeap<Reverse<(Instant, Key)>>,
    /// When lost checks are looked for next.
    sweep: Option<Instant>,
}

type Key = u64;

#[derive(Debug)]
struct Entry {
    target: Arc<Target>,
    machine: Machine,
    /// When the next check is to start.
    due: Instant,
    in_flight: Option<InFlight>,
    /// Its time came while the last check was in flight: the next starts when that has ended.
    waits: bool,
    cause: Option<Failure>,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    serial: u64,
    lost_at: Instant,
}

/// A check to be made.
#[derive(Clone, Debug)]
pub struct Start {
    /// What its result is handed in with.
    pub ticket: Ticket,
    /// Whom to check.
    pub target: Arc<Target>,
    /// How much too late it starts.
    pub late: Duration,
}

/// A check under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    key: Key,
    serial: u64,
}

impl Board {
    /// A board without targets; `seed` makes its random numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            entries: HashMap::new(),
            keys: HashMap::new(),
            next: 0,
            due: BinaryHeap::new(),
            deadlines: BinaryHeap::new(),
            sweep: None,
        }
    }

    /// Takes these targets in place of the old ones. Names are unique; the last of two counts.
    ///
    /// A target whose name and place are the same keeps its state. If its check is the same too, nothing changes for
    /// it; if not, results are counted anew, and one under way no longer counts. Each new target's first state is told.
    pub fn replace(&mut self, targets: Vec<Target>, now: Instant) -> Vec<Event> {
        let ids: HashSet<Id> = targets.iter().map(|target| target.id.clone()).collect();
        self.keys.retain(|id, key| {
            let stays = ids.contains(id);
            if !stays {
                self.entries.remove(key);
            }
            stays
        });
        let targets: Vec<Target> = targets.into_iter().filter_map(|target| self.keep(target, now)).collect();
        let of = targets.len();
        let mut events = Vec::with_capacity(of);
        for (place, target) in targets.into_iter().enumerate() {
            events.push(self.add(target, place, of, now));
        }
        events
    }

    /// Gives a target that is there already its new form; hands back one that is not.
    fn keep(&mut self, target: Target, now: Instant) -> Option<Target> {
        let Some(&key) = self.keys.get(&target.id) else { return Some(target) };
        let Some(entry) = self.entries.get_mut(&key) else { return Some(target) };
        if !entry.target.is_same_place(&target) {
            self.entries.remove(&key);
            return Some(target);
        }
        if entry.target.health != target.health {
            entry.machine.set_thresholds(target.thresholds());
            (entry.in_flight, entry.waits) = (None, false);
            entry.due = now + schedule::first(0, 1, target.health.interval, &mut self.random);
            self.due.push(Reverse((entry.due, key)));
            self.deadlines.extend(entry.machine.deadline().map(|at| Reverse((at, key))));
        }
        entry.target = Arc::new(target);
        None
    }

    fn add(&mut self, target: Target, place: usize, of: usize, now: Instant) -> Event {
        let key = self.next;
        self.next += 1;
        let machine = Machine::new(target.thresholds(), target.first, now);
        let due = now + schedule::first(place, of, target.health.interval, &mut self.random);
        self.due.push(Reverse((due, key)));
        self.deadlines.extend(machine.deadline().map(|at| Reverse((at, key))));
        self.keys.insert(target.id.clone(), key);
        let entry =
            Entry { target: Arc::new(target), machine, due, in_flight: None, waits: false, cause: None };
        let event = entry.change(None, now);
        self.entries.insert(key, entry);
        event
    }

    /// A check that is due and not under way, the longest due first. It counts as under way from now.
    pub fn next_start(&mut self, now: Instant) -> Option<Start> {
        loop {
            let &Reverse((due, key)) = self.due.peek()?;
            if due > now + TOGETHER {
                return None;
            }
            self.due.pop();
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if entry.due != due {
                continue;
            }
            if entry.in_flight.is_some() {
                entry.waits = true;
                continue;
            }
            let health = &entry.target.health;
            let (serial, lost_at) = (self.next, now + health.timeout + LOST_AFTER);
            self.next += 1;
            entry.in_flight = Some(InFlight { serial, lost_at });
            entry.due = now.max(now.min(due) + schedule::gap(health.interval, &mut self.random));
            self.due.push(Reverse((entry.due, key)));
            self.sweep.get_or_insert(lost_at);
            let (target, late) = (Arc::clone(&entry.target), now.saturating_duration_since(due));
            return Some(Start { ticket: Ticket { key, serial }, target, late });
        }
    }

    /// Takes the result of a check that ended at `now`. One that no longer counts tells nothing.
    pub fn finished(&mut self, ticket: Ticket, report: Report, now: Instant) -> Vec<Event> {
        let Ticket { key, serial } = ticket;
        let mut events = Vec::new();
        let Some(entry) = self.entries.get_mut(&key) else { return events };
        if entry.in_flight.is_none_or(|in_flight| in_flight.serial != serial) {
            return events;
        }
        entry.in_flight = None;
        if std::mem::take(&mut entry.waits) {
            entry.due = now;
            self.due.push(Reverse((entry.due, key)));
        }
        let transition = report.success().and_then(|success| entry.machine.result(success, now));
        if let Outcome::Failed(failure) = &report.outcome {
            entry.cause = Some(failure.clone());
        }
        let (id, state) = (entry.target.id.clone(), entry.machine.state());
        let recovered_at = entry.machine.recovered_at();
        events.push(Event::Checked(Checked { id, at: now, state, recovered_at, report }));
        events.extend(transition.map(|transition| entry.change(Some(transition), now)));
        self.deadlines.extend(entry.machine.deadline().map(|at| Reverse((at, key))));
        events
    }

    /// Lets time pass: graces end, and checks that were lost count as failures.
    pub fn tick(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(&Reverse((at, key))) = self.deadlines.peek() {
            if at > now {
                break;
            }
            self.deadlines.pop();
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            if let Some(transition) = entry.machine.tick(now) {
                events.push(entry.change(Some(transition), now));
            }
        }
        if self.sweep.is_some_and(|sweep| sweep <= now) {
            events.extend(self.sweep_lost(now));
        }
        events
    }

    /// Gives up checks that have not ended.
    fn sweep_lost(&mut self, now: Instant) -> Vec<Event> {
        let in_flight = self.entries.iter().filter_map(|(&key, entry)| Some((key, entry.in_flight?)));
        let (lost, under_way): (Vec<_>, Vec<_>) = in_flight.partition(|(_, flight)| flight.lost_at <= now);
        self.sweep = under_way.iter().map(|(_, flight)| flight.lost_at.max(now + LOST_AFTER)).min();
        let mut events = Vec::new();
        for (key, InFlight { serial, .. }) in lost {
            let timeout = self.entries.get(&key).map_or(Duration::ZERO, |entry| entry.target.health.timeout);
            let report = Report::lost(timeout + LOST_AFTER);
            events.extend(self.finished(Ticket { key, serial }, report, now));
        }
        events
    }

    /// When to look again, at the latest: for a due check, if there is `room` for one more, or a deadline.
    #[must_use]
    pub fn wake(&self, room: bool) -> Option<Instant> {
        let due = self.due.peek().filter(|_| room).map(|Reverse((at, _))| *at);
        let deadline = self.deadlines.peek().map(|Reverse((at, _))| *at);
        due.into_iter().chain(deadline).chain(self.sweep).min()
    }
}

impl Entry {
    fn change(&self, transition: Option<Transition>, now: Instant) -> Event {
        Event::Changed(Change {
            id: self.target.id.clone(),
            from: transition.map(|transition| transition.from),
            to: transition.map_or(self.machine.state(), |transition| transition.to),
            at: now,
            recovered_at: self.machine.recovered_at(),
            run: self.machine.run(),
            cause: self.cause.clone(),
        })
    }
}

#[cfg(test)]
mod tests;
