//! A balancer on a trunk: what comes in a VLAN goes to the backend in the same one.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::Result;
use lb_tests::{
    ask::{counted, start_resolved, text},
    bed::{Bed, Nginx},
    config::{Service, config},
    trunk::Trunk,
    wait::wait_until,
};

const FAMILIES: [bool; 2] = [false, true];

fn services(bed: &Bed) -> Vec<Service> {
    let service = |v6| {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), 80);
        Service::tcp(if v6 { "web6" } else { "web" }, vip).hosts(bed.backends(), &[1, 1])
    };
    FAMILIES.map(service).into()
}

fn curl(bed: &Bed, v6: bool) -> Result<String> {
    let mut curl = bed.client().command("timeout");
    // Curl's own -m is for each connection.
    curl.args(["40", "curl", "-sS", "-m", "30", "-H", "Connection: close"]);
    curl.arg("--resolve").arg(format!("vip.example:80:{}", bed.vip(v6)?));
    text(curl.arg("http://vip.example:80/[1-40]"))
}

#[test]
fn l2_dsr_keeps_the_tag_of_a_trunk() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let trunk = Trunk::lay(&bed).unwrap();
    let _servers: Vec<Nginx> = bed
        .backends()
        .iter()
        .map(|host| Nginx::start(host, &format!("{}\n", host.role())).unwrap())
        .collect();
    let _balancer = start_resolved(&bed, &config(&bed, &services(&bed))).unwrap();
    for v6 in FAMILIES {
        let said = curl(&bed, v6).unwrap();
        assert_eq!(said.lines().count(), 40, "{said}");
        // Forty connections miss one of two backends once in 5 * 10^11 runs.
        assert_eq!(said.lines().collect::<BTreeSet<_>>(), BTreeSet::from(["backend-1", "backend-2"]));
    }
    assert!(trunk.to_balancer() >= 80 * 4, "SYN, acknowledgement, request and end of each connection");
    wait_until(Duration::from_secs(10), "each tagged frame to leave with its tag", || {
        let (into, out) = (trunk.to_balancer(), trunk.from_balancer());
        into == out && counted(&bed, "forwarded").unwrap() == out
    })
    .unwrap();
}

/// Ping and its answer stay in the VLAN too.
#[test]
fn an_answered_ping_keeps_the_tag_of_a_trunk() {
    let bed = Bed::builder().build().unwrap();
    let trunk = Trunk::lay(&bed).unwrap();
    let service = Service::tcp("web6", SocketAddr::new(bed.vip(true).unwrap(), 80));
    let v4 = Service::tcp("web", SocketAddr::new(bed.vip(false).unwrap(), 80));
    let services = [v4, service].map(|service| service.hosts(bed.backends(), &[1]));
    let _balancer = start_resolved(&bed, &config(&bed, &services)).unwrap();
    for v6 in FAMILIES {
        let before = (trunk.to_balancer(), trunk.from_balancer());
        let mut ping = bed.client().command("ping");
        ping.args(["-n", "-c", "3", "-i", "0.05", "-W", "10"]).arg(bed.vip(v6).unwrap().to_string());
        text(&mut ping).unwrap();
        assert_eq!((trunk.to_balancer() - before.0, trunk.from_balancer() - before.1), (3, 3));
    }
    assert_eq!(counted(&bed, "echo-reply").unwrap(), 6);
}
