//! Ways to backends that leave less than clients send, or just enough: what the daemon says, and that what it says helps.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{net::SocketAddr, time::Duration};

use lb_tests::{
    ask::{attach_decap, counted, json, start, start_resolved},
    bed::{Bed, INTERFACE, Process},
    config::{Service, config},
    transfer::{Sink, upload},
    wait::wait_until,
};

const PORT: u16 = 9000;
const FAMILIES: [(&str, bool); 2] = [("web", false), ("web6", true)];
/// Bytes of a transfer: enough for segments of full length.
const SOME: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(20);

/// A service per family with the first backend at its IPv4 address.
fn services(bed: &Bed, forwarding: &'static str) -> Vec<Service> {
    let service = |(name, v6)| {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), PORT);
        Service::tcp(name, vip).forwarding(forwarding).backend("backend-1", bed.backend(0).address(false), 1)
    };
    FAMILIES.map(service).into()
}

/// Gives the balancer's way to the backend an MTU.
fn narrow(bed: &Bed, mtu: u32) {
    let to = bed.backend(0).address(false);
    bed.balancer().namespace().ip(&[format!("route replace {to} dev {INTERFACE} mtu {mtu}")]).unwrap();
}

fn warnings(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.contains("WARN")).collect()
}

#[test]
fn a_tunnel_on_a_way_no_wider_than_the_clients_is_a_warning_and_advmss_mends_it() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let _sink = Sink::start(backend, PORT).unwrap();
    attach_decap(&bed, backend).unwrap();
    let (_balancer, said) = start(&bed, &config(&bed, &services(&bed, "ipip"))).unwrap();
    let told = warnings(&said);
    assert_eq!(told.len(), 2, "{said}");
    for (line, (name, segment)) in told.iter().zip([("web", 1440), ("web6", 1420)]) {
        for words in [
            format!(
                "the way to {name}/backend-1 (198.18.0.11) by eth0, of MTU 1500, has room for packets of 1480 bytes (\"ipip\" adds 20)"
            ),
            "clients send up to 1500 by eth0".to_owned(),
            "an MTU of 1520 or more".to_owned(),
            format!("advmss {segment}"),
        ] {
            assert!(line.contains(&words), "no {words:?} in {line}");
        }
    }
    let sent = |v6| {
        let before = counted(&bed, "packet-too-big").unwrap();
        upload(bed.client(), SocketAddr::new(bed.vip(v6).unwrap(), PORT), SOME).unwrap();
        counted(&bed, "packet-too-big").unwrap() - before
    };
    // What the warning says to do, before the client has learned what fits.
    let routes = [(false, 1440), (true, 1420)].map(|(v6, segment)| {
        format!("route replace {} dev {INTERFACE} advmss {segment}", bed.client().address(v6))
    });
    backend.namespace().ip(&routes).unwrap();
    for (name, v6) in FAMILIES {
        assert_eq!(sent(v6), 0, "{name}: every segment fits");
    }
    let routes = [false, true].map(|v6| format!("route del {} dev {INTERFACE}", bed.client().address(v6)));
    backend.namespace().ip(&routes).unwrap();
    for (name, v6) in FAMILIES {
        assert!(sent(v6) > 0, "{name}: without it the client has to be told");
    }
}

/// `mss` is about what the backend sends, which passes no tunnel: the warning stays, and the client is told as ever.
#[test]
fn mss_does_not_make_a_client_send_less() {
    let bed = Bed::builder().build().unwrap();
    let _sink = Sink::start(bed.backend(0), PORT).unwrap();
    attach_decap(&bed, bed.backend(0)).unwrap();
    let text = config(&bed, &services(&bed, "ipip")).replace("algorithm = ", "mss = 1200\nalgorithm = ");
    let (_balancer, said) = start(&bed, &text).unwrap();
    assert_eq!(warnings(&said).len(), 2, "{said}");
    for (name, v6) in FAMILIES {
        let before = counted(&bed, "packet-too-big").unwrap();
        upload(bed.client(), SocketAddr::new(bed.vip(v6).unwrap(), PORT), SOME).unwrap();
        assert!(counted(&bed, "packet-too-big").unwrap() > before, "{name}");
    }
}

#[test]
fn modes_that_add_nothing_are_no_warning() {
    let bed = Bed::builder().build().unwrap();
    for forwarding in ["l2-dsr", "nat"] {
        let vip = SocketAddr::new(bed.vip(false).unwrap(), PORT);
        let service = Service::tcp("web", vip).forwarding(forwarding).hosts(bed.backends(), &[1]);
        let (mut balancer, said) = start(&bed, &config(&bed, &[service])).unwrap();
        assert!(!said.contains("MTU"), "{forwarding}: {said}");
        balancer.stop().unwrap();
    }
}

/// As little as IPv6 needs works; a byte less, while the daemon runs, is told and stops nothing.
#[test]
fn the_least_mtu_works_and_less_is_told_while_the_daemon_runs() {
    let bed = Bed::builder().build().unwrap();
    let _sink = Sink::start(bed.backend(0), PORT).unwrap();
    attach_decap(&bed, bed.backend(0)).unwrap();
    narrow(&bed, 1300);
    let mut balancer = start_resolved(&bed, &config(&bed, &services(&bed, "ipip"))).unwrap();
    for (_, v6) in FAMILIES {
        upload(bed.client(), SocketAddr::new(bed.vip(v6).unwrap(), PORT), SOME).unwrap();
    }
    let too_narrow = "backend web6/backend-1 (198.18.0.11): its way by eth0, of MTU 1299, has room for packets of 1279 bytes";
    let told = |balancer: &Process| balancer.log().matches(too_narrow).count();
    assert_eq!(told(&balancer), 0);
    for times in 1..=2 {
        narrow(&bed, 1299);
        wait_until(PATIENCE, "the daemon to tell", || told(&balancer) == times).unwrap();
        // The other service's clients go down to 1279 still.
        upload(bed.client(), SocketAddr::new(bed.vip(false).unwrap(), PORT), SOME).unwrap();
        assert_eq!(told(&balancer), times, "once for as long as it lasts");
        narrow(&bed, 1300);
        let wide = "(198.18.0.11) by eth0, of MTU 1300, has room for packets of 1280 bytes";
        wait_until(PATIENCE, "the daemon to look again", || {
            balancer.log().matches(wide).count() == 2 * (times + 1)
        })
        .unwrap();
    }
    balancer.must_run().unwrap();
    let list = json(&bed, &["backend", "list"]).unwrap();
    assert!(list.as_array().unwrap().iter().all(|row| row["state"] == "up"), "{list}");
}
