//! How fast a backend that fails is out of the table. A measurement: it asserts no time.

use std::{
    thread,
    time::{Duration, Instant},
};

use lb_tests::{
    ask::slots,
    bed::{Bed, Nginx},
    wait::wait_until,
};

use crate::site::{SOON, Site, servers};

/// Rounds of each row.
const ROUNDS: usize = 10;

#[test]
#[ignore = "a measurement: cargo nextest run -p lb-tests --test failover time_until --run-ignored all --no-capture"]
fn time_until_a_dead_backend_is_out() {
    println!("| interval | timeout | fall | bound | least | mean | most |\n|---|---|---|---|---|---|---|");
    for (interval, timeout, fall) in [(100, 50, 3), (200, 100, 3), (1000, 500, 3), (1000, 500, 1)] {
        let bed = Bed::builder().backends(3).build().unwrap();
        let mut servers = servers(&bed).unwrap();
        let health = format!(
            "type = \"http\", port = 80, interval = \"{interval}ms\", timeout = \"{timeout}ms\", rise = 1, fall = {fall}, grace = \"10s\""
        );
        let site = Site::start(bed, 80, &health, "slow_start = \"0s\"").unwrap();
        let mut took: Vec<Duration> = Vec::new();
        for _ in 0..ROUNDS {
            site.wait_until_all_pass().unwrap();
            let index = site.row("backend-2").unwrap()["index"].as_u64().unwrap() as u16;
            // Slots that moved in the last round may have to settle first.
            wait_until(SOON, "its slots", || slots(&site.bed, "web").unwrap().contains(&index)).unwrap();
            let died = Instant::now();
            servers[1] = None;
            while slots(&site.bed, "web").unwrap().contains(&index) {
                assert!(died.elapsed() < SOON, "backend-2 keeps its slots");
                // Pacing: as exact as the figures are printed.
                thread::park_timeout(Duration::from_millis(2));
            }
            took.push(died.elapsed());
            servers[1] = Some(Nginx::start(site.bed.backend(1), "back").unwrap());
        }
        let mean = took.iter().sum::<Duration>() / took.len() as u32;
        let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        let (least, most) =
            (took.iter().min().copied().unwrap_or_default(), took.iter().max().copied().unwrap_or_default());
        let bound = Duration::from_millis(interval * fall + timeout + 100);
        println!(
            "| {interval} ms | {timeout} ms | {fall} | {} | {} | {} | {} |",
            seconds(bound),
            seconds(least),
            seconds(mean),
            seconds(most)
        );
    }
}
