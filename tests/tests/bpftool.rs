//! Operators read the counters with bpftool: it must show names, and the numbers that `xdp-lb stats` shows.

use std::{net::SocketAddr, process::Command, time::Duration};

use anyhow::Result;
use lb_tests::{
    ask::{dump, installed, json, number, row, sum, text},
    bed::{Bed, Host, HttpServer, Process},
    config::{Service, config},
    load::Load,
    wait::wait_for,
};

/// A bed with two services that have carried connections, and another that has not.
fn used() -> Result<(Bed, Vec<HttpServer>, Process)> {
    let bed = Bed::builder().backends(2).build()?;
    let start = |host: &Host| HttpServer::start(host, 80, host.role());
    let servers = bed.backends().iter().map(start).collect::<Result<Vec<_>>>()?;
    let (v4, v6) = (bed.vip(false)?, bed.vip(true)?);
    let vip = |of_v6, port| SocketAddr::new(if of_v6 { v6 } else { v4 }, port);
    let services = [
        Service::tcp("web", vip(false, 80)).hosts(bed.backends(), &[1, 2]),
        Service::tcp("web6", vip(true, 80)).hosts(bed.backends(), &[2, 1]),
        Service::tcp("idle", vip(false, 81)).hosts(bed.backends(), &[1, 1]),
        // Its packets are dropped: every column has a number.
        Service::tcp("empty", vip(false, 82)),
    ];
    let balancer = bed.start_balancer(&config(&bed, &services))?;
    for v6 in [false, true] {
        let load = Load::new(vip(v6, 80), 200).timeout(Duration::from_secs(20));
        load.run(bed.client())?.require_all()?;
    }
    let refused = Load::new(vip(false, 82), 2).timeout(Duration::from_millis(200)).run(bed.client())?;
    assert_eq!(refused.failed, 2);
    Ok((bed, servers, balancer))
}

#[test]
fn the_sums_over_the_cpus_are_the_numbers_of_stats() {
    let (bed, _servers, _balancer) = used().unwrap();
    let names = ["BACKEND_STATS", "SERVICE_STATS", "VERDICTS"];
    // A last FIN or a router solicitation may come in between two looks.
    let (stats, [backends, services, verdicts]) = wait_for(Duration::from_secs(20), "a quiet moment", || {
        let before = json(&bed, &["stats"])?;
        let [one, two, three] = names.map(|map| dump(&bed, map));
        let dumps = [one?, two?, three?];
        Ok((json(&bed, &["stats"])? == before).then_some((before, dumps)))
    })
    .unwrap();

    for backend in stats["backends"].as_array().unwrap() {
        let index = number(backend, "index").unwrap();
        for field in ["packets", "bytes", "connections"] {
            assert_eq!(
                sum(&backends, index, field).unwrap(),
                number(backend, field).unwrap(),
                "{field} of {backend}"
            );
        }
        assert_eq!(number(backend, "connections").unwrap() > 0, backend["service"] != "idle", "{backend}");
    }
    for service in installed(&bed).unwrap().services {
        let shown = row(&stats["services"], &[("service", &service.name)]).unwrap();
        for field in ["packets", "bytes", "dropped"] {
            let id = u64::from(service.record.id);
            assert_eq!(
                sum(&services, id, field).unwrap(),
                number(shown, field).unwrap(),
                "{field} of {shown}"
            );
        }
        assert_eq!(number(shown, "dropped").unwrap() > 0, service.name == "empty", "{shown}");
    }
    let mut counted = 0;
    for verdict in lb_common::counters::Verdict::all() {
        let names = [("action", verdict.action()), ("reason", verdict.reason())];
        let shown = row(&stats["verdicts"], &names).unwrap();
        for field in ["packets", "bytes"] {
            let sum = sum(&verdicts, verdict.counter().into(), field).unwrap();
            assert_eq!(sum, number(shown, field).unwrap(), "{field} of {shown}");
            counted += sum;
        }
    }
    assert!(counted > 0);
}

#[test]
fn every_map_shows_the_names_of_its_fields() {
    let (bed, _servers, _balancer) = used().unwrap();
    let maps: [(&str, &[&str]); 9] = [
        ("BACKEND_STATS", &["packets", "bytes", "connections"]),
        ("SERVICE_STATS", &["packets", "bytes", "dropped"]),
        ("VERDICTS", &["packets", "bytes"]),
        ("SERVICES", &["address", "port", "protocol", "id", "first_slot", "slot_mask"]),
        (
            "BACKENDS",
            &["next_hop", "mac", "flags", "departure", "ifindex", "generation", "address", "service"],
        ),
        ("SLOTS", &["backend", "previous", "since"]),
        ("META", &["abi_version", "features", "build"]),
        ("SERVICE_LABELS", &["name"]),
        ("BACKEND_LABELS", &["name", "weight", "service"]),
    ];
    for (map, fields) in maps {
        let pin = bed.pin_dir().join(map);
        let bpftool = |dump: &[&str]| {
            let mut command = Command::new("bpftool");
            command.args(dump);
            if dump.contains(&"lookup") {
                // A quarter of a million slots, and a secret among them, need not be printed.
                command.arg("pinned").arg(&pin).args(["key", "0", "0", "0", "0"]);
            } else {
                command.arg("pinned").arg(&pin);
            }
            text(&mut command).unwrap()
        };
        let whole = !["SLOTS", "META"].contains(&map);
        let (plain, json) = if whole {
            (bpftool(&["map", "dump"]), bpftool(&["-j", "map", "dump"]))
        } else {
            (bpftool(&["map", "lookup"]), bpftool(&["-j", "map", "lookup"]))
        };
        for field in fields {
            // Not printed on failure either: META holds the key of the flow hash.
            assert!(plain.contains(&format!("\"{field}\": ")), "bpftool shows no {field} in {map}");
            assert!(json.contains(&format!("\"{field}\":")), "bpftool -j shows no {field} in {map}");
        }
    }
}
