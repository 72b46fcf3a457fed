//! A configuration that changes while the balancer runs, services that come and go, and the log of who did it.

use std::{fs, net::SocketAddr, time::Duration};

use anyhow::Result;
use lb_tests::{
    api::{Events, ask},
    ask::{json, link_id, number, program_id, row, shares, start_resolved},
    bed::{Bed, INTERFACE, Process},
    config::{Service, config},
    echo::Echo,
    traffic::{Kind, Traffic},
    wait::wait_until,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json as value};

const PORT: u16 = 7;
const GRACE: Duration = Duration::from_secs(20);

fn text(bed: &Bed, weights: &[u32]) -> Result<String> {
    let vip = SocketAddr::new(bed.vip(false)?, PORT);
    Ok(config(bed, &[Service::tcp("echo", vip).hosts(bed.backends(), weights)]))
}

fn site() -> Result<(Bed, Process)> {
    let bed = Bed::builder().backends(2).build()?;
    let balancer = start_resolved(&bed, &text(&bed, &[1, 1])?)?;
    Ok((bed, balancer))
}

/// Standard output, or standard error of a command that fails.
fn said(bed: &Bed, args: &[&str]) -> Result<Result<String, String>> {
    let output = bed.xdp_lb()?.args(args).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) })
}

#[test]
fn a_reload_takes_over_what_it_can_and_a_broken_file_changes_nothing() {
    let (bed, mut balancer) = site().unwrap();
    let before = shares(&bed, "echo").unwrap();
    assert_eq!(before, [8192, 8192]);
    // Broken: the line is named, and the old state stays.
    let broken = text(&bed, &[1, 1]).unwrap().replace("weight = 1\n", "weight = 1000000\n");
    bed.write_config(&broken).unwrap();
    let error = said(&bed, &["reload"]).unwrap().unwrap_err();
    let line = broken.lines().position(|line| line == "weight = 1000000").unwrap() + 1;
    let place = format!("xdp-lb.toml:{line}:10: weight 1000000 is out of bounds");
    assert!(error.contains(&place), "no {place:?} in {error}");
    balancer.signal(Signal::SIGHUP).unwrap();
    wait_until(GRACE, "the signal's refusal in the log", || balancer.log().contains(&place)).unwrap();
    let error = said(&bed, &["config", "diff"]).unwrap().unwrap_err();
    assert!(error.contains(&place), "{error}");
    assert_eq!(shares(&bed, "echo").unwrap(), before);

    bed.write_config(&text(&bed, &[3, 1]).unwrap()).unwrap();
    let diff = json(&bed, &["config", "diff"]).unwrap();
    let expected = value!([{ "what": "echo/backend-1 weight", "file": 3, "in_force": 1 }]);
    assert_eq!(diff, expected);
    let dry = json(&bed, &["reload", "--dry-run"]).unwrap();
    assert_eq!((&dry["moved"], &dry["dry_run"]), (&value!(4096), &value!(true)));
    assert_eq!(shares(&bed, "echo").unwrap(), before, "a dry run changes nothing");
    balancer.signal(Signal::SIGHUP).unwrap();
    wait_until(GRACE, "SIGHUP to reload", || shares(&bed, "echo").unwrap() == [12288, 4096]).unwrap();
    assert_eq!(json(&bed, &["config", "diff"]).unwrap(), value!([]));
    // What is in force can be written into the file.
    let shown = said(&bed, &["config", "show"]).unwrap().unwrap();
    bed.write_config(&shown).unwrap();
    assert_eq!(json(&bed, &["config", "diff"]).unwrap(), value!([]), "{shown}");

    // What a reload cannot do is refused, with what can.
    bed.write_config(&(text(&bed, &[3, 1]).unwrap().replace("[daemon]\n", "[daemon]\nlearn = \"1m\"\n")))
        .unwrap();
    let error = said(&bed, &["reload"]).unwrap().unwrap_err();
    assert!(
        error.contains("learn changed in [daemon], which a reload cannot take over; restart the daemon"),
        "{error}"
    );
    balancer.must_run().unwrap();
}

#[test]
fn a_reload_that_needs_another_program_swaps_it_under_traffic() {
    let (bed, _balancer) = site().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let (program, link) = (program_id(&bed).unwrap(), link_id(&bed, INTERFACE).unwrap());
    let traffic = Traffic::default();
    std::thread::scope(|scope| {
        let v4 = SocketAddr::new(bed.vip(false).unwrap(), PORT);
        let _running = traffic.start(scope, bed.client(), v4, Kind::LongTcp, 6);
        traffic.flows_on(20).unwrap();
        let vip6 = SocketAddr::new(bed.vip(true).unwrap(), PORT);
        let more = Service::udp("echo6", vip6).hosts(bed.backends(), &[1, 1]).to_string();
        bed.write_config(&(text(&bed, &[1, 1]).unwrap() + &more)).unwrap();
        let done = said(&bed, &["reload"]).unwrap();
        assert!(done.is_ok(), "{done:?}");
        assert_ne!(program_id(&bed).unwrap(), program, "IPv6 and UDP need another program");
        assert_eq!(link_id(&bed, INTERFACE).unwrap(), link, "on the same link");
        let _more = traffic.start(scope, bed.client(), vip6, Kind::Udp, 3);
        traffic.flows_on(50).unwrap();
    });
    traffic.require_all().unwrap();
}

#[test]
fn services_come_and_go() {
    let (bed, _balancer) = site().unwrap();
    let mut events = Events::listen(&bed).unwrap();
    let vip6 = SocketAddr::new(bed.vip(true).unwrap(), PORT);
    let file = bed.directory().join("service.toml");
    fs::write(&file, Service::tcp("echo6", vip6).hosts(bed.backends(), &[1, 3]).to_string()).unwrap();
    let file = file.display().to_string();
    said(&bed, &["service", "add", "-f", &file, "--dry-run"]).unwrap().unwrap();
    assert_eq!(json(&bed, &["service", "list"]).unwrap().as_array().unwrap().len(), 1);
    said(&bed, &["service", "add", "-f", &file]).unwrap().unwrap();
    assert_eq!(events.wait_for("service add").unwrap()["target"], "echo6");
    assert_eq!(shares(&bed, "echo6").unwrap(), [4096, 12288]);
    let error = said(&bed, &["service", "add", "-f", &file]).unwrap().unwrap_err();
    assert!(error.contains("there is a service \"echo6\" already"), "{error}");
    said(&bed, &["backend", "set", "echo6", "backend-1", "--weight", "3"]).unwrap().unwrap();
    said(&bed, &["service", "remove", "echo"]).unwrap().unwrap();
    let list = json(&bed, &["service", "list"]).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["service"]), (1, &value!("echo6")));
    // The file still has the removed one, and not the added one: both stay as they were made.
    said(&bed, &["reload"]).unwrap().unwrap();
    assert_eq!(shares(&bed, "echo6").unwrap(), [8192, 8192]);
    let diff = json(&bed, &["config", "diff"]).unwrap();
    let what: Vec<_> = diff.as_array().unwrap().iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(what, ["echo", "echo6"]);
    let gone = ask(&bed, "GET", "/v1/services/echo", "").unwrap();
    assert_eq!(gone.status, 404, "{gone:?}");
}

#[test]
fn the_log_says_who_changed_what_and_shows_what_was_done_to_it() {
    let (bed, _balancer) = site().unwrap();
    said(&bed, &["backend", "set", "echo", "backend-1", "--weight", "7"]).unwrap().unwrap();
    said(&bed, &["backend", "set", "echo", "backend-1", "--weight", "8", "--dry-run"]).unwrap().unwrap();
    said(&bed, &["backend", "drain", "echo", "backend-2"]).unwrap().unwrap();
    said(&bed, &["reload"]).unwrap().unwrap();
    let state = bed.directory().join("state");
    let log = state.join("audit.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(entries.len(), 3, "a dry run is no change: {text}");
    let first = &entries[0]["entry"];
    assert_eq!((&first["action"], &first["target"]), (&value!("backend set"), &value!("echo/backend-1")));
    assert_eq!((&first["before"]["weight"], &first["after"]["weight"]), (&value!(1), &value!(7)));
    assert_eq!(number(&first["who"], "uid").unwrap(), 0);
    assert!(number(&first["who"], "pid").unwrap() > 0, "{first}");
    assert_eq!(entries[1]["entry"]["after"]["standing"], "draining");
    assert_eq!(entries[2]["entry"]["action"], "reload");

    let dir = state.display().to_string();
    let verify = || said(&bed, &["audit", "verify", "--state-dir", &dir]).unwrap();
    assert!(verify().unwrap().contains("3 entries, each as it was written"));
    fs::write(&log, text.replacen("\"weight\":7", "\"weight\":9", 1)).unwrap();
    let error = verify().unwrap_err();
    assert!(error.contains("audit.jsonl:1: its hash is not that of the entry"), "{error}");
    let short: String = text.lines().take(2).flat_map(|line| [line, "\n"]).collect();
    fs::write(&log, short).unwrap();
    let error = verify().unwrap_err();
    assert!(error.contains("entry 3 is missing"), "{error}");
    let list = json(&bed, &["backend", "list"]).unwrap();
    assert_eq!(number(row(&list, &[("backend", "backend-1")]).unwrap(), "weight").unwrap(), 7);
}
