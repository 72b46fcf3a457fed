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
    ask::{json, number, start, start_resolved},
    bed::Bed,
    config::{Service, config_with},
    echo::Echo,
    traffic::{Kind, Traffic},
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
