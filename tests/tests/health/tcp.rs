//! Connections: accepted, refused, unanswered; from which address, and how they end.

use std::{collections::HashMap, fs, net::IpAddr};

use lb_tests::{
    bed::{Bed, Host, HttpServer, Nginx},
    iso8583_host::{Iso8583Host, Options},
    tier,
};
use lb_userspace::health::report::{Obstacle, Outcome};

use crate::checked::{assert_passed, check, failure};

const REDIS: u16 = 6379;
const CLOSED: u16 = 6380;
const ISO8583: u16 = 8583;

#[test]
fn redis_is_up_and_a_closed_port_is_not() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let _redis = tier::redis(backend, REDIS).unwrap();
    for v6 in [false, true] {
        assert_passed(&check(&bed, backend, v6, REDIS, "tcp", ""), false);
        let refused = check(&bed, backend, v6, CLOSED, "tcp", "");
        assert_eq!(failure(&refused), "no connection: connection refused");
        assert_eq!(refused.connect, None);
        // The port of the check in place of the service's.
        assert_passed(&check(&bed, backend, v6, CLOSED, "tcp", "port = 6379"), false);
    }
}

/// What the balancer sends ends nowhere.
#[test]
fn a_backend_that_says_nothing_is_late() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    for v6 in [false, true] {
        let balancer = bed.balancer().address(v6);
        let routes = format!("route add blackhole {balancer}");
        backend.namespace().ip(&[routes]).unwrap();
        let late = check(&bed, backend, v6, REDIS, "tcp", "timeout = \"200ms\"");
        assert_eq!(failure(&late), "no connection within 200 ms");
    }
}

/// A backend whose link is cut is no neighbour any more.
#[test]
fn a_backend_that_is_gone_is_unreachable_or_late() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    backend.namespace().ip(&["link set eth0 down"]).unwrap();
    for v6 in [false, true] {
        let told = failure(&check(&bed, backend, v6, REDIS, "tcp", "timeout = \"500ms\""));
        assert!(
            ["no connection: no route to host", "no connection within 500 ms"].contains(&told.as_str()),
            "{told}"
        );
    }
}

#[test]
fn checks_come_from_the_source_address() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    // nginx puts the address of its client in, one of IPv4 as ::ffff:198.18.0.2.
    let _nginx = Nginx::start(backend, "$remote_addr.\n").unwrap();
    for (v6, own, other) in
        [(false, "198.18.0.2", "198.18.0.77"), (true, "2001:db8:18::2", "2001:db8:18::77")]
    {
        let address: IpAddr = other.parse().unwrap();
        let keys = |source: &str, seen: &str| format!("{source}\nbody = \"{seen}.\"");
        let from_other = keys(&format!("source = \"{other}\""), other);
        // Not yet an address of this machine: no fault of the backend.
        let report = check(&bed, backend, v6, 80, "http", &from_other);
        let Outcome::NotMade(Obstacle::Source(told)) = &report.outcome else { panic!("{report:?}") };
        assert!(told.starts_with(other), "{told}");
        bed.balancer().add_address(address, if v6 { 64 } else { 24 }).unwrap();
        assert_passed(&check(&bed, backend, v6, 80, "http", &from_other), true);
        assert_passed(
            &check(&bed, backend, v6, 80, "http", &keys(&format!("source = \"{own}\""), own)),
            true,
        );
        let wrong = check(&bed, backend, v6, 80, "http", &keys(&format!("source = \"{other}\""), own));
        assert_eq!(failure(&wrong), format!("the answer's body does not hold \"{own}.\""));
    }
}

/// A counter of /proc/net/snmp as the node's namespace has it.
fn tcp_counter(host: &Host, name: &str) -> u64 {
    let text = host.run_in(|| Ok(fs::read_to_string("/proc/thread-self/net/snmp")?)).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:")).map(str::split_whitespace);
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let counters: HashMap<&str, &str> = names.zip(values).collect();
    counters[name].parse().unwrap()
}

/// No kind of check, whether it passes or not, ends a connection with a reset; not even with a server that has
/// something to say first, or has said more than was read.
#[test]
fn no_check_ends_with_a_reset() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let authority = lb_tests::certificate::Authority::new().unwrap();
    let tomorrow = time::OffsetDateTime::now_utc() + time::Duration::DAY;
    let identity = authority.issue(&["pay.example"], tomorrow).unwrap();
    let _nginx = Nginx::start_tls(backend, "ok", &identity.certificate, &identity.key).unwrap();
    let _long = HttpServer::start(backend, 8080, &"0123456789".repeat(20_000)).unwrap();
    let signs_on = Options { signs_on: true, ..Options::default() };
    let _host = Iso8583Host::start_on(backend, ISO8583, signs_on).unwrap();
    // Refused attempts to reach the servers while they started.
    let before = tcp_counter(backend, "OutRsts");
    for _ in 0..5 {
        for (port, kind, keys, passes) in [
            (80, "tcp", "", true),
            (ISO8583, "tcp", "", true),
            (80, "http", "", true),
            (8080, "http", "", true),
            (8080, "http", "body = \"0123456789\"", true),
            (8080, "http", "body = \"not in it\"", false),
            (80, "http", "body = \"not in it\"", false),
            (80, "http", "status = \"404\"", false),
            (443, "tls", "verify = false", true),
            (443, "https", "verify = false", true),
            (443, "https", "verify = false\nbody = \"not in it\"", false),
            (ISO8583, "iso8583", "", true),
            (ISO8583, "iso8583", "encoding = \"bcd\"", false),
        ] {
            let report = check(&bed, backend, false, port, kind, keys);
            assert_eq!(report.success(), Some(passes), "{kind} {keys}: {report:?}");
            for (host, before) in [(bed.balancer(), 0), (backend, before)] {
                let resets = tcp_counter(host, "OutRsts");
                assert_eq!(resets, before, "{} resets after {kind} on port {port} {keys}", host.role());
            }
        }
    }
    let opened = tcp_counter(bed.balancer(), "ActiveOpens");
    assert!(opened >= 65, "{opened} connections");
}
