//! The API and the commands over it: what they do, what they refuse, and who may.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::Result;
use lb_tests::{
    api::{Answer, Events, ask, ask_with},
    ask::{installed, json, number, row, shares, slots, start_resolved},
    bed::{Bed, Process, built},
    config::{Service, config},
    wait::{wait_for, wait_until},
};
use serde_json::{Value, json as value};

const GRACE: Duration = Duration::from_secs(20);

/// A bed with a service `web` of the first two of three backends, 256 slots.
fn site() -> Result<(Bed, Process)> {
    let bed = Bed::builder().backends(3).build()?;
    let vip = SocketAddr::new(bed.vip(false)?, 80);
    let text = config(&bed, &[Service::tcp("web", vip).hosts(&bed.backends()[..2], &[1, 1])]);
    let text = text.replace("algorithm = \"hash\"", "algorithm = \"hash\"\nslots = 256");
    let balancer = start_resolved(&bed, &text)?;
    Ok((bed, balancer))
}

/// What `xdp-lb ARGS` says: success, standard output, standard error.
fn said(bed: &Bed, args: &[&str]) -> Result<(bool, String, String)> {
    let output = bed.xdp_lb()?.args(args).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.success(), text(&output.stdout), text(&output.stderr)))
}

fn state(bed: &Bed, backend: &str) -> Result<Option<String>> {
    let rows = json(bed, &["backend", "list", "web"])?;
    let row = rows.as_array().into_iter().flatten().find(|row| row["backend"] == backend);
    Ok(row.and_then(|row| row["state"].as_str().map(str::to_owned)))
}

#[test]
fn a_dry_run_tells_what_the_change_then_does() {
    let (bed, _balancer) = site().unwrap();
    let before = installed(&bed).unwrap();
    let third = bed.backend(2).address(false).to_string();
    for args in [
        vec!["backend", "set", "web", "backend-1", "--weight", "3"],
        vec!["backend", "add", "web", "third", &third, "--weight", "2"],
        vec!["backend", "drain", "web", "backend-2", "--deadline", "1h"],
        vec!["backend", "remove", "web", "backend-2", "--now"],
    ] {
        let dry: Vec<_> = args.iter().copied().chain(["--dry-run"]).collect();
        let would = json(&bed, &dry).unwrap();
        assert_eq!(would["dry_run"], true);
        assert_eq!(installed(&bed).unwrap().services, before.services, "a dry run changes nothing");
        assert_eq!((would["service"].as_str(), number(&would, "slots").unwrap()), (Some("web"), 256));
        assert!(number(&would, "moved").unwrap() > 0, "{would}");
    }
    let args = ["backend", "set", "web", "backend-1", "--weight", "3"];
    let would = json(&bed, &[&args[..], &["--dry-run"]].concat()).unwrap();
    let had = slots(&bed, "web").unwrap();
    let did = json(&bed, &args).unwrap();
    assert_eq!((&would["moved"], &would["backends"]), (&did["moved"], &did["backends"]));
    let moved = had.iter().zip(slots(&bed, "web").unwrap()).filter(|(a, b)| **a != *b).count();
    assert_eq!(number(&did, "moved").unwrap(), moved as u64);
    assert_eq!(moved, 64, "from 128 to 192 of 256");
    assert_eq!(shares(&bed, "web").unwrap(), [192, 64]);
    let (done, table, _) = said(&bed, &["backend", "set", "web", "backend-1", "--weight", "3"]).unwrap();
    assert!(done && table.contains("web: 0 of 256 slots moved"), "{table}");
}

#[test]
fn the_list_tells_who_drains_is_down_or_leaves() {
    let (bed, _balancer) = site().unwrap();
    let run = |args: &[&str]| {
        let (done, _, error) = said(&bed, args).unwrap();
        assert!(done, "{error}");
    };
    run(&["backend", "drain", "web", "backend-2", "--deadline", "500ms"]);
    wait_for(GRACE, "the drain to be told", || Ok(state(&bed, "backend-2")?.filter(|s| s != "draining")))
        .unwrap();
    assert_eq!(state(&bed, "backend-2").unwrap().as_deref(), Some("down"), "its deadline has passed");
    run(&["backend", "set", "web", "backend-2", "--weight", "1"]);
    assert_eq!(state(&bed, "backend-2").unwrap().as_deref(), Some("up"), "it serves again");
    run(&["backend", "drain", "web", "backend-2"]);
    assert_eq!(state(&bed, "backend-2").unwrap().as_deref(), Some("draining"));
    // Its slots learn: until they have, it stays.
    run(&["backend", "remove", "web", "backend-2"]);
    assert_eq!(state(&bed, "backend-2").unwrap().as_deref(), Some("leaving"));
    run(&["backend", "remove", "web", "backend-1", "--now"]);
    wait_until(GRACE, "it to be gone", || state(&bed, "backend-1").unwrap().is_none()).unwrap();
}

#[test]
fn twenty_bad_requests_are_told_what_is_wrong() {
    let (bed, mut balancer) = site().unwrap();
    let before = installed(&bed).unwrap();
    let long = "x".repeat(100);
    let b = "/v1/services/web/backends";
    let b1 = "/v1/services/web/backends/backend-1";
    let add = |name: &str, address: &str, weight: i64| {
        value!({ "name": name, "address": address, "weight": weight }).to_string()
    };
    let rows: Vec<(&str, String, String, u16, &str)> = vec![
        ("GET", "/".into(), String::new(), 404, "there is no path"),
        ("GET", "/v1/service".into(), String::new(), 404, "the API begins at /v1/services"),
        ("PUT", b1.into(), "{}".into(), 405, "does not take PUT; the header Allow lists"),
        (
            "GET",
            "/v1/services/shop".into(),
            String::new(),
            404,
            "there is no service \"shop\"; there are: web",
        ),
        ("GET", format!("{b}/b9"), String::new(), 404, "has no backend \"b9\""),
        (
            "PATCH",
            format!("{b}/b9"),
            "{\"weight\":1}".into(),
            404,
            "has no backend \"b9\"; there are: backend-1",
        ),
        ("PATCH", "/v1/services/shop/backends/x".into(), "{\"weight\":1}".into(), 404, "no service \"shop\""),
        (
            "PATCH",
            b1.into(),
            "{\"weight\":10001}".into(),
            422,
            "weight 10001 is out of bounds; use 0 to 10000",
        ),
        ("PATCH", b1.into(), "{\"weight\":-1}".into(), 422, "weight -1 is out of bounds"),
        ("PATCH", b1.into(), "{\"weight\":\"1\"}".into(), 422, "expected i64"),
        ("PATCH", b1.into(), "{\"wieght\":1}".into(), 422, "unknown field `wieght`, expected `weight`"),
        ("PATCH", b1.into(), "{\"weight\":".into(), 400, "the body is not understood"),
        ("PATCH", b1.into(), "{}".into(), 422, "missing field `weight`"),
        ("PATCH", format!("{b1}?dry_run=maybe"), "{\"weight\":1}".into(), 400, "the query is not understood"),
        ("PATCH", format!("{b1}?dryrun=true"), "{\"weight\":1}".into(), 400, "unknown field `dryrun`"),
        ("POST", b.into(), add("backend-1", "198.18.0.99", 1), 422, "has a backend \"backend-1\" already"),
        ("POST", b.into(), add("c", "198.18.0.11", 1), 422, "has address 198.18.0.11 already"),
        ("POST", b.into(), add("c", "300.1.1.1", 1), 422, "\"300.1.1.1\""),
        ("POST", b.into(), add("c", "2001:db8:18::11", 1), 422, "l2-dsr"),
        ("POST", b.into(), add("c", "198.18.0.13:80", 1), 422, "has a port, which needs forwarding \"nat\""),
        ("POST", b.into(), add("c d", "198.18.0.13", 1), 422, "name"),
        ("POST", b.into(), add(&long, "198.18.0.13", 1), 422, "name is 100 bytes long"),
        ("POST", b.into(), add("c", "203.0.113.7", 1), 422, "route"),
        ("POST", format!("{b1}/drain"), "{\"deadline\":\"5\"}".into(), 422, "is not a time span"),
        ("POST", "/v1/services".into(), "{\"name\":\"x\"}".into(), 422, "missing field `address`"),
        (
            "POST",
            "/v1/services".into(),
            value!({ "name": "web", "address": "192.0.2.99:80", "protocol": "tcp" }).to_string(),
            422,
            "already",
        ),
        (
            "POST",
            "/v1/services".into(),
            value!({ "name": "w2", "address": "192.0.2.10:80", "protocol": "tcp" }).to_string(),
            422,
            "is taken",
        ),
        ("DELETE", "/v1/services/shop".into(), String::new(), 404, "no service \"shop\""),
    ];
    assert!(rows.len() >= 20);
    for (method, path, body, status, words) in rows {
        let answer = ask(&bed, method, &path, &body).unwrap();
        assert_eq!(answer.status, status, "{method} {path} {body}: {answer:?}");
        assert!(answer.error().contains(words), "{method} {path} {body}: no {words:?} in {answer:?}");
    }
    // No JSON, and no type.
    for (headers, status) in [(vec![], 415), (vec![("Content-Type", "text/plain")], 415)] {
        let answer = ask_with(&bed, "PATCH", b1, &headers, "{\"weight\":1}").unwrap();
        assert_eq!((answer.status, answer.error().is_empty()), (status, false), "{answer:?}");
    }
    let answer = ask_with(&bed, "PATCH", b1, &[("If-Match", "abc")], "{}").unwrap();
    assert_eq!(answer.status, 400, "{answer:?}");
    balancer.must_run().unwrap();
    assert_eq!(installed(&bed).unwrap(), before, "nothing was changed");
}

#[test]
fn who_has_not_seen_the_last_change_changes_nothing() {
    let (bed, _balancer) = site().unwrap();
    let (web, b1) = ("/v1/services/web", "/v1/services/web/backends/backend-1");
    let tag = |answer: &Answer| answer.header("etag").unwrap().to_owned();
    let seen = tag(&ask(&bed, "GET", web, "").unwrap());
    assert_eq!(tag(&ask(&bed, "GET", web, "").unwrap()), seen, "counters are no part of it");
    let set = |tag: &str, weight: u32| {
        let headers = [("If-Match", tag), ("Content-Type", "application/json")];
        ask_with(&bed, "PATCH", b1, &headers, &format!("{{\"weight\":{weight}}}")).unwrap()
    };
    let first = set(&seen, 5);
    assert_eq!(first.status, 200, "{first:?}");
    let second = set(&seen, 6);
    assert_eq!(second.status, 412, "{second:?}");
    assert!(second.error().contains("service web was changed since it was read"), "{second:?}");
    assert_eq!(
        number(
            row(&ask(&bed, "GET", &format!("{web}/backends"), "").unwrap().json, &[("backend", "backend-1")])
                .unwrap(),
            "weight"
        )
        .unwrap(),
        5
    );
    let third = set(&format!("\"0\", {}", tag(&first)), 7);
    assert_eq!(third.status, 200, "the answer's tag goes on: {third:?}");
    assert_eq!(tag(&ask(&bed, "GET", web, "").unwrap()), tag(&third));
    assert_eq!(set("*", 8).status, 200);
    let missing = ask_with(&bed, "DELETE", "/v1/services/shop", &[("If-Match", "*")], "").unwrap();
    assert_eq!(missing.status, 404, "{missing:?}");
}

#[test]
fn another_user_may_not_change_anything() {
    let (bed, _balancer) = site().unwrap();
    // All in places where the other user may go, so that it is the socket's mode alone that keeps it out.
    let open = tempfile::Builder::new()
        .prefix("xlb-api-")
        .permissions(fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let copy = open.path().join("xdp-lb");
    fs::copy(built("xdp-lb").unwrap(), &copy).unwrap();
    let socket = open.path().join("api.sock");
    fs::hard_link(bed.api(), &socket).or_else(|_| fs::rename(bed.api(), &socket)).unwrap();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let ask = || {
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&copy);
        command.arg("--api").arg(&socket).args(["backend", "set", "web", "backend-1", "--weight", "9"]);
        command.output().unwrap()
    };
    let refused = ask();
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("is not for this user; use sudo, or join the socket's group"), "{error}");
    assert_eq!(shares(&bed, "web").unwrap(), [128, 128]);
    // It was the mode: with another it may, and its name is in the log.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let done = ask();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let log = fs::read_to_string(bed.directory().join("state/audit.jsonl")).unwrap();
    assert!(log.contains("\"uid\":65534"), "{log}");
}

#[test]
fn a_missing_daemon_is_told_and_maps_alone_are_no_daemon() {
    let (bed, mut balancer) = site().unwrap();
    let set = ["backend", "set", "web", "backend-1", "--weight", "2"];
    let mut command = bed.balancer().command(built("xdp-lb").unwrap());
    let only_maps = command.arg("--pin-dir").arg(bed.pin_dir()).args(set).output().unwrap();
    let error = String::from_utf8_lossy(&only_maps.stderr).into_owned();
    assert!(!only_maps.status.success() && error.contains("name its socket with --api"), "{error}");
    assert!(balancer.stop().unwrap().success());
    assert!(!bed.api().exists(), "the socket goes with the daemon");
    let (done, _, error) = said(&bed, &set).unwrap();
    assert!(!done && error.contains("no daemon answers at"), "{error}");
    assert!(error.contains("start `xdp-lb run -c FILE`, or name its socket with --api"), "{error}");
    // What the maps tell, they still do.
    assert_eq!(json(&bed, &["backend", "list"]).unwrap().as_array().unwrap().len(), 2);
    assert_eq!(json(&bed, &["stats"]).unwrap()["tracking"], Value::Null);
}

#[test]
fn events_tell_of_changes_as_they_happen() {
    let (bed, _balancer) = site().unwrap();
    let mut events = Events::listen(&bed).unwrap();
    let mut second = Events::listen(&bed).unwrap();
    for weight in [4, 5] {
        let body = format!("{{\"weight\":{weight}}}");
        assert_eq!(ask(&bed, "PATCH", "/v1/services/web/backends/backend-1", &body).unwrap().status, 200);
        let dry = format!("{{\"weight\":{}}}", weight + 10);
        ask(&bed, "PATCH", "/v1/services/web/backends/backend-1?dry_run=true", &dry).unwrap();
        for events in [&mut events, &mut second] {
            let told = events.wait_for("backend set").unwrap();
            assert_eq!(
                (told["target"].as_str(), &told["now"]["weight"]),
                (Some("web/backend-1"), &value!(weight))
            );
        }
    }
    let web = wait_for(GRACE, "a pass of the sweep", || {
        let tracking = ask(&bed, "GET", "/v1/tracking", "")?.json;
        Ok(row(&tracking["services"], &[("service", "web")]).ok().cloned())
    });
    let web = web.unwrap();
    assert_eq!(number(&web, "learning").unwrap() + number(&web, "stable").unwrap(), 256, "{web}");
}
