//! What is simulated: backends, load, and what happens to them.

use crate::time::{MILLISECOND, Nanos, SECOND, seconds};

/// A world to try policies in.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Names its files.
    pub name: String,
    /// One line about it.
    pub title: String,
    /// The backends.
    pub backends: Vec<Machine>,
    /// Part of all backends' capacity at the start that is asked for, over time.
    pub load: Load,
    /// How much work requests are.
    pub variation: Variation,
    /// What happens to backends, in order of time.
    pub events: Vec<Event>,
    /// Part of the requests that fail, everywhere.
    pub errors: f64,
    /// Where the controller's samples come from.
    pub source: Source,
    /// `None`: each request is dispatched; else each connection.
    pub connections: Option<Connections>,
    /// Balancers that do not know of each other, each with its part of the clients.
    pub balancers: usize,
    /// Slots of the table that the balancer dispatches by, under the churn cap; `None`: by the weights themselves.
    pub slots: Option<u32>,
    /// When the policy begins; before, the weights are equal.
    pub begin: Nanos,
    /// When it ends.
    pub end: Nanos,
    /// Stretches of time that figures are made of.
    pub phases: Vec<Phase>,
    /// The backend that something happens to, for figures of its share.
    pub watched: Option<usize>,
}

/// A backend.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    /// Requests that it works on at a time.
    pub workers: usize,
    /// Work done in a time, relative to a full-speed backend.
    pub speed: f64,
}

/// Load over time.
#[derive(Clone, Debug)]
pub enum Load {
    /// All the time the same.
    Constant(f64),
    /// Straight lines between points, which are in order of time.
    Ramp(Vec<(Nanos, f64)>),
}

/// How much the work of a request varies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variation {
    /// Exponentially distributed: a coefficient of variation of 1.
    Exponential,
    /// Log-normally, with this coefficient of variation.
    LogNormal(f64),
}

/// Something that happens to a backend.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// When.
    pub at: Nanos,
    /// To which.
    pub backend: usize,
    /// What.
    pub change: Change,
}

/// What happens to a backend.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// It works at another speed.
    Speed(f64),
    /// It answers every request with an error, after a millisecond and without work.
    FastErrors(bool),
}

/// Where samples come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Every request.
    Requests,
    /// Probes of each backend, at this interval. They queue like requests.
    Probes(Nanos),
}

/// Connections that carry many requests.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// Mean life, exponentially distributed.
    pub life: Nanos,
    /// Mean time between two requests of one.
    pub interval: Nanos,
}

/// A stretch of time.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name in the tables.
    pub name: &'static str,
    /// Its beginning.
    pub from: Nanos,
    /// Its end.
    pub to: Nanos,
}

/// Mean work of a request: what it takes at speed 1.
pub const DEMAND: Nanos = 10 * MILLISECOND;
/// When clients give up.
pub const CLIENT_TIMEOUT: Nanos = 2 * SECOND;

impl Scenario {
    /// Requests a second that all backends can do at the start.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        self.backends.iter().map(Machine::capacity).sum()
    }

    /// Requests a second at a time.
    #[must_use]
    pub fn rate(&self, now: Nanos) -> f64 {
        self.load.at(now) * self.capacity()
    }
}

impl Machine {
    /// Requests a second that it can do.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        self.workers as f64 * self.speed / seconds(DEMAND)
    }
}

impl Load {
    /// The load at a time.
    #[must_use]
    pub fn at(&self, now: Nanos) -> f64 {
        match self {
            Self::Constant(load) => *load,
            Self::Ramp(points) => between(points, now),
        }
    }
}

fn between(points: &[(Nanos, f64)], now: Nanos) -> f64 {
    let after = points.partition_point(|&(at, _)| at <= now);
    let before = after.checked_sub(1).and_then(|before| points.get(before));
    match (before, points.get(after)) {
        (Some(&(from, low)), Some(&(to, high))) => {
            let part = seconds(now - from) / seconds(to - from);
            part.mul_add(high - low, low)
        }
        (Some(&(_, load)), None) | (None, Some(&(_, load))) => load,
        (None, None) => 0.0,
    }
}
