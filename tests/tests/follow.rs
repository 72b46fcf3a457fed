//! What the daemon follows while it runs: MAC addresses that change, and backends that come up late.

use std::{net::SocketAddr, thread, time::Duration};

use anyhow::{Context as _, Result};
use lb_tests::{
    ask::{self, moved, number, program_id, shares, slots, start},
    bed::{Bed, Host, INTERFACE},
    config::{Service, config},
    echo::Echo,
    traffic::{Flow, Kind, Traffic},
    wait::wait_until,
};

const PORT: u16 = 7;
/// Longer than the daemon's slowest round: its look at everything every 15 s, and the kernel's probes.
const PATIENCE: Duration = Duration::from_mins(1);
const NEW_MAC: &str = "02:00:00:00:aa:01";

fn vip(bed: &Bed, v6: bool) -> Result<SocketAddr> {
    Ok(SocketAddr::new(bed.vip(v6)?, PORT))
}

fn services(bed: &Bed, weights: &[u32]) -> Result<String> {
    let web = Service::tcp("web", vip(bed, false)?).hosts(bed.backends(), weights);
    let web6 = Service::tcp("web6", vip(bed, true)?).hosts(bed.backends(), weights);
    Ok(config(bed, &[web, web6]))
}

fn mac(bed: &Bed, service: &str, backend: &str) -> Result<String> {
    let row = ask::backend(bed, service, backend)?;
    Ok(row["mac"].as_str().context("no mac")?.to_owned())
}

/// Gives the backend's interface another MAC address. Nobody is told: the backend announces nothing.
fn change_mac(backend: &Host) -> Result<()> {
    backend.namespace().ip(&[
        format!("link set {INTERFACE} down"),
        format!("link set {INTERFACE} address {NEW_MAC}"),
        format!("link set {INTERFACE} up"),
        // IPv6 addresses go with the link.
        format!("addr replace {}/64 dev {INTERFACE} nodad", backend.address_v6()),
    ])
}

fn answers(bed: &Bed, v6: bool) -> Result<()> {
    let target = vip(bed, v6)?;
    // Thirty connections: enough to meet each of two backends.
    let ask =
        || (0..30).map(|number| Flow::new(target, Kind::NewTcp)?.ask(number)).collect::<Result<Vec<_>>>();
    let names = bed.client().run_in(ask)?;
    for host in bed.backends() {
        assert!(names.iter().any(|name| name == host.role()), "{} got nothing of {names:?}", host.role());
    }
    Ok(())
}

/// What the balancer's kernel has of a neighbour is deleted: the next look asks anew.
#[test]
fn a_mac_that_changes_is_followed_when_the_neighbour_entry_goes() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let (mut balancer, _) = start(&bed, &services(&bed, &[1, 1]).unwrap()).unwrap();
    let backend = bed.backend(0);
    let (program, table) = (program_id(&bed).unwrap(), slots(&bed, "web").unwrap());
    for v6 in [false, true] {
        answers(&bed, v6).unwrap();
    }
    change_mac(backend).unwrap();
    for v6 in [false, true] {
        let delete = format!("neigh del {} dev {INTERFACE}", backend.address(v6));
        bed.balancer().namespace().ip(&[delete]).unwrap();
        let service = if v6 { "web6" } else { "web" };
        wait_until(PATIENCE, "the new MAC", || mac(&bed, service, backend.role()).unwrap() == NEW_MAC)
            .unwrap();
        answers(&bed, v6).unwrap();
    }
    assert_eq!(slots(&bed, "web").unwrap(), table, "a way is no reason to move slots");
    assert_eq!(program_id(&bed).unwrap(), program);
    balancer.must_run().unwrap();
}

/// As above, but nobody deletes anything: the daemon itself must keep the kernel asking.
#[test]
fn a_mac_that_changes_silently_is_noticed() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    // Stale after a second instead of half a minute, so that the test need not wait for the kernel.
    for family in ["ipv4", "ipv6"] {
        let key = format!("net/{family}/neigh/{INTERFACE}/base_reachable_time_ms");
        bed.balancer().namespace().set_sysctl(&key, 1000).unwrap();
        let key = format!("net/{family}/neigh/{INTERFACE}/delay_first_probe_time");
        bed.balancer().namespace().set_sysctl(&key, 1).unwrap();
    }
    let (mut balancer, _) = start(&bed, &services(&bed, &[1, 1]).unwrap()).unwrap();
    change_mac(bed.backend(0)).unwrap();
    for (service, v6) in [("web", false), ("web6", true)] {
        let noticed = || mac(&bed, service, bed.backend(0).role()).unwrap() == NEW_MAC;
        wait_until(PATIENCE, "the new MAC", noticed).unwrap();
        answers(&bed, v6).unwrap();
    }
    balancer.must_run().unwrap();
}

/// Forty of them, one after the other, all of which must be answered.
fn new_connections(bed: &Bed) -> Result<()> {
    let (traffic, target) = (Traffic::default(), vip(bed, false)?);
    thread::scope(|scope| {
        let _running = traffic.start(scope, bed.client(), target, Kind::NewTcp, 2);
        traffic.flows_on(20)
    })?;
    traffic.require_all()
}

#[test]
fn a_backend_that_is_silent_at_start_gets_its_share_when_it_comes_up() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let late = bed.backend(1);
    let link = |state: &str| late.namespace().ip(&[format!("link set {INTERFACE} {state}")]).unwrap();
    link("down");
    let (mut balancer, said) = start(&bed, &services(&bed, &[1, 2, 1]).unwrap()).unwrap();
    assert!(said.contains("backend web/backend-2 (198.18.0.12) does not answer"), "{said}");
    assert_eq!(shares(&bed, "web").unwrap(), [8192, 0, 8192]);
    let row = ask::backend(&bed, "web", late.role()).unwrap();
    assert_eq!(
        (&row["state"], &row["mac"], &row["interface"]),
        (&"unresolved".into(), &"".into(), &"".into())
    );
    assert_eq!((number(&row, "weight").unwrap(), number(&row, "effective_weight").unwrap()), (2, 0), "{row}");
    let before = slots(&bed, "web").unwrap();

    // Not across the move itself: a slot changes its backend at once, and with it the connections that are open
    // in that moment, for as long as slots do not learn (DESIGN section 4, just-enough tracking).
    new_connections(&bed).unwrap();
    link("up");
    let up = || ask::backend(&bed, "web", late.role()).is_ok_and(|row| row["state"] == "up");
    wait_until(PATIENCE, "the backend to be up", up).unwrap();
    let full = || shares(&bed, "web").is_ok_and(|shares| shares == [4096, 8192, 4096]);
    wait_until(PATIENCE, "its whole share", full).unwrap();
    assert_eq!(moved(&before, &slots(&bed, "web").unwrap()), 8192, "only what it gains moves");
    new_connections(&bed).unwrap();
    let row = ask::backend(&bed, "web", late.role()).unwrap();
    assert_eq!((&row["state"], &row["effective_weight"]), (&"up".into(), &2.into()), "{row}");
    assert!(number(&row, "connections").unwrap() > 0, "{row}");
    balancer.must_run().unwrap();
}

/// Health checks do not exist yet: until they do, a backend that falls silent keeps its slots and its way.
#[test]
fn a_backend_that_falls_silent_keeps_its_slots() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let (mut balancer, _) = start(&bed, &services(&bed, &[1, 1]).unwrap()).unwrap();
    let (before, way) = (slots(&bed, "web").unwrap(), mac(&bed, "web", "backend-1").unwrap());
    let silent = bed.backend(0);
    silent.namespace().ip(&[format!("link set {INTERFACE} down")]).unwrap();
    let neighbour = silent.address(false).to_string();
    let balancer_ns = bed.balancer();
    balancer_ns.namespace().ip(&[format!("neigh del {neighbour} dev {INTERFACE}")]).unwrap();
    // The kernel gives up; the daemon hears of it.
    let ping = ["-n", "-c", "1", "-W", "1", neighbour.as_str()];
    balancer_ns.command("ping").args(ping).output().unwrap();
    wait_until(PATIENCE, "the kernel to give the neighbour up", || {
        let mut ip = balancer_ns.command("ip");
        let entry = ask::text(ip.args(["neigh", "show", &neighbour])).unwrap();
        entry.is_empty() || entry.contains("FAILED")
    })
    .unwrap();
    assert_eq!(slots(&bed, "web").unwrap(), before);
    assert_eq!(mac(&bed, "web", "backend-1").unwrap(), way);
    balancer.must_run().unwrap();
}
