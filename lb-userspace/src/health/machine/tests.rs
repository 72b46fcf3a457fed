//! Every state and count against every input, and a model that looks at the whole history.

use super::{Machine, State, State::*, Thresholds, Transition, slow_start};
use proptest::prelude::*;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const GRACE: Duration = Duration::from_secs(10);
/// Of the table.
const RISE: u32 = 2;
const FALL: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Success,
    Failure,
    /// Time passes and no result comes.
    Nothing,
}

use Input::{Failure, Nothing, Success};

/// Where a machine stands: its state, whether the last results were successes, and how many of them there are in a
/// row. 2 successes stand for more too, and 3 failures.
type Place = (State, bool, u32);

/// The table: place, input, and what follows while the grace lasts and after it.
#[rustfmt::skip]
const TABLE: &[(Place, Input, Option<State>, Option<State>)] = &[
    // place              input    within grace   after it
    ((Up, false, 0),      Success, None,          None),
    ((Up, false, 0),      Failure, None,          None),
    ((Up, false, 0),      Nothing, None,          None),
    ((Up, true, 1),       Success, None,          None),
    ((Up, true, 1),       Failure, None,          None),
    ((Up, true, 1),       Nothing, None,          None),
    ((Up, true, 2),       Success, None,          None),
    ((Up, true, 2),       Failure, None,          None),
    ((Up, true, 2),       Nothing, None,          None),
    ((Up, false, 1),      Success, None,          None),
    ((Up, false, 1),      Failure, None,          None),
    ((Up, false, 1),      Nothing, None,          None),
    ((Up, false, 2),      Success, None,          None),
    ((Up, false, 2),      Failure, Some(Failing), Some(Failing)),
    ((Up, false, 2),      Nothing, None,          None),
    ((Failing, false, 0), Success, None,          None),
    ((Failing, false, 0), Failure, None,          Some(Down)),
    ((Failing, false, 0), Nothing, None,          Some(Down)),
    ((Failing, false, 1), Success, None,          None),
    ((Failing, false, 1), Failure, None,          Some(Down)),
    ((Failing, false, 1), Nothing, None,          Some(Down)),
    ((Failing, false, 2), Success, None,          None),
    ((Failing, false, 2), Failure, None,          Some(Down)),
    ((Failing, false, 2), Nothing, None,          Some(Down)),
    ((Failing, false, 3), Success, None,          None),
    ((Failing, false, 3), Failure, None,          Some(Down)),
    ((Failing, false, 3), Nothing, None,          Some(Down)),
    ((Failing, true, 1),  Success, Some(Up),      Some(Up)),
    ((Failing, true, 1),  Failure, None,          Some(Down)),
    ((Failing, true, 1),  Nothing, None,          None),
    ((Down, false, 0),    Success, None,          None),
    ((Down, false, 0),    Failure, None,          None),
    ((Down, false, 0),    Nothing, None,          None),
    ((Down, false, 1),    Success, None,          None),
    ((Down, false, 1),    Failure, None,          None),
    ((Down, false, 1),    Nothing, None,          None),
    ((Down, false, 2),    Success, None,          None),
    ((Down, false, 2),    Failure, None,          None),
    ((Down, false, 2),    Nothing, None,          None),
    ((Down, false, 3),    Success, None,          None),
    ((Down, false, 3),    Failure, None,          None),
    ((Down, false, 3),    Nothing, None,          None),
    ((Down, true, 1),     Success, Some(Up),      Some(Up)),
    ((Down, true, 1),     Failure, None,          None),
    ((Down, true, 1),     Nothing, None,          None),
];

fn place(machine: &Machine) -> Place {
    let (success, run) = machine.run;
    (machine.state, success, run.min(if success { RISE } else { FALL }))
}

/// A machine in every place that any inputs lead to; where one fails, its grace began at `start`.
fn everywhere(start: Instant) -> HashMap<Place, Machine> {
    let thresholds = Thresholds { rise: RISE, fall: FALL, grace: GRACE };
    let mut open: Vec<Machine> =
        [Up, Failing, Down].map(|state| Machine::new(thresholds, state, start)).into();
    let mut found = HashMap::new();
    while let Some(machine) = open.pop() {
        if found.contains_key(&place(&machine)) {
            continue;
        }
        for input in [Success, Failure, Nothing] {
            for now in [start, start + GRACE] {
                let mut next = machine.clone();
                give(&mut next, input, now);
                next.recovered_at = None;
                next.dead_at = next.dead_at.map(|_| start + GRACE);
                open.push(next);
            }
        }
        found.insert(place(&machine), machine);
    }
    found
}

fn give(machine: &mut Machine, input: Input, now: Instant) -> Option<Transition> {
    match input {
        Success => machine.result(true, now),
        Failure => machine.result(false, now),
        Nothing => machine.tick(now),
    }
}

#[test]
fn the_transition_table() {
    let start = Instant::now();
    let machines = everywhere(start);
    assert_eq!(TABLE.len(), 3 * machines.len(), "rows for places that do not exist, or the other way around");
    for &(place, input, within, after) in TABLE {
        for (now, expected) in [(start + GRACE / 2, within), (start + GRACE, after)] {
            let mut machine = machines[&place].clone();
            let transition = give(&mut machine, input, now);
            let told = transition.map(|Transition { from, to }| (from, to));
            assert_eq!(told, expected.map(|to| (place.0, to)), "{place:?} {input:?}");
            assert_eq!(machine.state(), expected.unwrap_or(place.0), "{place:?} {input:?}");
            let expected = (expected == Some(Up)).then_some(now);
            assert_eq!(machine.recovered_at(), expected, "{place:?} {input:?}");
        }
    }
}

/// A machine that failed so often in a row.
fn failed(times: u32, grace: Duration, start: Instant) -> Machine {
    let mut machine = Machine::new(Thresholds { rise: RISE, fall: FALL, grace }, Up, start);
    for _ in 0..times {
        machine.result(false, start);
    }
    machine
}

#[test]
fn without_a_grace_a_backend_is_dead_at_once() {
    let start = Instant::now();
    let mut machine = failed(2, Duration::ZERO, start);
    assert_eq!(machine.result(false, start), Some(Transition { from: Up, to: Down }));
    assert_eq!(machine.deadline(), None);
}

#[test]
fn the_deadline_is_the_end_of_the_grace_unless_it_recovers() {
    let start = Instant::now();
    let mut machine = failed(2, GRACE, start);
    assert_eq!(machine.deadline(), None);
    machine.result(false, start);
    assert_eq!(machine.deadline(), Some(start + GRACE));
    machine.result(true, start);
    assert_eq!(machine.deadline(), None);
    machine.result(false, start);
    assert_eq!(machine.deadline(), Some(start + GRACE));
    machine.result(true, start);
    machine.result(true, start);
    assert_eq!((machine.state(), machine.deadline()), (Up, None));
}

#[test]
fn other_thresholds_keep_the_state_and_count_anew() {
    let start = Instant::now();
    let mut machine = failed(2, GRACE, start);
    machine.set_thresholds(Thresholds { rise: 1, fall: 1, grace: GRACE });
    assert_eq!(machine.state(), Up);
    assert_eq!(machine.result(false, start), Some(Transition { from: Up, to: Failing }));
    machine.set_thresholds(Thresholds { rise: 1, fall: 1, grace: 2 * GRACE });
    assert_eq!(machine.deadline(), Some(start + 2 * GRACE));
    assert_eq!(machine.result(true, start), Some(Transition { from: Failing, to: Up }));
}

#[test]
fn slow_start_rises_from_a_tenth_to_the_whole() {
    let period = Duration::from_secs(30);
    for (seconds, factor) in [(0, 0.1), (3, 0.1), (15, 0.5), (30, 1.0), (300, 1.0)] {
        let passed = Duration::from_secs(seconds);
        assert!((slow_start(Some(passed), period) - factor).abs() < 1e-9, "{seconds} s");
    }
    for (passed, period) in [(None, period), (Some(Duration::ZERO), Duration::ZERO)] {
        assert!((slow_start(passed, period) - 1.0).abs() < 1e-9);
    }
}

/// What the state is after a history of (seconds, input), told by looking back over all of it.
fn model(thresholds: Thresholds, first: State, history: &[(u64, Input)]) -> State {
    let (rise, fall) = (thresholds.rise as usize, thresholds.fall as usize);
    let mut state = first;
    // Seconds at which it began to fail.
    let mut began = 0;
    for end in 1..=history.len() {
        let (now, input) = history[end - 1];
        let results: Vec<Input> =
            history[..end].iter().map(|(_, input)| *input).filter(|input| *input != Nothing).collect();
        let last =
            |count: usize, of| results.len() >= count && results.iter().rev().take(count).all(|r| *r == of);
        let over = now >= began + thresholds.grace.as_secs();
        state = match state {
            Up if input == Failure && last(fall, Failure) => {
                began = now;
                if thresholds.grace.is_zero() { Down } else { Failing }
            }
            Failing | Down if input == Success && last(rise, Success) => Up,
            Failing if over && !last(1, Success) => Down,
            same => same,
        };
    }
    state
}

fn history() -> impl Strategy<Value = Vec<(u64, Input)>> {
    let input = prop_oneof![4 => Just(Success), 4 => Just(Failure), 1 => Just(Nothing)];
    prop::collection::vec((0..4_u64, input), 0..60).prop_map(|steps| {
        let mut now = 0;
        steps
            .into_iter()
            .map(|(seconds, input)| {
                now += seconds;
                (now, input)
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_machine_does_as_the_model(
        rise in 1..5_u32,
        fall in 1..5_u32,
        grace in 0..12_u64,
        first in prop_oneof![Just(Up), Just(Failing), Just(Down)],
        history in history(),
    ) {
        let thresholds = Thresholds { rise, fall, grace: Duration::from_secs(grace) };
        let start = Instant::now();
        let mut machine = Machine::new(thresholds, first, start);
        for (done, &(seconds, input)) in history.iter().enumerate() {
            let before = machine.state();
            let transition = give(&mut machine, input, start + Duration::from_secs(seconds));
            prop_assert_eq!(machine.state(), model(thresholds, first, &history[..=done]));
            // It tells of a change exactly when there is one.
            let expected = (before != machine.state()).then(|| Transition { from: before, to: machine.state() });
            prop_assert_eq!(transition, expected);
            prop_assert_eq!(machine.deadline().is_some() && machine.state() != Failing, false);
        }
    }
}
