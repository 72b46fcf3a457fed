use super::{Change, DesiredBackend, Event, Finding, Standing, State};
use crate::{
    config::parse,
    dataplane::{Dataplane as _, Installed, fake::Fake},
    health::{machine::State::*, threshold::Verdict},
    neighbour::NextHop,
    plan::plan,
    tracking::Census,
};
use std::{net::IpAddr, time::Duration};

const TEXT: &str = r#"
[[service]]
name = "web"
address = "192.0.2.10:80"
protocol = "tcp"
slots = 64
panic_threshold = 50
slow_start = "30s"
health = { type = "tcp" }
[[service.backend]]
name = "a"
address = "198.18.0.11"
[[service.backend]]
name = "b"
address = "198.18.0.12"
[[service.backend]]
name = "c"
address = "198.18.0.13"
[[service]]
name = "unchecked"
address = "192.0.2.11:80"
protocol = "tcp"
[[service.backend]]
name = "a"
address = "198.18.0.11"
"#;

const NOW: Duration = Duration::from_secs(100);

fn of(text: &str) -> State {
    let mut state = State::default();
    state.handle(Event::Configured(parse(text, "test.toml").unwrap()));
    state.advance(NOW);
    state
}

fn found(state: &mut State, backend: &str, to: crate::health::machine::State) -> bool {
    let recovered_at = (to == Up).then_some(NOW);
    found_of(state, "web", backend, to, recovered_at)
}

fn found_of(
    state: &mut State,
    service: &str,
    backend: &str,
    to: crate::health::machine::State,
    recovered_at: Option<Duration>,
) -> bool {
    let (service, backend) = (service.to_owned(), backend.to_owned());
    state.handle(Event::Health(Finding { service, backend, state: to, tried: true, recovered_at }))
}

/// Standing and part of the whole weight, in percent, of a to c.
fn stand(state: &State) -> Vec<(Standing, u32)> {
    let desired = state.desired();
    let web = desired.iter().find(|service| service.name == "web").unwrap();
    let part = |have: &DesiredBackend| have.share * 100 / DesiredBackend::whole_share(have.weight).max(1);
    web.backends.iter().map(|have| (have.standing, part(have))).collect()
}

const SERVES: (Standing, u32) = (Standing::Serving, 100);

#[test]
fn a_failure_drains_then_kills_and_a_recovery_starts_slowly() {
    let mut state = of(TEXT);
    assert_eq!(stand(&state), [SERVES; 3]);
    assert!(found(&mut state, "b", Failing));
    assert!(!found(&mut state, "b", Failing), "nothing new");
    assert_eq!(stand(&state), [SERVES, (Standing::Failing, 100), SERVES]);
    assert!(found(&mut state, "b", Down));
    assert_eq!(stand(&state)[1].0, Standing::Down);
    assert!(found(&mut state, "b", Up));
    for (seconds, part) in [(0, 10), (3, 10), (15, 50), (29, 96)] {
        assert!(state.advance(NOW + Duration::from_secs(seconds)), "still rises at {seconds} s");
        assert_eq!(stand(&state), [SERVES, (Standing::Serving, part), SERVES]);
    }
    assert!(state.advance(NOW + Duration::from_secs(30)), "reaches the whole");
    assert_eq!(stand(&state), [SERVES; 3]);
    assert!(!state.advance(NOW + Duration::from_secs(31)));
}

#[test]
fn what_is_not_checked_is_up() {
    let mut state = of(TEXT);
    assert!(!found_of(&mut state, "unchecked", "a", Down, None));
    assert!(!found_of(&mut state, "web", "nobody", Down, None));
    assert!(!found_of(&mut state, "nobody", "a", Down, None));
    assert_eq!((state.health_of("unchecked", "a"), state.health_of("web", "a")), (None, Some(Up)));
    found(&mut state, "a", Down);
    let text = TEXT.replace("health = { type = \"tcp\" }", "");
    state.handle(Event::Configured(parse(&text, "test.toml").unwrap()));
    assert_eq!(stand(&state), [SERVES; 3], "a reload that ends the checks brings everybody back");
    state.advance(NOW);
    state.handle(Event::Configured(parse(TEXT, "test.toml").unwrap()));
    assert_eq!(stand(&state), [SERVES; 3], "and what was known of them is forgotten");
}

#[test]
fn another_address_is_another_backend() {
    let mut state = of(TEXT);
    found(&mut state, "b", Down);
    let text = TEXT.replace("198.18.0.12", "198.18.0.22");
    state.handle(Event::Configured(parse(&text, "test.toml").unwrap()));
    assert_eq!((stand(&state)[1], state.health_of("web", "b")), (SERVES, Some(Up)));
}

#[test]
fn the_operators_word_stands_beside_the_checks() {
    let mut state = of(TEXT);
    let name = || ("web".to_owned(), "b".to_owned());
    let (service, backend) = name();
    state.change(&Change::Drain { service, backend, deadline: None }, NOW).unwrap();
    found(&mut state, "b", Failing);
    assert_eq!(stand(&state)[1].0, Standing::Draining, "who drains, drains");
    found(&mut state, "b", Down);
    assert_eq!(stand(&state)[1].0, Standing::Down, "the dead have no connections to end");
    let (service, backend) = name();
    state.change(&Change::SetWeight { service, backend, weight: 100 }, NOW).unwrap();
    assert_eq!(stand(&state)[1].0, Standing::Down, "an operator cannot raise the dead");
    found(&mut state, "b", Up);
    let (service, backend) = name();
    state.change(&Change::SetWeight { service, backend, weight: 0 }, NOW).unwrap();
    assert_eq!(stand(&state)[1], (Standing::Serving, 0));
}

#[test]
fn in_panic_all_serve_with_their_whole_weight() {
    let mut state = of(TEXT);
    found(&mut state, "a", Up);
    found(&mut state, "b", Down);
    assert_eq!(state.verdict(&state.services()[0]), Verdict::Heeded, "two of three");
    found(&mut state, "c", Failing);
    assert_eq!(state.verdict(&state.services()[0]), Verdict::Ignored { up: 1, of: 3 });
    assert_eq!(stand(&state), [SERVES; 3]);
    // Whoever is drained or has no weight has no say: of a alone all are up.
    for backend in ["b", "c"] {
        let (service, backend) = ("web".to_owned(), backend.to_owned());
        state.change(&Change::Drain { service, backend, deadline: None }, NOW).unwrap();
    }
    assert_eq!(state.verdict(&state.services()[0]), Verdict::Heeded);
    assert_eq!(stand(&state)[0], (Standing::Serving, 10));
}

#[test]
fn who_starts_down_is_out_until_it_rises_and_no_panic_until_it_failed() {
    let mut state = of(&TEXT.replace("type = \"tcp\"", "type = \"tcp\", start = \"down\""));
    assert!(stand(&state).iter().all(|(standing, _)| *standing == Standing::Down));
    assert_eq!(state.verdict(&state.services()[0]), Verdict::Heeded, "nobody was asked yet");
    found_of(&mut state, "web", "a", Up, Some(NOW));
    assert_eq!(state.verdict(&state.services()[0]), Verdict::Heeded, "of those that were, all are up");
    found(&mut state, "b", Down);
    found(&mut state, "c", Down);
    assert_eq!(state.verdict(&state.services()[0]), Verdict::Ignored { up: 1, of: 3 });
}

/// What a daemon leaves in the maps.
fn left(state: &mut State) -> Installed {
    for address in state.addresses() {
        state.handle(Event::NextHop(address, way(address)));
    }
    let mut maps = Fake::new(super::sizes_of(state.services(), 64));
    let planned = plan(&maps.installed().unwrap(), &state.desired(), &Census::default(), 1).unwrap();
    for operation in planned.operations {
        maps.apply(&operation).unwrap();
    }
    maps.installed().unwrap()
}

fn way(address: IpAddr) -> NextHop {
    NextHop {
        address,
        port: 0,
        vlan: 0,
        local: None,
        ifindex: 1,
        interface: String::new(),
        source: [2; 6],
        mac: Some([2; 6]),
        gateway: None,
        mtu: 1500,
    }
}

#[test]
fn a_restart_knows_who_was_out() {
    let mut state = of(TEXT);
    found(&mut state, "b", Down);
    let dead = left(&mut state);
    let mut state = of(TEXT);
    found(&mut state, "c", Failing);
    let failing = left(&mut state);
    for (maps, expected) in [(&dead, [Up, Down, Up]), (&failing, [Up, Up, Failing])] {
        let mut next = of(TEXT);
        next.adopt_health(maps);
        let known = ["a", "b", "c"].map(|name| next.health_of("web", name).unwrap());
        assert_eq!(known, expected);
        assert_eq!(next.health_of("unchecked", "a"), None);
        let another = of(&TEXT.replace("198.18.0.12", "198.18.0.22"));
        assert_eq!(another.health_of("web", "b"), Some(Up));
    }
    // Whom the operator took out is not failing.
    let mut state = of(TEXT);
    let drain = |backend: &str| {
        let (service, backend) = ("web".to_owned(), backend.to_owned());
        Change::Drain { service, backend, deadline: None }
    };
    state.change(&drain("a"), NOW).unwrap();
    let drained = left(&mut state);
    let mut next = of(TEXT);
    next.change(&drain("a"), NOW).unwrap();
    next.adopt_health(&drained);
    assert_eq!(next.health_of("web", "a"), Some(Up));
}
