//! What was answered outlives everything: the daemon killed in the middle of writes, its restart, a reboot, a damaged file.

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    api::ask,
    ask::{installed, json, number, output, row, start, start_resolved},
    bed::{Bed, Process},
    config::{Service, config},
    echo::Echo,
    traffic::{Kind, Traffic},
    wait::{wait_for, wait_until},
};
use lb_userspace::{
    audit,
    state_dir::store::{Contents, Store},
};

const PORT: u16 = 7;
const GRACE: Duration = Duration::from_secs(20);
const ROUNDS: u64 = 200;

fn text(bed: &Bed, weights: &[u32]) -> Result<String> {
    let vip = SocketAddr::new(bed.vip(false)?, PORT);
    Ok(config(bed, &[Service::tcp("web", vip).hosts(bed.backends(), weights)]))
}

fn set(bed: &Bed, backend: &str, weight: u64) -> Result<()> {
    let path = format!("/v1/services/web/backends/{backend}");
    let answer = ask(bed, "PATCH", &path, &format!("{{\"weight\":{weight}}}"))?;
    ensure!(answer.status == 200, "{answer:?}");
    Ok(())
}

fn weight(bed: &Bed, backend: &str) -> Result<u64> {
    let list = json(bed, &["backend", "list", "web"])?;
    number(row(&list, &[("backend", backend)])?, "weight")
}

fn store(bed: &Bed) -> Store {
    Store::new(&bed.directory().join("state"))
}

/// The weights of both backends after so many writes: they are written by turns, each time another.
fn after(writes: u64) -> [u64; 2] {
    let last = |backend: u64| (0..=writes).rev().find(|write| *write > 0 && write % 2 == backend);
    [0, 1].map(|backend| last(backend).map_or(1, |write| 1 + write % 9_000))
}

/// The weights that the file keeps; it must be whole.
fn kept(bed: &Bed) -> Result<([u64; 2], Contents)> {
    let Some(found) = store(bed).look()? else { return Ok((after(0), Contents::default())) };
    let contents = found.map_err(anyhow::Error::msg).context("the file is a mixture")?;
    let of = |name: &str| {
        let kept = contents.changes.backends.get(name).and_then(|kept| kept.now.as_ref());
        kept.and_then(|backend| backend.weight).map_or(1, |weight| weight as u64)
    };
    Ok(([of("web/backend-1"), of("web/backend-2")], contents))
}

/// Starts the daemon, has it write, kills it after so many answers; gives how many writes were answered since the first
/// round.
fn write_and_kill(bed: &Bed, config: &str, from: u64, answers: u64) -> Result<u64> {
    let (mut balancer, _) = start(bed, config)?;
    let list = json(bed, &["backend", "list", "web"])?;
    let held = [1, 2].map(|backend| {
        let name = format!("backend-{backend}");
        row(&list, &[("backend", &name)]).and_then(|row| number(row, "weight"))
    });
    let held = held.into_iter().collect::<Result<Vec<_>>>()?;
    ensure!(held == after(from), "the maps are not those of write {from}: {held:?}");
    let answered = AtomicU64::new(from);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Until the daemon is gone.
            for write in from + 1.. {
                let backend = if write % 2 == 0 { "backend-1" } else { "backend-2" };
                if set(bed, backend, 1 + write % 9_000).is_err() {
                    break;
                }
                answered.store(write, Ordering::SeqCst);
            }
        });
        let enough = || answered.load(Ordering::SeqCst) >= from + answers;
        let waited = wait_until(GRACE, "the writes to be answered", enough);
        balancer.kill()?;
        waited
    })?;
    Ok(answered.into_inner())
}

#[test]
fn killed_in_the_middle_of_writes_it_keeps_every_answered_one_whole() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let config = text(&bed, &[1, 1]).unwrap();
    drop(start_resolved(&bed, &config).unwrap());
    let (mut from, mut under_way) = (0, 0);
    for round in 0..ROUNDS {
        let answered = write_and_kill(&bed, &config, from, round % 4).unwrap();
        let (weights, contents) = kept(&bed).unwrap();
        // The write that nobody was answered any more may have come to be, whole.
        from = if weights == after(answered) { answered } else { answered + 1 };
        assert_eq!(weights, after(from), "round {round}, {answered} answered: {contents:?}");
        under_way += u64::from(from > answered);
        assert!(installed(&bed).unwrap().services[0].slots.iter().all(|slot| slot.backend != 0));
    }
    assert!(from >= ROUNDS, "{from} writes");
    println!("{ROUNDS} kills, {from} writes, of which {under_way} were kept and not answered any more");
    let (_, contents) = kept(&bed).unwrap();
    // Opening it takes off half an entry that the last kill may have left.
    drop(audit::Log::open(&bed.directory().join("state")).unwrap());
    let head = audit::verify(&bed.directory().join("state"), Some(&contents)).unwrap();
    assert!(head.number >= from, "{head:?}");
}

#[test]
fn changes_outlive_a_restart_and_a_reboot_until_the_file_says_something_else() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let (config, grace) = (text(&bed, &[1, 1, 1]).unwrap(), GRACE);
    let mut balancer = start_resolved(&bed, &config).unwrap();
    set(&bed, "backend-1", 5).unwrap();
    let drained = ask(&bed, "POST", "/v1/services/web/backends/backend-2/drain", "{\"deadline\":\"1h\"}");
    assert_eq!(drained.unwrap().status, 200);
    let removed = ask(&bed, "DELETE", "/v1/services/web/backends/backend-3", "");
    assert_eq!(removed.unwrap().status, 200);
    let check = |reboot: bool| {
        let list = json(&bed, &["backend", "list", "web"]).unwrap();
        let states: Vec<_> =
            list.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
        assert_eq!(states[..2], ["up", "draining"], "{list}");
        // What leaves is in the maps alone.
        assert_eq!(states.get(2).copied(), (!reboot).then_some("leaving"), "{list}");
        assert_eq!(weight(&bed, "backend-1").unwrap(), 5);
    };
    check(false);
    balancer.kill().unwrap();
    let mut balancer = start_resolved_but_drained(&bed, &config).unwrap();
    check(false);
    assert!(balancer.stop().unwrap().success());
    // As a reboot does, without a program, link or map.
    output(bed.xdp_lb().unwrap().args(["detach", "--all"])).unwrap();
    let mut balancer = start_resolved_but_drained(&bed, &config).unwrap();
    check(true);
    assert!(balancer.stop().unwrap().success());

    let (mut balancer, said) = start(&bed, &text(&bed, &[2, 1, 1]).unwrap()).unwrap();
    assert!(
        said.contains("the change of backend web/backend-1 ends: the configuration says something else"),
        "{said}"
    );
    assert_eq!(weight(&bed, "backend-1").unwrap(), 2);
    assert!(balancer.stop().unwrap().success());
    // It has ended for good.
    let (_balancer, said) = start(&bed, &config).unwrap();
    assert!(!said.contains("ends:"), "{said}");
    wait_until(grace, "the file's weight", || weight(&bed, "backend-1").unwrap() == 1).unwrap();
}

/// Starts, and waits until the first backend is resolved.
fn start_resolved_but_drained(bed: &Bed, config: &str) -> Result<Process> {
    let (process, _) = start(bed, config)?;
    wait_for(GRACE, "backend-1 to be up", || {
        let list = json(bed, &["backend", "list", "web"])?;
        Ok((row(&list, &[("backend", "backend-1")])?["state"] == "up").then_some(()))
    })?;
    Ok(process)
}

#[test]
fn a_damaged_file_is_kept_aside_and_packets_flow() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let config = text(&bed, &[1, 1]).unwrap();
    let mut balancer = start_resolved(&bed, &config).unwrap();
    set(&bed, "backend-1", 5).unwrap();
    let traffic = Traffic::default();
    thread::scope(|scope| {
        let vip = SocketAddr::new(bed.vip(false).unwrap(), PORT);
        let _running = traffic.start(scope, bed.client(), vip, Kind::LongTcp, 6);
        traffic.flows_on(20).unwrap();
        balancer.kill().unwrap();
        let path = store(&bed).path();
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let (mut next, said) = start(&bed, &config).unwrap();
        assert!(
            said.contains("ERROR") && said.contains("changes.json, the run-time changes, is damaged"),
            "{said}"
        );
        let aside = said.split_whitespace().find(|word| word.contains("changes.json.damaged-")).unwrap();
        assert_eq!(fs::read(aside.trim_end_matches(',')).unwrap(), bytes, "as it was found");
        assert_eq!(weight(&bed, "backend-1").unwrap(), 1, "the configuration holds");
        traffic.flows_on(50).unwrap();
        set(&bed, "backend-1", 6).unwrap();
        assert_eq!(kept(&bed).unwrap().0, [6, 1]);
        assert!(next.stop().unwrap().success());
    });
    traffic.require_all().unwrap();
}
