//! Two tiers, as payment sites run them: real servers behind the balancer.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    ask::{number, start_resolved, text},
    bed::{Bed, Nginx, Process},
    config::{Service, config},
    load::open,
    tier,
};

const PATIENCE: Duration = Duration::from_secs(20);
const REDIS: u16 = 6379;
const MEMCACHED: u16 = 11211;
const HTTP: u16 = 8080;
/// Of the bed's backends the first ones are the first tier.
const FRONT: usize = 2;

/// A service per family and protocol on a port of the VIPs, with the first backends.
fn services(bed: &Bed, port: u16, udp: bool) -> Vec<Service> {
    let vips = bed.vips().iter().map(|vip| SocketAddr::new(*vip, port));
    vips.flat_map(|vip| {
        let family = if vip.is_ipv6() { 6 } else { 4 };
        let tcp = Service::tcp(&format!("tcp{family}"), vip);
        let udp = udp.then(|| Service::udp(&format!("udp{family}"), vip));
        [tcp].into_iter().chain(udp)
    })
    .map(|service| service.hosts(&bed.backends()[..FRONT], &[1; FRONT]))
    .collect()
}

/// What redis answers to a command, through the virtual address.
fn redis_cli(bed: &Bed, v6: bool, words: &[&str]) -> Result<String> {
    let mut cli = bed.client().command("timeout");
    cli.args(["20", "redis-cli", "-h", &bed.vip(v6)?.to_string(), "-p", &REDIS.to_string()]);
    Ok(text(cli.args(words))?.trim_end().to_owned())
}

/// One backend, so that what was set is found again.
#[test]
fn redis_keeps_what_is_set_through_the_vip() {
    let bed = Bed::builder().build().unwrap();
    let _redis = tier::redis(bed.backend(0), REDIS).unwrap();
    let services = [false, true].map(|v6| {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), REDIS);
        Service::tcp(if v6 { "redis6" } else { "redis" }, vip).hosts(bed.backends(), &[1])
    });
    let _balancer = start_resolved(&bed, &config(&bed, &services)).unwrap();
    // More than a segment, so that it takes several packets each way.
    let long = "5a".repeat(20_000);
    for v6 in [false, true] {
        let key = if v6 { "card6" } else { "card" };
        assert_eq!(redis_cli(&bed, v6, &["PING"]).unwrap(), "PONG");
        assert_eq!(redis_cli(&bed, v6, &["GET", key]).unwrap(), "");
        assert_eq!(redis_cli(&bed, v6, &["SET", key, &long]).unwrap(), "OK");
        assert_eq!(redis_cli(&bed, v6, &["GET", key]).unwrap(), long);
        // What is said over the one family is known over the other.
        assert_eq!(redis_cli(&bed, !v6, &["STRLEN", key]).unwrap(), long.len().to_string());
        assert_eq!(redis_cli(&bed, v6, &["-r", "20", "INCR", "counter"]).unwrap().lines().count(), 20);
    }
    assert_eq!(redis_cli(&bed, false, &["GET", "counter"]).unwrap(), "40");
}

/// Sends a request of memcached over TCP and gives the first line of the answer.
fn memcached_tcp(target: SocketAddr, request: &str) -> Result<String> {
    let stream = open(target, None, PATIENCE)?;
    (&stream).write_all(request.as_bytes()).context("cannot send")?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).context("no answer")?;
    Ok(line.trim_end().to_owned())
}

/// The same over UDP, behind the frame header of memcached's protocol.txt: request, number, of how many, 0.
fn memcached_udp(target: SocketAddr, request: &str, number: u16) -> Result<String> {
    let any: IpAddr =
        if target.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).context("cannot make a socket")?;
    // Answers from other addresses than the VIP's never arrive.
    socket.connect(target).context("cannot connect")?;
    socket.set_read_timeout(Some(PATIENCE)).context("cannot set the timeout")?;
    let [high, low] = number.to_be_bytes();
    let header = [high, low, 0, 0, 0, 1, 0, 0];
    socket.send(&[&header, request.as_bytes()].concat()).context("cannot send")?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).context("no answer")?;
    let (said, answer) = buffer[..length].split_at_checked(header.len()).context("no frame header")?;
    ensure!(*said == header, "frame header {said:?} instead of {header:?}");
    Ok(String::from_utf8_lossy(answer).lines().next().unwrap_or_default().to_owned())
}

#[test]
fn memcached_answers_over_tcp_and_udp() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let servers: Vec<Process> =
        bed.backends().iter().map(|host| tier::memcached(host, MEMCACHED, bed.vips()).unwrap()).collect();
    let _balancer = start_resolved(&bed, &config(&bed, &services(&bed, MEMCACHED, true))).unwrap();
    // Both servers get the key by name, so that it does not matter which one answers later.
    for host in bed.backends() {
        let own = SocketAddr::new(host.address(false), MEMCACHED);
        let request = format!("set who 0 0 {}\r\n{}\r\n", host.role().len(), host.role());
        let said = bed.client().run_in(|| memcached_tcp(own, &request)).unwrap();
        assert_eq!(said, "STORED");
    }
    for v6 in [false, true] {
        let target = SocketAddr::new(bed.vip(v6).unwrap(), MEMCACHED);
        let ask = || {
            let of_tcp =
                (0..20).map(|_| memcached_tcp(target, "incr none 1\r\n")).collect::<Result<Vec<_>>>()?;
            let of_udp =
                (0..20).map(|n| memcached_udp(target, "get who\r\n", n)).collect::<Result<Vec<_>>>()?;
            let sets = (0..20)
                .map(|n| memcached_udp(target, "set other 0 0 2\r\nok\r\n", n))
                .collect::<Result<Vec<_>>>()?;
            Ok((of_tcp, of_udp, sets))
        };
        let (of_tcp, of_udp, sets) = bed.client().run_in(ask).unwrap();
        assert_eq!(BTreeSet::from_iter(of_tcp), BTreeSet::from(["NOT_FOUND".to_owned()]));
        assert_eq!(BTreeSet::from_iter(of_udp), BTreeSet::from(["VALUE who 0 9".to_owned()]));
        assert_eq!(BTreeSet::from_iter(sets), BTreeSet::from(["STORED".to_owned()]));
    }
    for (host, mut server) in bed.backends().iter().zip(servers) {
        server.must_run().unwrap();
        // 60 flows a family: that one of two servers gets none is once in 10^36 runs.
        let stats = lb_tests::ask::json(&bed, &["stats"]).unwrap();
        let rows = stats["backends"].as_array().unwrap().iter().filter(|row| row["backend"] == host.role());
        assert!(rows.map(|row| number(row, "packets").unwrap()).sum::<u64>() > 0, "{}", host.role());
    }
}

/// Ten requests over connections of their own: each answer with its headers.
fn curl(bed: &Bed, v6: bool) -> Result<String> {
    let mut curl = bed.client().command("timeout");
    // Curl's own -m is for each connection.
    curl.args(["40", "curl", "-sS", "-i", "-m", "30", "-H", "Connection: close"]);
    curl.arg("--resolve").arg(format!("vip.example:{HTTP}:{}", bed.vip(v6)?));
    Ok(text(curl.arg(format!("http://vip.example:{HTTP}/[1-20]")))?.to_lowercase())
}

/// A first tier of this kind on two backends, and nginx on the third one, which the balancer does not know.
fn two_tiers(first_tier: impl Fn(&Bed, usize) -> Result<Process>, header: &str) {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _nginx = Nginx::start(bed.backend(FRONT), "from the second tier\n").unwrap();
    let _front: Vec<Process> = (0..FRONT).map(|index| first_tier(&bed, index).unwrap()).collect();
    let _balancer = start_resolved(&bed, &config(&bed, &services(&bed, HTTP, false))).unwrap();
    for v6 in [false, true] {
        let said = curl(&bed, v6).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
        assert_eq!(count("http/1.1 200"), 20, "{said}");
        assert_eq!(count("from the second tier"), 20, "{said}");
        assert_eq!(count(header), 20, "{said}");
    }
    for host in &bed.backends()[..FRONT] {
        let connections: u64 = ["tcp4", "tcp6"]
            .map(|service| lb_tests::ask::backend(&bed, service, host.role()).unwrap())
            .iter()
            .map(|row| number(row, "connections").unwrap())
            .sum();
        // Of forty connections; none at all would be once in 10^12 runs.
        assert!(connections > 0, "{} got nothing", host.role());
    }
}

fn second_tier(bed: &Bed) -> SocketAddr {
    SocketAddr::new(bed.backend(FRONT).address(false), 80)
}

#[test]
fn haproxy_stands_between_the_balancer_and_nginx() {
    two_tiers(|bed, index| tier::haproxy(bed.backend(index), HTTP, &[second_tier(bed)]), "x-tier: backend-");
}

#[test]
fn varnish_stands_between_the_balancer_and_nginx() {
    two_tiers(|bed, index| tier::varnish(bed.backend(index), HTTP, second_tier(bed)), "via: ");
}
