//! What weights that follow latency are worth to clients: two services of the same hosts, one with static weights, under the same load at
//! the same time, while one host becomes slow and recovers. A measurement: it asserts nothing about time.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    bed::Bed,
    closed_loop::{ClosedLoop, Request},
    workers::Workers,
};

use crate::site::{SERVICE, Site, service};

const STATIC: u16 = 8001;
const LATENCY: u16 = 8002;
/// Hosts, each with so many workers for each service.
const HOSTS: u8 = 4;
const WORKERS: usize = 2;
const FAST: Duration = Duration::from_millis(20);
const SLOW: Duration = Duration::from_millis(80);
/// Of each service.
const CLIENTS: u32 = 16;
const THINK: Duration = Duration::from_millis(30);
/// How long each phase lasts: before, while one host is slow, after.
const PHASES: [(&str, u64); 3] =
    [("before", 60), ("one of four at a quarter of the speed", 150), ("after", 150)];

/// Mean and 99th percentile in milliseconds, requests a second and failures.
fn figures(requests: &[Request], from: Instant, to: Instant) -> String {
    let within = || requests.iter().filter(|request| (from..to).contains(&request.ended));
    let mut latencies: Vec<_> =
        within().filter(|request| request.answered).map(|request| request.latency).collect();
    latencies.sort();
    let failed = within().filter(|request| !request.answered).count();
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    let count = latencies.len().max(1);
    let mean = latencies.iter().sum::<Duration>().as_secs_f64() * 1e3 / number(count);
    let p99 = latencies.get(count * 99 / 100).copied().unwrap_or_default().as_secs_f64() * 1e3;
    let rate = number(latencies.len()) / (to - from).as_secs_f64();
    format!("{mean:.1} | {p99:.0} | {rate:.0} | {failed}")
}

#[test]
#[ignore = "a measurement of six minutes: cargo test -p lb-tests --test latency live_latency -- --ignored --nocapture"]
fn live_latency() {
    let bed = Bed::builder().backends(HOSTS).build().unwrap();
    let workers = Workers::new().unwrap();
    let serve = |port| -> Vec<_> {
        bed.backends().iter().map(|host| workers.serve(host, port, WORKERS, FAST).unwrap()).collect()
    };
    let (of_static, of_latency) = (serve(STATIC), serve(LATENCY));
    let check = "interval = \"500ms\", timeout = \"500ms\", fall = 1000";
    let services = service(&bed, "static", STATIC, check, "mode = \"static\"").unwrap()
        + &service(&bed, SERVICE, LATENCY, check, "mode = \"latency\"").unwrap();
    let services = services.replace("slots = 1024", "slots = 16384");
    let site = Site::start(bed, &services).unwrap();
    let vip = site.bed.vip(false).unwrap();
    let (mut marks, mut shares) = (Vec::new(), Vec::new());
    let (ours, theirs) = thread::scope(|scope| {
        let load =
            |port| ClosedLoop::start(scope, site.bed.client(), SocketAddr::new(vip, port), CLIENTS, THINK);
        let (latency, fixed) = (load(LATENCY), load(STATIC));
        for (at, (_, seconds)) in PHASES.iter().enumerate() {
            let time = if at == 1 { SLOW } else { FAST };
            for times in [&of_static, &of_latency] {
                times[1].set(time);
            }
            let begun = Instant::now();
            marks.push(begun);
            for row_number in 1..=seconds / 10 {
                // Pacing: a row each ten seconds.
                let next = begun + Duration::from_secs(10 * row_number);
                while let Some(left) =
                    next.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
                {
                    thread::park_timeout(left);
                }
                let row = site.row("backend-2").unwrap();
                let share = row["share"].as_f64().unwrap_or_default() * 100.0;
                shares.push((Instant::now(), share));
                println!(
                    "{at} {:>4.0} s: share of backend-2 {share:.1} %, {}",
                    begun.elapsed().as_secs_f64(),
                    row["latency"]["reason"]
                );
            }
        }
        marks.push(Instant::now());
        (latency.finish().unwrap(), fixed.finish().unwrap())
    });
    println!("\n| phase | weights | mean ms | p99 ms | requests/s | failed |\n|---|---|---|---|---|---|");
    for ((phase, _), marks) in PHASES.iter().zip(marks.windows(2)) {
        for (name, requests) in [("static", &theirs), ("latency", &ours)] {
            println!("| {phase} | {name} | {} |", figures(requests, marks[0], marks[1]));
        }
    }
    println!(
        "\n| seconds | share of backend-2 | static: mean ms | p99 ms | /s | failed | latency: mean ms | p99 ms | /s | failed |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (at, share) in &shares {
        let from = at.checked_sub(Duration::from_secs(10)).unwrap_or(marks[0]);
        let seconds = (*at - marks[0]).as_secs();
        println!(
            "| {seconds} | {share:.1} % | {} | {} |",
            figures(&theirs, from, *at),
            figures(&ours, from, *at)
        );
    }
    println!("{}", site.service().unwrap()["weights"]);
}
