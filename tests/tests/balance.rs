//! Balancing: who gets which connection, over TCP and UDP, IPv4 and IPv6, and what the balancer says it did.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::{
    ask::{json, number, row, text},
    bed::{Bed, Host, HttpServer, Nginx},
    config::{Service, config},
    echo::Echo,
    load::{Load, Report},
    traffic::{Flow, Kind},
    transfer::{Sink, download, upload},
};
use serde_json::Value;

const FAMILIES: [(&str, bool); 2] = [("web", false), ("web6", true)];
const WEIGHTS: [u32; 3] = [1, 2, 3];
/// With the same key and the same ports the same flows go to the same backends in every run.
const HASH_KEY: &str = "000102030405060708090a0b0c0d0e0f";

/// A TCP service per family, on port 80, with the bed's backends.
fn web(bed: &Bed, weights: &[u32]) -> Result<Vec<Service>> {
    let service = |(name, v6)| {
        let vip = SocketAddr::new(bed.vip(v6)?, 80);
        Ok(Service::tcp(name, vip).hosts(bed.backends(), weights))
    };
    FAMILIES.into_iter().map(service).collect()
}

#[test]
fn curl_reaches_nginx_on_every_backend_through_the_vip() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _servers: Vec<Nginx> = bed
        .backends()
        .iter()
        .map(|host| Nginx::start(host, &format!("{}\n", host.role())).unwrap())
        .collect();
    let _balancer = bed.start_balancer(&config(&bed, &web(&bed, &[1, 1, 1]).unwrap())).unwrap();
    for (_, v6) in FAMILIES {
        // Forty connections: that one of three backends gets none of them happens once in three million runs.
        let url = format!("http://{}/[1-40]", SocketAddr::new(bed.vip(v6).unwrap(), 80));
        let mut curl = bed.client().command("curl");
        curl.args(["-sS", "-m", "30", "-H", "Connection: close", "-w", "%{http_code}\n"]);
        // Brackets are a range for curl, in an IPv6 address too unless it is told by --resolve.
        let (host, name) = (bed.vip(v6).unwrap(), "vip.example");
        curl.arg("--resolve").arg(format!("{name}:80:{host}"));
        let said = text(curl.arg(url.replace(&SocketAddr::new(host, 80).to_string(), name))).unwrap();
        let mut answers: BTreeMap<&str, usize> = BTreeMap::new();
        for line in said.lines() {
            *answers.entry(line).or_default() += 1;
        }
        assert_eq!(answers.remove("200"), Some(40), "{said}");
        let names: Vec<_> = answers.keys().copied().collect();
        assert_eq!(names, ["backend-1", "backend-2", "backend-3"], "{answers:?}");
        assert_eq!(answers.values().sum::<usize>(), 40);
    }
}

/// SYNs that the client has sent again; each counts as a connection attempt of its backend.
fn repeated_syns(client: &Host) -> Result<u64> {
    let text = client.run_in(|| Ok(fs::read_to_string("/proc/thread-self/net/netstat")?))?;
    let mut rows = text.lines().filter(|line| line.starts_with("TcpExt:")).map(|line| line.split(' '));
    let (names, values) = rows.next().zip(rows.next()).context("no TcpExt")?;
    let found = names.zip(values).find(|(name, _)| *name == "TCPSynRetrans");
    Ok(found.context("no TCPSynRetrans")?.1.parse()?)
}

fn send_from_fixed_ports(bed: &Bed, v6: bool, connections: usize) -> Result<Report> {
    let target = SocketAddr::new(bed.vip(v6)?, 80);
    let ports = (20_000..).map(|port| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port));
    let load =
        Load::new(target, connections).timeout(Duration::from_secs(20)).sources(ports.take(connections));
    load.answers(["backend-1", "backend-2", "backend-3"]).run(bed.client())
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "percentages of counts far below 2^52")]
fn six_thousand_connections_follow_the_weights_and_are_counted() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let servers: Vec<HttpServer> =
        bed.backends().iter().map(|host| HttpServer::start(host, 80, host.role()).unwrap()).collect();
    let key = format!("hash_key = \"{HASH_KEY}\"\n\n[[service]]");
    let text = config(&bed, &web(&bed, &WEIGHTS).unwrap()).replacen("[[service]]", &key, 1);
    let _balancer = bed.start_balancer(&text).unwrap();

    let mut report = send_from_fixed_ports(&bed, false, 3000).unwrap();
    report.merge(send_from_fixed_ports(&bed, true, 3000).unwrap());
    report.require_all().unwrap();
    assert_eq!(report.answered(), 6000);
    let repeated = repeated_syns(bed.client()).unwrap();
    let stats = json(&bed, &["stats"]).unwrap();
    for ((host, weight), server) in bed.backends().iter().zip(WEIGHTS).zip(&servers) {
        let name = host.role();
        assert_eq!(server.accepted(), report.of(name), "{name}");
        let share = report.of(name) as f64 / 60.0;
        let expected = f64::from(weight) * 100.0 / 6.0;
        assert!((share - expected).abs() <= 3.0, "{name} got {share} % instead of {expected} %");
        let of = |service, field| {
            number(row(&stats["backends"], &[("service", service), ("backend", name)]).unwrap(), field)
                .unwrap()
        };
        let connections = of("web", "connections") + of("web6", "connections");
        assert!(
            (server.accepted()..=server.accepted() + repeated).contains(&connections),
            "{name}: {connections} counted, {} accepted, {repeated} SYNs repeated",
            server.accepted()
        );
    }
    counters_agree(&stats).unwrap();
}

/// A packet to a service is one of a backend of it, and has the verdict `tx`.
fn counters_agree(stats: &Value) -> Result<()> {
    let rows = |of: &str| stats[of].as_array().cloned().with_context(|| format!("no {of} in {stats}"));
    let sum = |rows: Vec<Value>, field| -> Result<u64> { rows.iter().map(|row| number(row, field)).sum() };
    for field in ["packets", "bytes"] {
        for service in rows("services")? {
            assert_eq!(number(&service, "dropped")?, 0, "{service}");
            let own = rows("backends")?.into_iter().filter(|row| row["service"] == service["service"]);
            let of_backends = sum(own.collect(), field)?;
            assert_eq!(number(&service, field)?, of_backends, "{service}");
            assert!(of_backends > 0, "{service}");
        }
        let sent = row(&stats["verdicts"], &[("action", "tx"), ("reason", "forwarded")])?;
        assert_eq!(number(sent, field)?, sum(rows("services")?, field)?, "{sent}");
    }
    Ok(())
}

fn fields(row: &Value) -> Vec<&str> {
    row.as_object().into_iter().flat_map(|row| row.keys()).map(String::as_str).collect()
}

#[test]
fn slots_are_the_exact_quota_and_rows_have_the_names_of_the_configuration() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _balancer = bed.start_balancer(&config(&bed, &web(&bed, &WEIGHTS).unwrap())).unwrap();
    let list = json(&bed, &["backend", "list"]).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 6);
    for (service, v6) in FAMILIES {
        let mut sum = 0;
        for (host, weight) in bed.backends().iter().zip(WEIGHTS) {
            let row = row(&list, &[("service", service), ("backend", host.role())]).unwrap();
            let slots = number(row, "slots").unwrap();
            sum += slots;
            // Within less than one slot of 16384 * weight / 6.
            assert!((slots * 6).abs_diff(16_384 * u64::from(weight)) < 6, "{row}");
            let mac = host.mac().map(|byte| format!("{byte:02x}")).join(":");
            assert_eq!(row["address"], host.address(v6).to_string(), "{row}");
            assert_eq!((&row["mac"], &row["interface"]), (&mac.into(), &"eth0".into()), "{row}");
            assert_eq!((&row["weight"], &row["effective_weight"]), (&weight.into(), &weight.into()), "{row}");
            assert_eq!((&row["state"], &row["packets"]), (&"up".into(), &0.into()), "{row}");
        }
        assert_eq!(sum, 16_384);
    }
    let of_one = json(&bed, &["backend", "list", "web6"]).unwrap();
    assert_eq!(of_one.as_array().unwrap().len(), 3);

    let stats = json(&bed, &["stats"]).unwrap();
    assert_eq!(stats["backends"], list);
    let backend = "address backend bytes connections effective_weight flows health index interface latency mac packets resets \
                   return_bytes return_packets service share slots state weight";
    assert_eq!(fields(&list[0]).join(" "), backend);
    let service = "address bytes dropped forwarding hits holding learned learning lookups opened orphaned overflows packets panic protocol reused service slots stable weights";
    assert_eq!(fields(&stats["services"][0]).join(" "), service);
    assert_eq!(fields(&stats["verdicts"][0]).join(" "), "action bytes meaning packets reason");
    assert_eq!(stats["services"][1]["address"], "[2001:db8::10]:80");
    // The tables for people name the same.
    let table = text(bed.xdp_lb().unwrap().args(["backend", "list"])).unwrap();
    for word in ["SERVICE", "WEIGHT", "SLOTS", "web6", "backend-3", "2001:db8:18::13", "50.00 %"] {
        assert!(table.contains(word), "no {word} in\n{table}");
    }
}

#[test]
fn datagrams_reach_the_backends_and_answers_come_from_the_vip() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let servers = Echo::on_all(&bed, 5300).unwrap();
    let service = |(name, v6)| {
        Service::udp(name, SocketAddr::new(bed.vip(v6).unwrap(), 5300)).hosts(bed.backends(), &[1, 1])
    };
    let services: Vec<_> = [("dns", false), ("dns6", true)].into_iter().map(service).collect();
    let _balancer = bed.start_balancer(&config(&bed, &services)).unwrap();

    let mut answered: BTreeMap<String, u64> = BTreeMap::new();
    for v6 in [false, true] {
        let target = SocketAddr::new(bed.vip(v6).unwrap(), 5300);
        // A connected socket takes answers from the VIP alone.
        let ask = || -> Result<Vec<String>> {
            let one = |number| {
                let mut flow = Flow::new(target, Kind::Udp)?;
                let first = flow.ask(number)?;
                let again = flow.ask(number + 1000)?;
                anyhow::ensure!(first == again, "a flow went to {first}, then to {again}");
                Ok(first)
            };
            (0..60).map(|number| one(number).with_context(|| format!("flow {number}"))).collect()
        };
        for name in bed.client().run_in(ask).unwrap() {
            *answered.entry(name).or_default() += 2;
        }
    }
    let stats = json(&bed, &["stats"]).unwrap();
    for (host, server) in bed.backends().iter().zip(&servers) {
        let name = host.role();
        assert!(server.datagrams() > 0, "{answered:?}");
        assert_eq!(answered.get(name), Some(&server.datagrams()), "{name}");
        let of = |service, field| {
            number(row(&stats["backends"], &[("service", service), ("backend", name)]).unwrap(), field)
                .unwrap()
        };
        assert_eq!(of("dns", "packets") + of("dns6", "packets"), server.datagrams(), "{name}");
        assert_eq!(of("dns", "connections") + of("dns6", "connections"), 0, "a datagram is no connection");
    }
    counters_agree(&stats).unwrap();
}

#[test]
fn port_0_takes_every_port_that_no_other_service_has() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let (every, own) = (&bed.backends()[..2], &bed.backends()[2..]);
    let servers = |hosts: &[Host], port| -> Vec<HttpServer> {
        hosts.iter().map(|host| HttpServer::start(host, port, host.role()).unwrap()).collect()
    };
    let _servers = [80, 8583, 65_535].map(|port| servers(bed.backends(), port));
    let vip = |v6, port| SocketAddr::new(bed.vip(v6).unwrap(), port);
    let mut services = Vec::new();
    for (name, v6) in FAMILIES {
        services.push(Service::tcp(&format!("every-{name}"), vip(v6, 0)).hosts(every, &[1, 1]));
        services.push(Service::tcp(&format!("own-{name}"), vip(v6, 8583)).hosts(own, &[1]));
    }
    let _balancer = bed.start_balancer(&config(&bed, &services)).unwrap();
    for (name, v6) in FAMILIES {
        for (port, answers) in [
            (80, &["backend-1", "backend-2"][..]),
            (65_535, &["backend-1", "backend-2"]),
            (8583, &["backend-3"]),
        ] {
            let load = Load::new(vip(v6, port), 60).timeout(Duration::from_secs(20));
            let report = load.answers(answers.to_vec()).run(bed.client()).unwrap();
            report.require_all().unwrap();
            assert_eq!(report.by_backend.len(), answers.len(), "{name} port {port}: {report:?}");
        }
    }
    let stats = json(&bed, &["stats"]).unwrap();
    assert_eq!(stats["services"][0]["address"], "192.0.2.10:0");
    counters_agree(&stats).unwrap();
}

#[test]
fn a_hundred_megabytes_arrive_whole_each_way() {
    const PORT: u16 = 5001;
    const MANY: usize = 100 << 20;
    let bed = Bed::builder().backends(2).build().unwrap();
    let _sinks: Vec<Sink> = bed.backends().iter().map(|host| Sink::start(host, PORT).unwrap()).collect();
    let services = FAMILIES.map(|(name, v6)| {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), PORT);
        Service::tcp(name, vip).hosts(bed.backends(), &[1, 1])
    });
    let _balancer = bed.start_balancer(&config(&bed, &services)).unwrap();
    for (_, v6) in FAMILIES {
        let target = SocketAddr::new(bed.vip(v6).unwrap(), PORT);
        download(bed.client(), target, MANY).unwrap();
        upload(bed.client(), target, MANY).unwrap();
    }
}
