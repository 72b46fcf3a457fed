//! Backends changed from the command line while the balancer runs: what it says, what it does, and what it refuses.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{net::SocketAddr, os::unix::fs::PermissionsExt as _, process::Output, time::Duration};

use lb_tests::{
    ask::{self, installed, json, number, shares, start},
    bed::{Bed, Process},
    config::{Service, config_with},
    wait::wait_for,
};
use serde_json::Value;

const GRACE: Duration = Duration::from_secs(30);

/// A balancer with `backend-1` and `backend-2` of three hosts, whose slots learn for a second.
fn balancer() -> (Bed, Process) {
    let bed = Bed::builder().backends(3).build().unwrap();
    let vip = SocketAddr::new(bed.vip(false).unwrap(), 80);
    let web = Service::tcp("web", vip).hosts(&bed.backends()[..2], &[1, 1]);
    let (process, _) = start(&bed, &config_with(&bed, "learn = \"1s\"", &[web])).unwrap();
    (bed, process)
}

fn backend(bed: &Bed, args: &[&str]) -> Output {
    bed.xdp_lb().unwrap().arg("backend").args(args).output().unwrap()
}

/// The JSON answer of a change that is taken.
fn changed(bed: &Bed, args: &[&str]) -> Value {
    let args: Vec<_> = ["backend"].iter().chain(args).copied().collect();
    json(bed, &args).unwrap()
}

#[test]
fn a_dry_run_tells_what_the_change_then_does() {
    let (bed, _process) = balancer();
    let before = installed(&bed).unwrap();
    let would = changed(&bed, &["set", "web", "backend-1", "--weight", "3", "--dry-run"]);
    assert_eq!(installed(&bed).unwrap(), before, "a dry run changes nothing");
    let does = changed(&bed, &["set", "web", "backend-1", "--weight", "3"]);
    for key in ["slots", "moved", "waiting", "backends"] {
        assert_eq!(would[key], does[key], "{key}");
    }
    assert_eq!((number(&does, "slots").unwrap(), number(&does, "moved").unwrap()), (16_384, 4096));
    assert_eq!((would["dry_run"].as_bool(), does["dry_run"].as_bool()), (Some(true), Some(false)));
    assert_eq!(shares(&bed, "web").unwrap(), [12_288, 4096]);
    let table =
        ask::text(bed.xdp_lb().unwrap().args(["backend", "set", "web", "backend-1", "--weight", "3"]))
            .unwrap();
    assert!(table.starts_with("web: 0 of 16384 slots moved"), "{table}");
}

#[test]
fn a_backend_comes_drains_and_goes() {
    let (bed, _process) = balancer();
    let third = bed.backend(2).address(false).to_string();
    let added = changed(&bed, &["add", "web", "backend-3", &third, "--weight", "2"]);
    assert_eq!(number(&added, "moved").unwrap(), 8192);
    assert_eq!(shares(&bed, "web").unwrap(), [4096, 4096, 8192]);
    // What learns moves on only by force; drained, it has no slot at once.
    changed(&bed, &["drain", "web", "backend-3", "--deadline", "1h"]);
    assert_eq!(shares(&bed, "web").unwrap(), [8192, 8192, 0]);
    // Weight ends the drain.
    changed(&bed, &["drain", "web", "backend-2"]);
    changed(&bed, &["set", "web", "backend-2", "--weight", "1"]);
    let left = changed(&bed, &["remove", "web", "backend-3"]);
    let row = ask::row(&left["backends"], &[("backend", "backend-3")]).unwrap();
    assert_eq!(row["leaving"], true);
    // It is gone when its slots have learned and a pass of the sweep has found no flow of it.
    let gone = || Ok((json(&bed, &["backend", "list"])?.as_array().map(Vec::len) == Some(2)).then_some(()));
    wait_for(GRACE, "the removed backend to be gone", gone).unwrap();
    changed(&bed, &["remove", "web", "backend-2", "--now"]);
    assert_eq!(shares(&bed, "web").unwrap(), [16_384]);
    assert_eq!(json(&bed, &["backend", "list"]).unwrap().as_array().unwrap().len(), 1);
}

#[test]
fn a_deadline_ends_a_drain() {
    let (bed, _process) = balancer();
    changed(&bed, &["drain", "web", "backend-2", "--deadline", "1s"]);
    let down = || {
        let installed = installed(&bed)?;
        let backend = installed.backends.iter().find(|backend| backend.name == "backend-2");
        Ok(backend.is_some_and(|backend| backend.record.next_hop.is_down()).then_some(()))
    };
    wait_for(GRACE, "the drained backend to count as dead", down).unwrap();
}

#[test]
fn a_backend_that_does_not_answer_is_told_of() {
    let (bed, _process) = balancer();
    let added = changed(&bed, &["add", "web", "silent", "198.18.0.99"]);
    let note = added["note"].as_str().unwrap();
    assert!(note.contains("web/silent (198.18.0.99) does not answer"), "{note}");
    assert_eq!(shares(&bed, "web").unwrap(), [8192, 8192, 0]);
}

#[test]
fn wrong_changes_are_refused_and_change_nothing() {
    let (bed, _process) = balancer();
    let before = installed(&bed).unwrap();
    let first = bed.backend(0).address(false).to_string();
    let rows: [(&[&str], &[&str]); 11] = [
        (&["set", "shop", "backend-1", "--weight", "1"], &["no service \"shop\"", "there are: web"]),
        (&["set", "web", "nobody", "--weight", "1"], &["no backend \"nobody\"", "backend-1, backend-2"]),
        (&["set", "web", "backend-1", "--weight", "10001"], &["10001", "0 to 10000"]),
        (&["add", "web", "new", "198.18.0.x"], &["198.18.0.x", "198.18.0.11"]),
        (&["add", "web", "new", "2001:db8:18::9"], &["2001:db8:18::9"]),
        (&["add", "web", "new", "192.88.99.9"], &["web/new (192.88.99.9)", "route"]),
        (&["add", "web", "new", &first], &["backend-1", "change its weight"]),
        (&["add", "web", "backend-1", "198.18.0.77"], &["backend-1", "another name"]),
        (&["add", "web", "a b", "198.18.0.77"], &["a b"]),
        (&["drain", "web", "backend-1", "--deadline", "soon"], &["soon", "ms, s, m or h"]),
        (&["remove", "web", "nobody"], &["no backend \"nobody\""]),
    ];
    for (args, words) in rows {
        let output = backend(&bed, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{args:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?}: no {words:?} in {said}");
    }
    assert_eq!(backend(&bed, &["set", "web", "backend-1"]).status.code(), Some(2), "no weight");
    assert_eq!(installed(&bed).unwrap(), before);
}

#[test]
fn the_socket_is_for_its_owner_and_group_and_goes_with_the_daemon() {
    let (bed, mut process) = balancer();
    let mode = std::fs::metadata(bed.api()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660, "{mode:o}");
    assert!(process.stop().unwrap().success());
    assert!(!bed.api().exists());
    let output = backend(&bed, &["set", "web", "backend-1", "--weight", "1"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no daemon answers at") && said.contains("xdp-lb run"), "{said}");
}
