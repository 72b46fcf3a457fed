//! The rise and fall of one backend: sans-io, told of each check's result and of the time.
//!
//! ```text
//!              fall failures in a row                  grace has passed, and the
//!              and a grace                             last check failed
//!     ┌────┐ ─────────────────────────► ┌─────────┐ ─────────────────────────► ┌──────┐
//!     │ Up │                            │ Failing │                            │ Down │
//!     └────┘ ◄───────────────────────── └─────────┘                            └──────┘
//!       ▲ │    rise successes in a row                                          ▲  │
//!       │ └─────────────────────────────────────────────────────────────────────┘  │
//!       │      fall failures in a row, and no grace                                │
//!       └──────────────────────────────────────────────────────────────────────────┘
//!              rise successes in a row
//! ```
//!
//! | state | new connections | established connections |
//! |---|---|---|
//! | [`State::Up`] | yes | stay |
//! | [`State::Failing`] | no | stay: a false alarm breaks none |
//! | [`State::Down`] | no | are given to other backends |
//!
//! A success sets the count of failures to 0 and a failure that of successes. While the last check was a success a
//! failing backend is not declared dead, though its grace has passed: it is about to come back, and the next result
//! decides.

use std::time::{Duration, Instant};

/// What a backend's checks make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// It gets new connections.
    Up,
    /// It gets no new connections and keeps its old ones.
    Failing,
    /// It is dead, and its connections are given to others.
    Down,
}

/// How many results and how much time it takes to change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Successes in a row that bring a backend up; at least 1.
    pub rise: u32,
    /// Failures in a row that take it out; at least 1.
    pub fall: u32,
    /// How long it keeps its old connections after that.
    pub grace: Duration,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Before.
    pub from: State,
    /// After.
    pub to: State,
}

/// One backend's state and what led to it.
#[derive(Clone, Debug)]
pub struct Machine {
    thresholds: Thresholds,
    state: State,
    /// Results like the last one, in a row, and whether they are successes.
    run: (bool, u32),
    /// When a failing backend's grace ends.
    dead_at: Option<Instant>,
    recovered_at: Option<Instant>,
}

impl State {
    /// The state's word, in JSON and logs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Failing => "failing",
            Self::Down => "down",
        }
    }
}

impl Machine {
    /// A machine in `state`, at `now`. One that begins as failing has its whole grace before it.
    #[must_use]
    pub fn new(thresholds: Thresholds, state: State, now: Instant) -> Self {
        let dead_at = (state == State::Failing).then(|| now + thresholds.grace);
        Self { thresholds, state, run: (false, 0), dead_at, recovered_at: None }
    }

    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Results like the last one, in a row; 0 before the first.
    #[must_use]
    pub const fn run(&self) -> u32 {
        self.run.1
    }

    /// When the backend last came up from another state: the start of its slow start. A backend that was up from the
    /// beginning has none and is not slowed.
    #[must_use]
    pub const fn recovered_at(&self) -> Option<Instant> {
        self.recovered_at
    }

    /// When [`Machine::tick`] is to be called next, if no result comes first.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.dead_at.filter(|_| !self.recovering())
    }

    /// Takes other thresholds and keeps the state; results are counted anew.
    pub fn set_thresholds(&mut self, thresholds: Thresholds) {
        if let Some(dead_at) = &mut self.dead_at {
            // A grace under way ends as if it had been so long from its start.
            *dead_at = dead_at.checked_sub(self.thresholds.grace).unwrap_or(*dead_at) + thresholds.grace;
        }
        self.thresholds = thresholds;
        self.run = (false, 0);
    }

    /// Takes the result of a check that ended at `now`.
    pub fn result(&mut self, success: bool, now: Instant) -> Option<Transition> {
        let (same, count) = self.run;
        self.run = (success, if same == success { count.saturating_add(1) } else { 1 });
        match self.state {
            State::Failing | State::Down if success && self.run.1 >= self.thresholds.rise => {
                self.recovered_at = Some(now);
                Some(self.enter(State::Up))
            }
            State::Up if !success && self.run.1 >= self.thresholds.fall => {
                self.recovered_at = None;
                if self.thresholds.grace.is_zero() {
                    return Some(self.enter(State::Down));
                }
                self.dead_at = Some(now + self.thresholds.grace);
                Some(self.enter(State::Failing))
            }
            State::Failing if !success => self.tick(now),
            _ => None,
        }
    }

    /// Lets time pass: declares a failing backend dead when its grace is over.
    pub fn tick(&mut self, now: Instant) -> Option<Transition> {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            return Some(self.enter(State::Down));
        }
        None
    }

    /// Whether the last check of a failing backend was a success.
    const fn recovering(&self) -> bool {
        matches!(self.state, State::Failing) && self.run.0 && self.run.1 > 0
    }

    fn enter(&mut self, to: State) -> Transition {
        let from = std::mem::replace(&mut self.state, to);
        if to != State::Failing {
            self.dead_at = None;
        }
        Transition { from, to }
    }
}

/// Least part of its share that a backend in slow start gets.
const SLOW_START_FLOOR: f64 = 0.1;

/// What a backend's weight is multiplied with, 0.1 to 1, when so much time has passed since it came up
/// ([`Machine::recovered_at`]); `None`: it did not.
///
/// `period` is how long it takes to the whole weight, 0 for at once.
#[must_use]
pub fn slow_start(passed: Option<Duration>, period: Duration) -> f64 {
    let Some(passed) = passed.filter(|_| !period.is_zero()) else { return 1.0 };
    (passed.as_secs_f64() / period.as_secs_f64()).clamp(SLOW_START_FLOOR, 1.0)
}

#[cfg(test)]
mod tests;
