//! What the checks tell the daemon.

use super::{machine::State, report::Failure, report::Report, target::Id};
use std::{fmt, time::Instant};

/// Something that the checks tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A backend has another state. None of these is ever lost.
    Changed(Change),
    /// A check has ended. These are dropped while the receiver lags behind.
    Checked(Checked),
}

/// A backend's state, told for the first time or as another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub id: Id,
    /// Before; `None`: the backend is checked from now on.
    pub from: Option<State>,
    /// After.
    pub to: State,
    /// When.
    pub at: Instant,
    /// When it last came up from another state: the start of its slow start; `None`: it did not.
    pub recovered_at: Option<Instant>,
    /// Checks in a row that ended like the last one.
    pub run: u32,
    /// Why the last check that failed did; `None`: none failed yet.
    pub cause: Option<Failure>,
}

/// A check that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whose.
    pub id: Id,
    /// When.
    pub at: Instant,
    /// The backend's state after it.
    pub state: State,
    /// As in [`Change::recovered_at`].
    pub recovered_at: Option<Instant>,
    /// What it found.
    pub report: Report,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, from, to, run, cause, .. } = self;
        let times = if *run == 1 { "once".to_owned() } else { format!("{run} times in a row") };
        let cause = cause.as_ref().map_or_else(String::new, ToString::to_string);
        match (from, to) {
            (None, State::Up) => write!(f, "{id} is checked and counts as up"),
            (None, _) => write!(f, "{id} is checked and counts as {}", to.word()),
            (_, State::Up) => write!(f, "{id} is up: it passed {times}"),
            (_, State::Failing) => write!(
                f,
                "{id} is failing: {cause}, {times}; it gets no new connections and keeps its old ones for its grace"
            ),
            (_, State::Down) => {
                write!(f, "{id} is down: {cause}, {times}; its connections go to other backends")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_in_a_line() {
        let told = |from, to, run, cause: Option<&str>| {
            let id = Id { service: "card-auth".into(), backend: "auth-1".into() };
            let cause = cause.map(|cause| Failure::Connect(cause.to_owned()));
            Change { id, from, to, at: Instant::now(), recovered_at: None, run, cause }.to_string()
        };
        let refused = Some("connection refused");
        for (line, expected) in [
            (told(None, State::Up, 0, None), "card-auth/auth-1 is checked and counts as up"),
            (
                told(Some(State::Down), State::Up, 2, refused),
                "card-auth/auth-1 is up: it passed 2 times in a row",
            ),
            (
                told(Some(State::Up), State::Failing, 3, refused),
                "card-auth/auth-1 is failing: no connection: connection refused, 3 times in a row; it gets no new connections and keeps its old ones for its grace",
            ),
            (
                told(Some(State::Up), State::Down, 1, refused),
                "card-auth/auth-1 is down: no connection: connection refused, once; its connections go to other backends",
            ),
        ] {
            assert_eq!(line, expected);
        }
    }
}
