//! What Prometheus scrapes: in its format, with its names, and saying what the maps say.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    api::ask,
    ask::{dump, installed, json, number, start, start_resolved, sum},
    bed::{Bed, Host, HttpServer},
    config::{Service, config_with},
    echo::Echo,
    load::Load,
    traffic::{Kind, Traffic},
    wait::wait_for,
};

const PORT: u16 = 7;
const METRICS: &str = "metrics = \"127.0.0.1:9477\"";

/// What `GET /metrics` gives, in the balancer's namespace.
fn scrape(bed: &Bed) -> Result<String> {
    let text = bed.balancer().run_in(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9477")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })?;
    let (head, body) = text.split_once("\r\n\r\n").context("no answer of HTTP")?;
    ensure!(head.contains("200 OK") && head.contains("text/plain; version=0.0.4"), "{head}");
    Ok(body.to_owned())
}

/// Value of a series.
fn value(text: &str, series: &str) -> Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {series} in {text}"))?.parse()?)
}

/// Has Prometheus' own tool judge the text.
fn judge(text: &str) -> Result<()> {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("no promtool; `cargo xtask setup` installs it")?;
    tool.stdin.take().context("no input")?.write_all(text.as_bytes())?;
    let output = tool.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{said}\n{text}");
    Ok(())
}

#[test]
fn what_is_scraped_is_what_the_maps_count_and_the_tool_accepts_it() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let vip = SocketAddr::new(bed.vip(false).unwrap(), PORT);
    let services = [Service::tcp("echo", vip).hosts(bed.backends(), &[1, 3])];
    let _balancer = start_resolved(&bed, &config_with(&bed, METRICS, &services)).unwrap();
    let traffic = Traffic::default();
    thread::scope(|scope| {
        let _running = traffic.start(scope, bed.client(), vip, Kind::NewTcp, 2);
        traffic.flows_on(40).unwrap();
    });
    let changed = ask(&bed, "PATCH", "/v1/services/echo/backends/backend-1", "{\"weight\":2}").unwrap();
    assert_eq!(changed.status, 200);
    let text = scrape(&bed).unwrap();
    judge(&text).unwrap();
    let stats = ask(&bed, "GET", "/v1/stats", "").unwrap().json;
    assert_eq!(stats["services"], json(&bed, &["stats"]).unwrap()["services"]);
    let service = &stats["services"][0];
    for (series, field) in [("packets", "packets"), ("bytes", "bytes"), ("flow_lookups", "lookups")] {
        let series = format!("xdp_lb_service_{series}_total{{service=\"echo\"}}");
        assert_eq!(value(&text, &series).unwrap(), number(service, field).unwrap(), "{series}");
    }
    let backends = stats["backends"].as_array().unwrap();
    assert!(backends.iter().all(|row| number(row, "connections").unwrap() > 0), "{stats}");
    for row in backends {
        let address = row["address"].as_str().unwrap();
        let labels = format!("{{service=\"echo\",backend={},address=\"{address}\"}}", row["backend"]);
        for (series, field) in
            [("packets_total", "packets"), ("connections_total", "connections"), ("slots", "slots")]
        {
            let series = format!("xdp_lb_backend_{series}{labels}");
            assert_eq!(value(&text, &series).unwrap(), number(row, field).unwrap(), "{series}");
        }
    }
    assert_eq!(value(&text, "xdp_lb_changes_total").unwrap(), 1);
    assert_eq!(value(&text, "xdp_lb_map_write_failures_total").unwrap(), 0);
    assert_eq!(number(&stats["daemon"], "changes").unwrap(), 1);
    for name in [
        "xdp_lb_verdict_packets_total{",
        "xdp_lb_build_info{",
        "xdp_lb_flow_table_capacity_entries{",
        "phase=\"learning\"",
    ] {
        assert!(text.contains(name), "no {name} in {text}");
    }
}

/// Connections that their client resets.
const RESETS: u64 = 7;

#[test]
fn after_ten_thousand_connections_metrics_and_bpftool_say_the_same() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let start = |host: &Host| HttpServer::start(host, 80, host.role());
    let _servers = bed.backends().iter().map(start).collect::<Result<Vec<_>>>().unwrap();
    let vip = |v6| SocketAddr::new(bed.vip(v6).unwrap(), 80);
    let services = [
        Service::tcp("web", vip(false)).hosts(bed.backends(), &[1, 2, 3]),
        Service::tcp("web6", vip(true)).hosts(bed.backends(), &[3, 2, 1]),
    ];
    let _balancer = start_resolved(&bed, &config_with(&bed, METRICS, &services)).unwrap();
    for v6 in [false, true] {
        Load::new(vip(v6), 5_000).run(bed.client()).unwrap().require_all().unwrap();
    }
    for _ in 0..RESETS {
        let reset =
            || Ok(socket2::SockRef::from(&TcpStream::connect(vip(false))?).set_linger(Some(Duration::ZERO))?);
        bed.client().run_in(reset).unwrap();
    }
    // A last FIN or a router solicitation may come in between two looks.
    let counters = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("_packets_total{"));
        lines.map(str::to_owned).collect()
    };
    let maps = ["BACKEND_STATS", "SERVICE_STATS", "VERDICTS"];
    let (text, dumps) = wait_for(Duration::from_secs(20), "a quiet moment", || {
        let before = scrape(&bed)?;
        let dumps = maps.iter().map(|map| dump(&bed, map)).collect::<Result<Vec<_>>>()?;
        Ok((counters(&scrape(&bed)?) == counters(&before)).then_some((before, dumps)))
    })
    .unwrap();
    let same = |series: &str, labels: &str, dump: usize, index: u64, field: &str| {
        let (series, sum) = (format!("xdp_lb_{series}{labels}"), sum(&dumps[dump], index, field).unwrap());
        assert_eq!(value(&text, &series).unwrap(), sum, "{series}");
        sum
    };
    let (mut connections, mut resets) = (0, 0);
    for row in json(&bed, &["backend", "list"]).unwrap().as_array().unwrap() {
        let labels =
            format!("{{service={},backend={},address={}}}", row["service"], row["backend"], row["address"]);
        let index = number(row, "index").unwrap();
        same("backend_packets_total", &labels, 0, index, "packets");
        same("backend_bytes_total", &labels, 0, index, "bytes");
        connections += same("backend_connections_total", &labels, 0, index, "connections");
        resets += same("backend_resets_total", &labels, 0, index, "resets");
    }
    assert!(resets >= RESETS, "{resets}");
    assert!(connections >= 10_000, "a repeated SYN counts again: {connections}");
    for service in installed(&bed).unwrap().services {
        let (labels, id) = (format!("{{service=\"{}\"}}", service.name), service.record.id.into());
        assert!(same("service_packets_total", &labels, 1, id, "packets") > 25_000);
        same("service_bytes_total", &labels, 1, id, "bytes");
        same("service_dropped_packets_total", &labels, 1, id, "dropped");
    }
    for verdict in lb_common::counters::Verdict::all() {
        let labels = format!("{{action=\"{}\",reason=\"{}\"}}", verdict.action(), verdict.reason());
        same("verdict_packets_total", &labels, 2, verdict.counter().into(), "packets");
        same("verdict_bytes_total", &labels, 2, verdict.counter().into(), "bytes");
    }
}

#[test]
fn a_thousand_backends_are_scraped() {
    let bed = Bed::builder().backends(1).build().unwrap();
    let vip = SocketAddr::new(bed.vip(false).unwrap(), PORT);
    let service = (0..1000u32).fold(Service::tcp("echo", vip), |service, number| {
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 20)) + number % 200);
        service.backend(&format!("b{number}"), address.into(), 1)
    });
    // On 200 addresses, because the bed's network has no more: five services of 200.
    let text = service.to_string();
    let rows: Vec<_> = text.split("\n[[service.backend]]").collect();
    let services = (0..5).fold(String::new(), |text, at| {
        let head =
            rows[0].replace("\"echo\"", &format!("\"echo{at}\"")).replace(":7\"", &format!(":{}\"", 70 + at));
        let own: Vec<_> = rows[1..]
            .iter()
            .skip(at * 200)
            .take(200)
            .map(|row| format!("\n[[service.backend]]{row}"))
            .collect();
        text + &head + &own.concat()
    });
    let (_balancer, _) = start(&bed, &(config_with(&bed, METRICS, &[]) + &services)).unwrap();
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let began = Instant::now();
        let text = scrape(&bed).unwrap();
        fastest = fastest.min(began.elapsed());
        assert_eq!(
            text.lines().filter(|line| line.starts_with("xdp_lb_backend_packets_total{")).count(),
            1000
        );
    }
    judge(&scrape(&bed).unwrap()).unwrap();
    println!("a scrape of 1,000 backends takes {fastest:?}");
}
