//! `xdp-lb lookup` says where a flow goes: real connections from the same place go there.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::Result;
use lb_tests::{
    ask::{json, start_resolved},
    bed::{Bed, Host, HttpServer, Process},
    config::{Service, config},
    load::{get, open},
};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);
/// Served by the service of every port.
const OTHER: u16 = 8080;

struct Site {
    bed: Bed,
    _servers: Vec<HttpServer>,
    balancer: Process,
}

impl Site {
    fn new() -> Result<Self> {
        let bed = Bed::builder().backends(3).build()?;
        let serve = |port| move |host: &Host| HttpServer::start(host, port, host.role());
        let mut servers = bed.backends().iter().map(serve(80)).collect::<Result<Vec<_>>>()?;
        servers.extend(bed.backends().iter().map(serve(OTHER)).collect::<Result<Vec<_>>>()?);
        let (v4, v6) = (bed.vip(false)?, bed.vip(true)?);
        let weights = [3, 2, 1];
        let services = [
            Service::tcp("web", SocketAddr::new(v4, 80)).hosts(bed.backends(), &weights),
            Service::tcp("web6", SocketAddr::new(v6, 80)).hosts(bed.backends(), &weights),
            Service::tcp("every", SocketAddr::new(v4, 0)).hosts(bed.backends(), &weights),
        ];
        let text = config(&bed, &services).replace("\"hash\"\n", "\"hash\"\nslots = 256\n");
        let balancer = start_resolved(&bed, &text)?;
        Ok(Self { bed, _servers: servers, balancer })
    }

    fn client(&self, v6: bool, port: u16) -> SocketAddr {
        SocketAddr::new(self.bed.client().address(v6), port)
    }

    fn lookup(&self, service: &str, client: SocketAddr) -> Value {
        let client = client.to_string();
        let mut args = vec!["lookup", service, &client];
        if service == "every" {
            args.extend(["--port", "8080"]);
        }
        json(&self.bed, &args).unwrap()
    }

    /// A connection from there, and who answers.
    fn connect(&self, client: SocketAddr, port: u16) -> (TcpStream, SocketAddr) {
        let target = SocketAddr::new(self.bed.vip(client.is_ipv6()).unwrap(), port);
        let stream = self.bed.client().run_in(|| open(target, Some(client), PATIENCE)).unwrap();
        (stream, target)
    }

    fn refusal(&self, args: &[&str]) -> String {
        let output = self.bed.xdp_lb().unwrap().arg("lookup").args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
fn real_connections_go_where_it_says_without_a_daemon_too() {
    let mut site = Site::new().unwrap();
    assert!(site.balancer.stop().unwrap().success());
    let mut met = std::collections::BTreeSet::new();
    for (service, v6, port) in [("web", false, 80), ("web6", true, 80), ("every", false, OTHER)] {
        for source in 20_000..20_024 {
            let client = site.client(v6, source);
            let said = site.lookup(service, client);
            assert_eq!((&said["phase"], &said["flow"]), (&"stable".into(), &Value::Null), "{said}");
            assert_eq!(said["goes_on"], said["new_connection"], "the slot alone decides: {said}");
            let (stream, target) = site.connect(client, port);
            let answer = get(&stream, target).unwrap();
            assert_eq!(said["new_connection"]["backend"], *answer, "{said}");
            assert_eq!(said["new_connection"]["state"], "up", "{said}");
            met.insert(answer);
        }
    }
    assert_eq!(met.len(), 3, "every backend answered: {met:?}");
}

#[test]
fn flows_from_before_a_change_and_new_ones_are_told_apart() {
    let mut site = Site::new().unwrap();
    let open: Vec<_> = (21_000..21_040).map(|port| site.client(false, port)).collect();
    let streams: Vec<_> = open.iter().map(|client| site.connect(*client, 80)).collect();
    let before: Vec<_> = open.iter().map(|client| site.lookup("web", *client)).collect();
    json(&site.bed, &["backend", "set", "web", "backend-1", "--weight", "0"]).unwrap();
    assert!(site.balancer.stop().unwrap().success());
    let mut moved = 0;
    for ((client, before), (stream, target)) in open.iter().zip(before).zip(streams) {
        let said = site.lookup("web", *client);
        let had = before["new_connection"]["backend"].as_str().unwrap();
        assert_eq!(said["goes_on"]["backend"], had, "an open flow stays: {said}");
        assert_eq!((&said["hash"], &said["slot"]), (&before["hash"], &before["slot"]));
        if said["phase"] == "learning" {
            moved += 1;
            assert_eq!((had, &said["goes_on"]["state"]), ("backend-1", &"disabled".into()), "{said}");
            assert_ne!(said["new_connection"]["backend"], "backend-1", "{said}");
            // The first packet after the change has the flow remembered.
            assert_eq!(get(&stream, target).unwrap(), "backend-1");
            let known = site.lookup("web", *client);
            assert_eq!(known["flow"]["backend"], "backend-1", "{known}");
            assert_eq!(known["goes_on"]["backend"], "backend-1", "{known}");
            assert!(known["why"].to_string().contains("the flow table knows the flow"), "{known}");
            // A new connection from the next port of the same slot, if any, goes to the slot's new backend.
            let other = site.client(false, client.port() + 1_000);
            let said = site.lookup("web", other);
            let (stream, target) = site.connect(other, 80);
            assert_eq!(said["new_connection"]["backend"], *get(&stream, target).unwrap(), "{said}");
        }
    }
    assert!(moved > 5, "half of the slots were backend-1's");
}

#[test]
fn what_cannot_be_told_is_refused() {
    let site = Site::new().unwrap();
    for (args, says) in [
        (&["shop", "203.0.113.7:1"][..], "there is no service \"shop\"; there are: every, web, web6"),
        (&["every", "203.0.113.7:1"], "service \"every\" is there for every port; say which with --port"),
        (&["every", "203.0.113.7:1", "--port", "80"], "port 80 of that address is service \"web\"'s"),
        (&["web", "203.0.113.7:1", "--port", "81"], "service \"web\" is there for port 80 alone"),
        (&["web", "[2001:db8::7]:1"], "cannot send to 192.0.2.10"),
        (&["web", "127.0.0.1:1"], "martian-source"),
    ] {
        let error = site.refusal(args);
        assert!(error.contains(says), "{args:?}: {error}");
    }
    let output = site.bed.xdp_lb().unwrap().args(["lookup", "web", "203.0.113.7:40112"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for words in
        ["web: 203.0.113.7:40112 -> 192.0.2.10:80, tcp", "of 256, stable", "a new connection goes to: "]
    {
        assert!(text.contains(words), "no {words:?} in {text}");
    }
}
