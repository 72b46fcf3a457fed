//! Checks that change while the balancer runs, and what a restart knows.

use lb_tests::{
    ask::{json, start},
    bed::{Bed, Nginx},
    wait::wait_for,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::site::{QUICK, SOON, Site, servers, text};

fn quick(keys: &str) -> String {
    format!("{QUICK}, grace = \"300ms\"{keys}")
}

fn reload(site: &mut Site, health: &str) {
    site.bed.write_config(&text(&site.bed, 80, 3, health, "slow_start = \"0s\"").unwrap()).unwrap();
    site.balancer.signal(Signal::SIGHUP).unwrap();
}

#[test]
fn a_reload_begins_changes_and_ends_checks() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let mut servers = servers(&bed).unwrap();
    servers[2] = None;
    let mut site = Site::start(bed, 80, "type = \"none\"", "slow_start = \"0s\"").unwrap();
    wait_for(SOON, "all to have slots", || Ok((site.slots("backend-3")? > 0).then_some(()))).unwrap();
    assert_eq!(site.row("backend-3").unwrap()["health"], Value::Null, "nobody is checked");
    reload(&mut site, &quick(""));
    site.wait_for("backend-3", "down").unwrap();
    assert_eq!(site.slots("backend-3").unwrap(), 0);
    // Another check, which it passes.
    let _other = lb_tests::bed::HttpServer::start(site.bed.backend(2), 81, "ok").unwrap();
    let _others: Vec<_> = site.bed.backends()[..2]
        .iter()
        .map(|host| lb_tests::bed::HttpServer::start(host, 81, "ok").unwrap())
        .collect();
    reload(&mut site, &quick("").replace("port = 80", "port = 81"));
    site.wait_for("backend-3", "up").unwrap();
    // None: who was out is in.
    reload(&mut site, &quick(""));
    site.wait_for("backend-3", "down").unwrap();
    reload(&mut site, "type = \"none\"");
    let row = site.wait_for("backend-3", "up").unwrap();
    assert_eq!(row["health"], Value::Null, "{row}");
    wait_for(SOON, "its slots", || Ok((site.slots("backend-3")? > 0).then_some(()))).unwrap();
}

#[test]
fn a_backend_that_is_added_is_checked() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let mut servers = servers(&bed).unwrap();
    servers[2] = None;
    let text = text(&bed, 80, 2, &quick(""), "slow_start = \"0s\"").unwrap();
    let (balancer, _) = start(&bed, &text).unwrap();
    let site = Site { bed, port: 80, balancer };
    let address = site.bed.backend(2).address(false).to_string();
    json(&site.bed, &["backend", "add", "web", "third", &address]).unwrap();
    let row = site.wait_for("third", "down").unwrap();
    assert_eq!((&row["slots"], &row["health"]["result"]), (&0.into(), &"failed".into()), "{row}");
    servers[2] = Some(Nginx::start(site.bed.backend(2), "ok").unwrap());
    site.wait_for("third", "up").unwrap();
    wait_for(SOON, "its slots", || Ok((site.slots("third")? > 0).then_some(()))).unwrap();
    // Taken out and put back in while it is dead: nothing of before is left, and it is found out again.
    servers[2] = None;
    site.wait_for("third", "down").unwrap();
    json(&site.bed, &["backend", "remove", "web", "third", "--now"]).unwrap();
    json(&site.bed, &["backend", "add", "web", "third", &address]).unwrap();
    site.wait_for("third", "down").unwrap();
}

#[test]
fn a_restart_sends_nothing_to_those_who_were_out() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let mut servers = servers(&bed).unwrap();
    let mut site = Site::start(bed, 80, &quick(""), "slow_start = \"0s\"").unwrap();
    site.wait_until_all_pass().unwrap();
    servers[1] = None;
    site.wait_for("backend-2", "down").unwrap();
    let counted = |site: &Site| site.row("backend-2").unwrap()["packets"].clone();
    let before = counted(&site);
    for kill in [false, true] {
        if kill {
            site.balancer.kill().unwrap()
        } else {
            site.balancer.stop().unwrap()
        };
        let text = text(&site.bed, 80, 3, &quick(""), "slow_start = \"0s\"").unwrap();
        site.balancer = start(&site.bed, &text).unwrap().0;
        // Before the first check could tell, and after it.
        assert_eq!(site.slots("backend-2").unwrap(), 0);
        site.wait_for("backend-2", "down").unwrap();
        wait_for(SOON, "a check", || {
            Ok((site.row("backend-2")?["health"]["result"] == "failed").then_some(()))
        })
        .unwrap();
        assert_eq!(site.slots("backend-2").unwrap(), 0);
    }
    assert!(!site.balancer.log().contains("PANICS"), "{}", site.balancer.log());
    assert_eq!(counted(&site), before);
    servers[1] = Some(Nginx::start(site.bed.backend(1), "ok").unwrap());
    site.wait_for("backend-2", "up").unwrap();
}
