//! What outlives what: packets flow on without the daemon, and the next daemon goes on where the last one ended.

use std::{net::SocketAddr, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result};
use lb_tests::{
    ask::{self, installed, json, link_id, moved, number, program_id, shares, slots, start},
    bed::{Bed, INTERFACE, run},
    config::{Service, config, config_with},
    echo::Echo,
    traffic::{Kind, Traffic},
    wait::{wait_for, wait_until},
};
use nix::sys::signal::Signal;

const PORT: u16 = 7;
const GRACE: Duration = Duration::from_secs(20);

fn vip(bed: &Bed, v6: bool) -> Result<SocketAddr> {
    Ok(SocketAddr::new(bed.vip(v6)?, PORT))
}

/// TCP and UDP over both families: every feature that the program has.
fn everything(bed: &Bed, weights: &[u32]) -> Result<Vec<Service>> {
    let (v4, v6) = (vip(bed, false)?, vip(bed, true)?);
    let services = [
        Service::tcp("tcp4", v4),
        Service::tcp("tcp6", v6),
        Service::udp("udp4", v4),
        Service::udp("udp6", v6),
    ];
    Ok(services.map(|service| service.hosts(bed.backends(), weights)).into())
}

/// Flows of every kind to both families.
const KINDS: [(Kind, usize); 3] = [(Kind::LongTcp, 6), (Kind::Udp, 3), (Kind::NewTcp, 2)];

/// The counters of all backends by index.
fn counters(bed: &Bed) -> Result<Vec<(u64, u64, u64)>> {
    let stats = json(bed, &["stats"])?;
    let rows = stats["backends"].as_array().context("no backends")?.iter();
    let counters = |row| Ok((number(row, "index")?, number(row, "packets")?, number(row, "connections")?));
    let mut all: Vec<_> = rows.map(counters).collect::<Result<_>>()?;
    all.sort_unstable();
    Ok(all)
}

fn program_is_gone(id: u64) -> bool {
    // The kernel frees a program a moment after its last user.
    let shown = Command::new("bpftool").args(["prog", "show", "id", &id.to_string()]).output();
    shown.is_ok_and(|output| !output.status.success())
}

fn carries_xdp(bed: &Bed, interface: &str) -> Result<bool> {
    let mut ip = bed.balancer().command("ip");
    Ok(ask::text(ip.args(["-d", "link", "show", "dev", interface]))?.contains("xdp"))
}

#[test]
fn kill_9_in_the_middle_of_traffic_breaks_nothing_and_the_next_daemon_adopts() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let text = config(&bed, &everything(&bed, &[1, 2, 3]).unwrap());
    let (mut first, said) = start(&bed, &text).unwrap();
    assert!(said.contains("loaded; pinned under") && !said.contains("adopted"), "{said}");
    let ids = || (program_id(&bed).unwrap(), link_id(&bed, INTERFACE).unwrap());
    let (ids_before, held_before) = (ids(), installed(&bed).unwrap());

    let traffic = Traffic::default();
    thread::scope(|scope| {
        let _running: Vec<_> = [false, true]
            .into_iter()
            .flat_map(|v6| KINDS.map(|kind| (v6, kind)))
            .map(|(v6, (kind, number))| {
                traffic.start(scope, bed.client(), vip(&bed, v6).unwrap(), kind, number)
            })
            .collect();
        traffic.flows_on(20).unwrap();
        let killed = first.kill().unwrap();
        assert!(!killed.success(), "{killed}");
        traffic.flows_on(50).unwrap();
        // Both work without a daemon, and so do the counters.
        let counted = counters(&bed).unwrap();
        assert!(counted.iter().map(|(_, packets, _)| packets).sum::<u64>() > 1000, "{counted:?}");
        assert_eq!(json(&bed, &["backend", "list"]).unwrap().as_array().unwrap().len(), 12);

        let (mut second, said) = start(&bed, &text).unwrap();
        assert!(said.contains("adopted program and maps under"), "{said}");
        assert!(said.contains("eth0 carries the program already"), "{said}");
        assert!(!said.contains("changes applied"), "an unchanged configuration changes nothing: {said}");
        assert_eq!(ids(), ids_before);
        assert_eq!(installed(&bed).unwrap(), held_before);
        let after = counters(&bed).unwrap();
        assert!(
            counted.iter().zip(&after).all(|(old, new)| old.0 == new.0 && old.1 <= new.1 && old.2 <= new.2),
            "counters began anew: {counted:?}, then {after:?}"
        );
        traffic.flows_on(50).unwrap();

        assert!(second.stop().unwrap().success(), "SIGTERM ends it in order: {}", second.log());
        traffic.flows_on(50).unwrap();
        assert_eq!(ids(), ids_before);
    });
    traffic.require_all().unwrap();
    // Nothing was dropped, and what passed to the kernel was no service's.
    let stats = json(&bed, &["stats"]).unwrap();
    for verdict in stats["verdicts"].as_array().unwrap().iter().filter(|row| row["action"] == "drop") {
        assert_eq!(number(verdict, "packets").unwrap(), 0, "{verdict}");
    }
}

#[test]
fn a_second_daemon_is_refused_and_disturbs_nothing() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let (mut first, _) = start(&bed, &config(&bed, &everything(&bed, &[1, 1]).unwrap())).unwrap();
    let before = (installed(&bed).unwrap(), program_id(&bed).unwrap());
    let other = bed.write_config(&config(&bed, &everything(&bed, &[1, 5]).unwrap())).unwrap();
    let second = bed.xdp_lb().unwrap().arg("run").arg("-c").arg(other).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for words in ["another xdp-lb daemon holds", "state/lock", "stop it first", "state_dir and pin_dir"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    assert_eq!((installed(&bed).unwrap(), program_id(&bed).unwrap()), before);
    first.must_run().unwrap();
    first.signal(Signal::SIGINT).unwrap();
    assert!(first.wait(GRACE).unwrap().success());
}

#[test]
fn changed_weights_move_only_the_slots_that_they_must() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let web = |weights: &[u32]| {
        let services = [false, true].map(|v6| {
            let name = if v6 { "web6" } else { "web" };
            Service::tcp(name, vip(&bed, v6).unwrap())
                .hosts(bed.backends(), if v6 { &[1, 1, 1] } else { weights })
        });
        config_with(&bed, "learn = \"1s\"", &services)
    };
    // A slot that has moved stays until the flows that it had are known.
    let settled = || {
        let stats = json(&bed, &["stats", "web"])?;
        Ok((number(&stats["services"][0], "stable")? == 16_384).then_some(()))
    };
    let (mut balancer, _) = start(&bed, &web(&[1, 2, 3])).unwrap();
    let ids = (program_id(&bed).unwrap(), link_id(&bed, INTERFACE).unwrap());
    // To 3:2:1 and on to none for one of them: each time the sum of what the growing ones gain.
    for weights in [[3, 2, 1], [3, 0, 1], [1, 1, 1]] {
        wait_for(GRACE, "every slot to be stable", settled).unwrap();
        let (before, had) = (slots(&bed, "web").unwrap(), shares(&bed, "web").unwrap());
        let other = slots(&bed, "web6").unwrap();
        assert!(balancer.stop().unwrap().success());
        let (next, said) = start(&bed, &web(&weights)).unwrap();
        balancer = next;
        let (after, has) = (slots(&bed, "web").unwrap(), shares(&bed, "web").unwrap());
        let fewest: u64 = had.iter().zip(&has).map(|(old, new)| new.saturating_sub(*old)).sum();
        let total: u32 = weights.iter().sum();
        for (slots, weight) in has.iter().zip(weights) {
            let exact = 16_384 * u64::from(weight);
            assert!((slots * u64::from(total)).abs_diff(exact) < total.into(), "{weights:?}: {has:?}");
        }
        assert_eq!(moved(&before, &after) as u64, fewest, "{weights:?}");
        assert!(said.contains(&format!("{fewest} slots moved")), "{said}");
        assert_eq!(slots(&bed, "web6").unwrap(), other, "the other service is not concerned");
        assert_eq!((program_id(&bed).unwrap(), link_id(&bed, INTERFACE).unwrap()), ids, "{weights:?}");
    }
    let row = ask::backend(&bed, "web", "backend-2").unwrap();
    assert_eq!(row["state"], "up");
}

#[test]
fn another_feature_swaps_the_program_under_traffic() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let all = everything(&bed, &[1, 2, 3]).unwrap();
    let (mut balancer, _) = start(&bed, &config(&bed, &all[..1])).unwrap();
    let mut program = program_id(&bed).unwrap();
    let (link, table) = (link_id(&bed, INTERFACE).unwrap(), slots(&bed, "tcp4").unwrap());
    let traffic = Traffic::default();
    thread::scope(|scope| {
        let from = bed.client();
        let _tcp4 = [Kind::LongTcp, Kind::NewTcp]
            .map(|kind| traffic.start(scope, from, vip(&bed, false).unwrap(), kind, 4));
        let mut running = Vec::new();
        // First IPv6 comes, then UDP, and the old services never notice.
        for (services, kind, v6) in [(2, Kind::LongTcp, true), (4, Kind::Udp, false)] {
            traffic.flows_on(20).unwrap();
            assert!(balancer.stop().unwrap().success());
            let (next, said) = start(&bed, &config(&bed, &all[..services])).unwrap();
            balancer = next;
            assert!(said.contains("adopted the maps under") && said.contains("with a new program"), "{said}");
            let old = std::mem::replace(&mut program, program_id(&bed).unwrap());
            assert_ne!(old, program, "the program was not swapped");
            wait_until(GRACE, "the old program to go", || program_is_gone(old)).unwrap();
            assert_eq!(link_id(&bed, INTERFACE).unwrap(), link);
            assert_eq!(slots(&bed, "tcp4").unwrap(), table);
            running.push(traffic.start(scope, from, vip(&bed, v6).unwrap(), kind, 3));
        }
        traffic.flows_on(20).unwrap();
    });
    traffic.require_all().unwrap();
    balancer.must_run().unwrap();
}

#[test]
fn detach_removes_program_and_pins() {
    let bed = Bed::builder().build().unwrap();
    let mut keys = Vec::new();
    for args in [&["detach", INTERFACE][..], &["detach", "--all"]] {
        let (mut balancer, _) = start(&bed, &config(&bed, &everything(&bed, &[1]).unwrap())).unwrap();
        let id = program_id(&bed).unwrap();
        assert!(carries_xdp(&bed, INTERFACE).unwrap());
        assert!(balancer.stop().unwrap().success());
        keys.push(std::fs::read(bed.directory().join("state/hash_key")).unwrap());
        let said = ask::text(bed.xdp_lb().unwrap().args(args)).unwrap();
        assert_eq!(said, "detached from eth0; program and maps removed\n");
        assert!(!carries_xdp(&bed, INTERFACE).unwrap());
        assert!(!bed.pin_dir().exists(), "{} stays", bed.pin_dir().display());
        wait_until(GRACE, "the program to go", || program_is_gone(id)).unwrap();
    }
    // Not printed: it is a secret.
    assert!(
        keys[0] == keys[1],
        "flows would reach other backends after the program was removed and loaded again"
    );
}

fn ping(bed: &Bed, v6: bool) -> Result<()> {
    let address = bed.balancer().address(v6).to_string();
    run(bed.client().command("ping").args(["-n", "-c", "2", "-i", "0.2", "-W", "5", &address]))
}

#[test]
fn attached_before_any_daemon_it_passes_everything_and_a_daemon_adopts_it() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let answer = json(&bed, &["attach", INTERFACE]).unwrap();
    assert_eq!((&answer["interface"], &answer["mode"]), (&INTERFACE.into(), &"native".into()), "{answer}");
    assert!(carries_xdp(&bed, INTERFACE).unwrap());
    let (link, program) = (link_id(&bed, INTERFACE).unwrap(), program_id(&bed).unwrap());
    for v6 in [false, true] {
        ping(&bed, v6).unwrap();
    }
    let stats = json(&bed, &["stats"]).unwrap();
    assert_eq!((&stats["services"], &stats["backends"]), (&serde_json::json!([]), &serde_json::json!([])));
    // Twice is once.
    let again = json(&bed, &["attach", INTERFACE]).unwrap();
    assert_eq!(again["mode"], "unchanged", "{again}");
    assert_eq!((link_id(&bed, INTERFACE).unwrap(), program_id(&bed).unwrap()), (link, program));

    let (_balancer, said) = start(&bed, &config(&bed, &everything(&bed, &[1, 1]).unwrap())).unwrap();
    assert!(said.contains("adopted") && said.contains("eth0 carries the program already"), "{said}");
    assert_eq!(link_id(&bed, INTERFACE).unwrap(), link);
    let traffic = Traffic::default();
    thread::scope(|scope| {
        let _running = [false, true].map(|v6| {
            KINDS.map(|(kind, number)| {
                traffic.start(scope, bed.client(), vip(&bed, v6).unwrap(), kind, number)
            })
        });
        traffic.flows_on(5).unwrap();
    });
    traffic.require_all().unwrap();
    ping(&bed, false).unwrap();
}

#[test]
fn an_interface_with_a_dot_in_its_name_can_be_attached_and_detached() {
    const DOTTED: &str = "eth0.100";
    let bed = Bed::builder().build().unwrap();
    bed.balancer()
        .namespace()
        .ip(&[format!("link add {DOTTED} type veth peer name other"), format!("link set {DOTTED} up")])
        .unwrap();
    for interface in [DOTTED, INTERFACE] {
        json(&bed, &["attach", interface]).unwrap();
    }
    assert!(carries_xdp(&bed, DOTTED).unwrap());
    let pins: Vec<_> = std::fs::read_dir(bed.pin_dir().join("links"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(pins.len() == 2 && pins.iter().all(|pin| !pin.contains('.')), "{pins:?}");
    let answer = json(&bed, &["detach", DOTTED]).unwrap();
    assert_eq!((&answer["detached"][0], &answer["removed"]), (&DOTTED.into(), &false.into()), "{answer}");
    assert!(!carries_xdp(&bed, DOTTED).unwrap() && carries_xdp(&bed, INTERFACE).unwrap());

    // The last one takes everything with it.
    let answer = json(&bed, &["attach", DOTTED]).and_then(|_| json(&bed, &["detach", INTERFACE])).unwrap();
    assert_eq!(answer["removed"], false, "{answer}");
    let answer = json(&bed, &["detach", "--all"]).unwrap();
    assert_eq!((&answer["detached"][0], &answer["removed"]), (&DOTTED.into(), &true.into()), "{answer}");
    assert!(!carries_xdp(&bed, DOTTED).unwrap() && !Path::new(&bed.pin_dir()).exists());
}

#[test]
fn an_interface_that_was_removed_and_made_again_is_attached_again() {
    let bed = Bed::builder().build().unwrap();
    let make = || {
        let lines = ["link add back type veth peer name other", "link set back up"];
        bed.balancer().namespace().ip(&lines).unwrap();
    };
    make();
    json(&bed, &["attach", INTERFACE]).unwrap();
    json(&bed, &["attach", "back"]).unwrap();
    bed.balancer().namespace().ip(&["link del back"]).unwrap();
    make();
    assert!(!carries_xdp(&bed, "back").unwrap());
    let answer = json(&bed, &["attach", "back"]).unwrap();
    assert_ne!(answer["mode"], "unchanged", "{answer}");
    wait_for(GRACE, "the program on the interface", || Ok(carries_xdp(&bed, "back").unwrap().then_some(())))
        .unwrap();
}
