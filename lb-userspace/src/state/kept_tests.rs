//! Changes that are kept: taken up again as they were, or ended by a configuration that says something else.

use super::{Change, Event, State, kept::Clocks};
use crate::config::{Backend, parse};
use proptest::prelude::*;
use std::{net::IpAddr, time::Duration};

const TEXT: &str = r#"
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
slots = 64
[[service.backend]]
name = "a"
address = "198.18.0.11"
[[service.backend]]
name = "b"
address = "198.18.0.12"
"#;

const CLOCKS: Clocks = Clocks { monotonic: Duration::from_secs(100), real: Duration::from_secs(1_000_000) };
/// As after a reboot, a minute later.
const LATER: Clocks = Clocks { monotonic: Duration::from_secs(5), real: Duration::from_secs(1_000_060) };

fn configured(text: &str) -> State {
    let mut state = State::default();
    state.handle(Event::Configured(parse(text, "test.toml").unwrap()));
    state
}

fn weight(backend: &str, weight: u32) -> Change {
    Change::SetWeight { service: "web".to_owned(), backend: backend.to_owned(), weight }
}

fn changed(changes: &[Change]) -> State {
    let mut state = configured(TEXT);
    for change in changes {
        state.change(change, CLOCKS.monotonic).unwrap();
    }
    state
}

fn drain(backend: &str, seconds: Option<u64>) -> Change {
    let deadline = seconds.map(Duration::from_secs);
    Change::Drain { service: "web".to_owned(), backend: backend.to_owned(), deadline }
}

/// The state of a daemon that starts with `text` on what another kept; and what it told.
fn restarted(state: &State, text: &str) -> (State, Vec<String>) {
    let json = serde_json::to_string(&state.kept(CLOCKS)).unwrap();
    let mut next = configured(text);
    let notes = next.restore(&serde_json::from_str(&json).unwrap(), LATER);
    (next, notes)
}

#[test]
fn an_unchanged_configuration_keeps_nothing() {
    assert_eq!(configured(TEXT).kept(CLOCKS), super::Kept::default());
}

#[test]
fn changes_outlive_a_restart_as_long_as_the_file_says_the_same_of_their_backend() {
    let state = changed(&[weight("a", 7)]);
    let (next, notes) = restarted(&state, TEXT);
    assert_eq!((next.services(), notes.len()), (state.services(), 0));

    // Another backend of the file has nothing to do with it.
    let (next, notes) = restarted(&state, &TEXT.replace("198.18.0.12", "198.18.0.99"));
    assert_eq!((next.services()[0].backends[0].weight, notes.len()), (7, 0));

    let (next, notes) = restarted(&state, &TEXT.replace("\"198.18.0.11\"", "\"198.18.0.11\"\nweight = 9"));
    assert_eq!(next.services()[0].backends[0].weight, 9, "the file spoke last");
    assert!(notes[0].contains("the change of backend web/a ends"), "{notes:?}");

    // Written into the file: nothing to tell, nothing to keep.
    let (next, notes) = restarted(&state, &TEXT.replace("\"198.18.0.11\"", "\"198.18.0.11\"\nweight = 7"));
    assert!(notes.is_empty() && next.kept(LATER) == super::Kept::default(), "{notes:?}");
}

#[test]
fn a_removed_backend_stays_out_until_the_file_says_something_else_of_it() {
    let remove = Change::Remove { service: "web".to_owned(), backend: "b".to_owned(), now: false };
    let state = changed(&[remove]);
    let (next, _) = restarted(&state, TEXT);
    assert_eq!(next.services()[0].backends.len(), 1);
    let (next, notes) = restarted(&state, &TEXT.replace("198.18.0.12", "198.18.0.13"));
    assert_eq!((next.services()[0].backends.len(), notes.len()), (2, 1));
}

#[test]
fn an_added_backend_whose_address_the_file_gives_to_another_is_told_and_left_out() {
    let backend =
        Backend { name: "c".to_owned(), address: IpAddr::from([198, 18, 0, 13]), port: 0, weight: 5 };
    let state = changed(&[Change::AddBackend { service: "web".to_owned(), backend }, weight("a", 3)]);
    let text = format!("{TEXT}[[service.backend]]\nname = \"d\"\naddress = \"198.18.0.13\"\n");
    let (next, notes) = restarted(&state, &text);
    let names: Vec<_> = next.services()[0].backends.iter().map(|have| have.name.as_str()).collect();
    assert_eq!((names, next.services()[0].backends[0].weight), (vec!["a", "b", "d"], 3));
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("backend web/c ends: backend address"), "{notes:?}");
}

#[test]
fn deadlines_go_on_over_a_reboot() {
    let state = changed(&[drain("a", Some(90)), drain("b", Some(30))]);
    let (mut next, _) = restarted(&state, TEXT);
    assert!(next.expire(LATER.monotonic), "b's is over");
    assert!(!next.expire(LATER.monotonic + Duration::from_secs(29)), "a's has 30 s left");
    assert!(next.expire(LATER.monotonic + Duration::from_secs(30)));
    // And what is over stays so.
    let kept = next.kept(LATER);
    let mut third = configured(TEXT);
    third.restore(&kept, LATER);
    assert_eq!(third.desired(), next.desired());
}

fn any_change() -> impl Strategy<Value = Change> {
    let names = prop::sample::select(vec!["a", "b", "c"]);
    let service = "web".to_owned();
    (names, 0u8..5, 0u32..20).prop_map(move |(name, kind, number)| {
        let (service, backend) = (service.clone(), name.to_owned());
        match kind {
            0 | 1 => Change::SetWeight { service, backend, weight: number },
            2 => {
                let address = IpAddr::from([198, 18, 1, number as u8]);
                let backend = Backend { name: backend, address, port: 0, weight: number };
                Change::AddBackend { service, backend }
            }
            3 => {
                let deadline = (number % 2 == 0).then(|| Duration::from_secs(number.into()));
                Change::Drain { service, backend, deadline }
            }
            _ => Change::Remove { service, backend, now: number % 2 == 0 },
        }
    })
}

proptest! {
    #[test]
    fn what_is_kept_is_taken_up_again(changes in prop::collection::vec(any_change(), 0..20)) {
        let mut state = configured(TEXT);
        for change in &changes {
            // Those that are refused change nothing.
            let _ = state.change(change, CLOCKS.monotonic);
        }
        let kept = state.kept(CLOCKS);
        let mut next = configured(TEXT);
        let notes = next.restore(&kept, CLOCKS);
        prop_assert_eq!(notes, Vec::<String>::new());
        prop_assert_eq!(next.desired(), state.desired());
        prop_assert_eq!(next.kept(CLOCKS), kept);
    }
}
