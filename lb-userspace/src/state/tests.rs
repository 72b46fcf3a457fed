use super::{Change, Event, Standing, State};
use crate::config::{Backend, parse};
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
[[service]]
name = "nat"
address = "192.0.2.11:80"
protocol = "tcp"
forwarding = "nat"
[[service.backend]]
name = "n"
address = "198.18.0.21:8080"
"#;

const NOW: Duration = Duration::from_secs(100);

fn state() -> State {
    let mut state = State::default();
    state.handle(Event::Configured(parse(TEXT, "test.toml").unwrap()));
    state
}

fn backend(name: &str, last: u8, port: u16) -> Backend {
    Backend { name: name.to_owned(), address: IpAddr::from([198, 18, 0, last]), port, weight: 5 }
}

fn weight(service: &str, backend: &str, weight: u32) -> Change {
    Change::SetWeight { service: service.to_owned(), backend: backend.to_owned(), weight }
}

fn add(service: &str, backend: Backend) -> Change {
    Change::AddBackend { service: service.to_owned(), backend }
}

fn drain(backend: &str, deadline: Option<Duration>) -> Change {
    Change::Drain { service: "web".to_owned(), backend: backend.to_owned(), deadline }
}

fn remove(backend: &str, now: bool) -> Change {
    Change::Remove { service: "web".to_owned(), backend: backend.to_owned(), now }
}

fn standing(state: &State, name: &str) -> Option<(Standing, u32)> {
    let desired = state.desired();
    let web = desired.iter().find(|service| service.name == "web")?;
    web.backends.iter().find(|have| have.name == name).map(|have| (have.standing, have.weight))
}

fn evicts(state: &State, name: &str) -> bool {
    state.desired().iter().any(|service| service.name == "web" && service.evict.contains(name))
}

#[test]
fn weights_and_backends_change() {
    let mut state = state();
    assert_eq!(state.change(&weight("web", "a", 7), NOW), Ok(true));
    assert_eq!(state.change(&weight("web", "a", 7), NOW), Ok(false));
    assert_eq!(standing(&state, "a"), Some((Standing::Serving, 7)));
    assert_eq!(state.change(&add("web", backend("c", 13, 0)), NOW), Ok(true));
    assert_eq!(standing(&state, "c"), Some((Standing::Serving, 5)));
    assert_eq!(state.change(&remove("c", false), NOW), Ok(true));
    assert_eq!((standing(&state, "c"), evicts(&state, "c")), (None, false));
    assert_eq!(state.change(&remove("b", true), NOW), Ok(true));
    assert!(evicts(&state, "b"));
    state.carried_out();
    assert!(!evicts(&state, "b"));
}

#[test]
fn a_drain_ends_with_a_weight_or_its_deadline() {
    let mut state = state();
    let minute = Duration::from_mins(1);
    assert_eq!(state.change(&drain("a", Some(minute)), NOW), Ok(true));
    assert_eq!(standing(&state, "a"), Some((Standing::Draining, 100)));
    assert!(!state.expire(NOW + Duration::from_millis(59_999)));
    assert!(state.expire(NOW + minute) && !state.expire(NOW + minute * 2), "it passes once");
    assert_eq!(standing(&state, "a"), Some((Standing::Down, 100)));
    state.carried_out();
    assert_eq!(standing(&state, "a"), Some((Standing::Down, 100)));
    assert_eq!(state.change(&weight("web", "a", 100), NOW), Ok(true));
    assert_eq!(standing(&state, "a"), Some((Standing::Serving, 100)));
}

#[test]
fn a_deadline_goes_on_when_the_backend_is_removed() {
    let mut state = state();
    let minute = Duration::from_mins(1);
    assert_eq!(state.change(&drain("a", Some(minute)), NOW), Ok(true));
    assert_eq!(state.change(&remove("a", false), NOW), Ok(true));
    state.carried_out();
    assert!(!evicts(&state, "a"));
    assert!(state.expire(NOW + minute) && evicts(&state, "a"));
    state.carried_out();
    assert_eq!(state.change(&add("web", backend("a", 14, 0)), NOW), Ok(true));
    assert_eq!(standing(&state, "a"), Some((Standing::Serving, 5)), "another backend of that name");
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let rows = [
        (weight("wbe", "a", 1), r#"there is no service "wbe"; there are: web, nat"#),
        (weight("web", "x", 1), r#"service "web" has no backend "x"; there are: a, b"#),
        (weight("web", "a", 10_001), "weight 10001 is out of bounds; use 0 to 10000"),
        (drain("x", None), r#"service "web" has no backend "x"; there are: a, b"#),
        (remove("x", true), r#"service "web" has no backend "x"; there are: a, b"#),
        (add("web", backend("a", 13, 0)), r#"service "web" has a backend "a" already; choose another name"#),
        (
            add("web", backend("c", 11, 0)),
            r#"backend "a" has address 198.18.0.11 already; change its weight instead"#,
        ),
        (
            add("web", backend("c", 13, 81)),
            r#"address "198.18.0.13:81" has a port, which needs forwarding "nat"; write "198.18.0.13""#,
        ),
        (add("web", backend("-", 13, 0)), r#"name "-" starts with a sign; start it with a letter or digit"#),
        (
            add("nat", Backend { address: IpAddr::from([192, 0, 2, 10]), ..backend("c", 0, 0) }),
            r#"address 192.0.2.10 is that of service "web", which nat would send on again; write the real server's"#,
        ),
    ];
    let mut state = state();
    let before = state.desired();
    for (change, told) in rows {
        assert_eq!(state.change(&change, NOW).unwrap_err().0, told);
    }
    assert_eq!(state.desired(), before);
}
