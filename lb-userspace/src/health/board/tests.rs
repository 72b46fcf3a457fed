//! The board in a world without a network: backends that answer, fail and come back in simulated time.

use super::{Board, LOST_AFTER, Start, TOGETHER};
use crate::config;
use crate::health::{
    event::{Change, Event},
    machine::State::{self, Down, Failing, Up},
    report::{Failure, Obstacle, Outcome, Report},
    target::{Target, targets},
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    time::{Duration, Instant},
};

const MS: Duration = Duration::from_millis(1);

/// A service with these keys of `[service.health]` and backends at these last parts of an address.
fn service(keys: &str, backends: &[u16]) -> Vec<Target> {
    let mut text = format!(
        "[[service]]\nname = \"s\"\naddress = \"192.0.2.10:80\"\nprotocol = \"tcp\"\n[service.health]\ntype = \"tcp\"\n{keys}\n"
    );
    for number in backends {
        let [high, low] = number.to_be_bytes();
        write!(text, "[[service.backend]]\nname = \"b{number}\"\naddress = \"198.18.{high}.{low}\"\n")
            .unwrap();
    }
    targets(&config::parse(&text, "lb.toml").unwrap().services).unwrap()
}

fn report(outcome: Outcome) -> Report {
    Report { outcome, latency: MS, connect: Some(MS), first_byte: None, certificate: None }
}

fn passed() -> Report {
    report(Outcome::Passed)
}

fn failed() -> Report {
    report(Outcome::Failed(Failure::Connect("refused".into())))
}

fn changes(events: Vec<Event>) -> Vec<(Option<State>, State)> {
    let change = |event| match event {
        Event::Changed(Change { from, to, .. }) => Some((from, to)),
        Event::Checked(_) => None,
    };
    events.into_iter().filter_map(change).collect()
}

/// Starts the next check when it is due, and that time.
fn start(board: &mut Board) -> (Start, Instant) {
    let due = board.wake(true).unwrap();
    board.tick(due);
    // What woke it may have been a deadline.
    board.next_start(due).map_or_else(|| start(board), |start| (start, due))
}

/// Makes a check with this result, and gives the changes and the time.
fn check(board: &mut Board, report: Report) -> (Vec<(Option<State>, State)>, Instant) {
    let (start, due) = start(board);
    (changes(board.finished(start.ticket, report, due + MS)), due + MS)
}

#[test]
fn first_states_are_told() {
    let now = Instant::now();
    let mut board = Board::new(1);
    assert_eq!(changes(board.replace(service("", &[1, 2]), now)), [(None, Up), (None, Up)]);
    let mut board = Board::new(1);
    assert_eq!(changes(board.replace(service("start = \"down\"", &[1]), now)), [(None, Down)]);
    assert_eq!(check(&mut board, passed()).0, []);
    assert_eq!(check(&mut board, passed()).0, [(Some(Down), Up)]);
}

#[test]
fn a_replaced_target_that_is_the_same_keeps_its_counts() {
    let now = Instant::now();
    let mut board = Board::new(1);
    board.replace(service("fall = 3", &[1]), now);
    check(&mut board, failed());
    check(&mut board, failed());
    assert_eq!(board.replace(service("fall = 3", &[1, 2]), now).len(), 1, "only the new one is told");
    board.replace(service("fall = 3", &[1]), now);
    assert_eq!(check(&mut board, failed()).0, [(Some(Up), Failing)]);
}

#[test]
fn with_another_check_a_target_keeps_its_state_and_counts_anew() {
    let now = Instant::now();
    let mut board = Board::new(1);
    board.replace(service("fall = 2\nrise = 1\ngrace = \"0s\"", &[1]), now);
    check(&mut board, failed());
    assert_eq!(board.replace(service("fall = 2\nrise = 1\ngrace = \"0s\"\nport = 81", &[1]), now).len(), 1);
    assert_eq!(check(&mut board, failed()).0, [], "another port is another place");
    assert_eq!(check(&mut board, failed()).0, [(Some(Up), Down)]);
    let (begun, due) = start(&mut board);
    assert_eq!(board.replace(service("fall = 2\nrise = 2\ngrace = \"0s\"\nport = 81", &[1]), due).len(), 0);
    assert_eq!(board.finished(begun.ticket, passed(), due + MS).len(), 0, "the old check's result");
    assert_eq!(check(&mut board, passed()).0, []);
    assert_eq!(check(&mut board, passed()).0, [(Some(Down), Up)]);
}

#[test]
fn a_target_that_is_gone_tells_nothing() {
    let mut board = Board::new(1);
    board.replace(service("fall = 1", &[1, 2]), Instant::now());
    let (begun, due) = start(&mut board);
    board.replace(Vec::new(), due);
    assert_eq!(board.finished(begun.ticket, failed(), due + MS).len(), 0);
    assert!(board.next_start(due + Duration::from_secs(9)).is_none());
    assert_eq!(board.tick(due + Duration::from_secs(9)).len(), 0);
}

#[test]
fn a_check_that_could_not_be_made_counts_as_neither() {
    let mut board = Board::new(1);
    board.replace(service("fall = 2", &[1]), Instant::now());
    let not_made = || report(Outcome::NotMade(Obstacle::Resources("too many open files".into())));
    assert_eq!(check(&mut board, failed()).0, []);
    for _ in 0..5 {
        assert_eq!(check(&mut board, not_made()).0, []);
    }
    assert_eq!(check(&mut board, failed()).0, [(Some(Up), Failing)]);
}

/// A check that ends just before the next is due, when others that start together have already been looked for.
#[test]
fn a_check_that_waits_for_the_last_one_is_made() {
    let mut board = Board::new(1);
    board.replace(service("interval = \"1s\"\ntimeout = \"1s\"", &[1]), Instant::now());
    let (begun, first) = start(&mut board);
    let due = board.wake(true).unwrap();
    assert!(due > first + 800 * MS);
    assert!(board.next_start(due).is_none(), "one at a time");
    board.finished(begun.ticket, passed(), due);
    let begun = board.next_start(due).unwrap();
    let early = board.wake(true).unwrap().checked_sub(3 * MS).unwrap();
    assert!(board.next_start(early).is_none(), "one at a time");
    board.finished(begun.ticket, passed(), early + MS);
    assert!(board.next_start(early + MS).is_some());
}

#[test]
fn checks_that_never_end_are_failures() {
    let mut board = Board::new(1);
    board.replace(service("fall = 2\ninterval = \"1s\"\ntimeout = \"1s\"", &[1]), Instant::now());
    let (begun, first) = start(&mut board);
    assert!(board.next_start(first + Duration::from_secs(1)).is_none(), "one at a time");
    let lost = first + Duration::from_secs(1) + LOST_AFTER;
    assert_eq!(board.wake(true), Some(lost));
    let events = board.tick(lost);
    let [Event::Checked(checked)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(checked.report.outcome, Outcome::Failed(Failure::Lost));
    assert_eq!(board.finished(begun.ticket, passed(), lost).len(), 0, "it comes too late");
    assert!(board.next_start(lost).is_some(), "the next is long due");
    let events = board.tick(lost + Duration::from_secs(1) + LOST_AFTER);
    assert_eq!(changes(events), [(Some(Up), Failing)]);
}

/// When the machine's grace ends, nobody has to hand in a result.
#[test]
fn a_grace_ends_by_itself() {
    let mut board = Board::new(1);
    board.replace(service("fall = 1\ngrace = \"300ms\"\ninterval = \"1h\"", &[1]), Instant::now());
    let (changed, at) = check(&mut board, failed());
    assert_eq!(changed, [(Some(Up), Failing)]);
    let dead = at + 300 * MS;
    assert_eq!(board.wake(false), Some(dead));
    assert_eq!(board.tick(at + 299 * MS), []);
    assert_eq!(changes(board.tick(dead)), [(Some(Failing), Down)]);
}

/// What a backend does: it answers so fast, and answers nothing within these two times.
#[derive(Clone, Copy, Debug)]
struct Backend {
    latency: Duration,
    fails: Duration,
    recovers: Duration,
    /// Fails by refusing at once, rather than by silence.
    refuses: bool,
}

/// What happened, in time since the beginning: each change, and each backend's starts of checks.
type Told = (Vec<(Duration, String, State)>, BTreeMap<String, Vec<Duration>>);

/// Runs the board for so long.
fn simulate(
    board: &mut Board,
    begin: Instant,
    length: Duration,
    backends: &[Backend],
    timeout: Duration,
) -> Told {
    let (mut told, mut starts) = (Vec::new(), BTreeMap::<String, Vec<Duration>>::new());
    // Ends of checks under way: when, a number to tell them apart, and what.
    let mut ends = BTreeMap::new();
    let mut number = 0;
    let mut now = begin;
    while now < begin + length {
        let mut events = board.tick(now);
        while ends.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
            let (_, (ticket, report)) = ends.pop_first().unwrap();
            events.extend(board.finished(ticket, report, now));
        }
        while let Some(Start { ticket, target, late }) = board.next_start(now) {
            assert_eq!(late, Duration::ZERO, "the simulated world is never late");
            let since = now - begin;
            let name = target.id.backend.to_string();
            let backend = backends[name[1..].parse::<usize>().unwrap()];
            let broken = (backend.fails..backend.recovers).contains(&since);
            let (after, report) = match (broken, backend.refuses) {
                (false, _) => (backend.latency, passed()),
                (true, true) => (MS, failed()),
                (true, false) => (timeout, failed()),
            };
            starts.entry(name).or_default().push(since);
            number += 1;
            ends.insert((now + after, number), (ticket, report));
        }
        for event in events {
            if let Event::Changed(change) = event {
                told.push((change.at - begin, change.id.backend.to_string(), change.to));
            }
        }
        let wakes = board.wake(true).into_iter().chain(ends.first_key_value().map(|((at, _), _)| *at));
        // A nanosecond at least, for a time that was valid once and is now no more.
        now = wakes.min().unwrap_or(begin + length).max(now + Duration::from_nanos(1));
    }
    (told, starts)
}

fn backend(timeout: u64) -> impl Strategy<Value = Backend> {
    (0..timeout, 0..20_000_u64, 5_000..20_000_u64, any::<bool>()).prop_map(
        |(latency, fails, lasts, refuses)| Backend {
            latency: latency as u32 * MS,
            fails: fails as u32 * MS,
            recovers: (fails + lasts) as u32 * MS,
            refuses,
        },
    )
}

fn worlds() -> impl Strategy<Value = (u64, u64, Vec<Backend>)> {
    (50..1000_u64).prop_flat_map(|interval| (Just(interval), 10..=interval)).prop_flat_map(
        |(interval, timeout)| (Just(interval), Just(timeout), prop::collection::vec(backend(timeout), 1..8)),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// The promise: a backend that fails is out within fall x interval + timeout, whatever the seed and the
    /// moment; it is dead within a grace more; and it is back within rise x interval + its latency.
    #[test]
    fn a_backend_that_fails_is_out_in_time(
        seed: u64,
        (interval, timeout, backends) in worlds(),
        (rise, fall, grace) in (1..4_u32, 1..5_u32, 1..3_000_u64),
    ) {
        let keys = format!(
            "interval = \"{interval}ms\"\ntimeout = \"{timeout}ms\"\nrise = {rise}\nfall = {fall}\ngrace = \"{grace}ms\""
        );
        let (interval, timeout, grace) = (interval as u32 * MS, timeout as u32 * MS, grace as u32 * MS);
        let numbers: Vec<u16> = (0..backends.len() as u16).collect();
        let mut board = Board::new(seed);
        let begin = Instant::now();
        let first = board.replace(service(&keys, &numbers), begin);
        prop_assert_eq!(first.len(), backends.len());
        let (told, starts) = simulate(&mut board, begin, Duration::from_secs(50), &backends, timeout);
        for (number, backend) in backends.iter().enumerate() {
            let name = format!("b{number}");
            let mine: Vec<(Duration, State)> =
                told.iter().filter(|(_, of, _)| *of == name).map(|(at, _, to)| (*at, *to)).collect();
            let [(out, Failing), rest @ .., (back, Up)] = &mine[..] else { panic!("{mine:?}") };
            prop_assert!(*out >= backend.fails, "out before it failed");
            prop_assert!(*out <= backend.fails + fall * interval + timeout, "out at {out:?}: {backend:?}");
            if let [(dead, Down)] = rest {
                prop_assert!(*dead >= *out + grace && *dead <= *out + grace.max(interval + timeout) + interval + timeout);
            } else {
                prop_assert!(rest.is_empty(), "{mine:?}");
            }
            prop_assert!(*back >= backend.recovers, "back before it recovered");
            prop_assert!(*back <= backend.recovers + rise * interval + timeout + backend.latency);
            let starts = &starts[&name];
            prop_assert!(starts[0] <= interval);
            for pair in starts.windows(2) {
                let gap = pair[1].saturating_sub(pair[0]);
                prop_assert!(gap <= interval, "{gap:?} between two checks");
                prop_assert!(gap + TOGETHER >= interval.mul_f64(0.9 - 1e-6), "{gap:?} between two checks");
            }
        }
    }
}
