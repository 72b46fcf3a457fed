//! How the balancer takes many services and backends: the time until it is ready, its memory, the time from a change to the
//! maps, and the time of a scrape. In a bed of its own, with the real daemon.
//!
//! The backends are one machine with many addresses, so that every one is resolved; several services share an address,
//! because Linux keeps 1,024 neighbours unless told otherwise.
//!
//! ```text
//! cargo build --release -p lb-userspace -p lb-tests --bins && target/release/scale
//! ```

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapData;
use clap::Parser;
use comfy_table::Table;
use lb_common::slot::Slot;
use lb_tests::{
    api::ask,
    ask::installed,
    bed::{Bed, Process},
    wait::{wait_for, wait_until},
};
use lb_userspace::dataplane::mapped::MappedArray;

/// Every address of it is the backends' machine's.
const BACKENDS: &str = "198.19.0.0/16";
/// Different addresses of backends at most.
const ADDRESSES: u32 = 800;
const METRICS: &str = "127.0.0.1:9477";
const GRACE: Duration = Duration::from_mins(2);
/// A change that has not reached the maps by then never will.
const LONGEST: Duration = Duration::from_secs(10);

/// Measures how the balancer takes many services and backends.
#[derive(Parser)]
struct Arguments {
    /// How many services.
    #[arg(long, default_value_t = 512)]
    services: u32,
    /// How many backends, over all services.
    #[arg(long, default_value_t = 4096)]
    backends: u32,
    /// Slots of each service.
    #[arg(long, default_value_t = 16384)]
    slots: u32,
    /// How many changes and scrapes are measured.
    #[arg(long, default_value_t = 50)]
    times: u32,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let bed = bed()?;
    let config = config(&bed, &arguments)?;
    let begun = Instant::now();
    let mut daemon = start(&bed, &config)?;
    let ready = begun.elapsed();
    // The first passes of the sweep and the first look at all neighbours are behind it.
    wait_until(GRACE, "a second pass of the sweep", || {
        ask(&bed, "GET", "/v1/tracking", "").is_ok_and(|answer| answer.json["passes"].as_u64() > Some(1))
    })?;
    let idle = memory(&daemon)?;
    let changes = changes(&bed, arguments.times)?;
    let scrapes = scrapes(&bed, arguments.times)?;
    let after = memory(&daemon)?;
    daemon.must_run()?;

    let mut table = Table::new();
    table.set_header(["what", "median", "highest"]);
    let mut row = |what: &str, median: String, highest: String| {
        table.add_row([what, &median, &highest]);
    };
    row("start until ready", format!("{ready:.0?}"), String::new());
    row("from a change to the maps", spread(&changes, 50, |c| c.0), spread(&changes, 100, |c| c.0));
    row("from a change to its answer", spread(&changes, 50, |c| c.1), spread(&changes, 100, |c| c.1));
    row("scrape of the metrics", spread(&scrapes, 50, |s| *s), spread(&scrapes, 100, |s| *s));
    row("resident memory, MB: idle, after", idle.to_string(), after.to_string());
    let Arguments { services, backends, slots, .. } = arguments;
    let title = format!("{services} services, {backends} backends, {slots} slots each");
    writeln!(std::io::stdout(), "{title}\n{table}")?;
    Ok(())
}

/// A backend with all of [`BACKENDS`], which the balancer's link reaches.
fn bed() -> Result<Bed> {
    let bed = Bed::builder().backends(1).uncompared().build()?;
    let (balancer, backend) = (bed.balancer().namespace(), bed.backend(0).namespace());
    backend.ip(&[format!("route add local {BACKENDS} dev lo")])?;
    for of in ["all", "eth0"] {
        backend.set_sysctl(&format!("net/ipv4/conf/{of}/arp_ignore"), 0)?;
    }
    balancer.ip(&[format!("route add {BACKENDS} dev eth0")])?;
    Ok(bed)
}

fn config(bed: &Bed, arguments: &Arguments) -> Result<String> {
    let mut text = bed.daemon_table() + &format!("metrics = \"{METRICS}\"\n");
    let each = arguments.backends / arguments.services.max(1);
    for service in 0..arguments.services {
        let vip = IpAddr::from([192, 0, 2, (service % 250) as u8 + 1]);
        let address = SocketAddr::new(vip, 1000 + (service / 250) as u16);
        writeln!(
            text,
            "[[service]]\nname = \"s{service}\"\naddress = \"{address}\"\nprotocol = \"tcp\"\nslots = {}",
            arguments.slots
        )?;
        for backend in 0..each {
            let number = (service * each + backend) % ADDRESSES.max(each);
            let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 19, 1, 0)) + number);
            writeln!(text, "[[service.backend]]\nname = \"b{backend}\"\naddress = \"{address}\"")?;
        }
    }
    Ok(text)
}

/// Starts the daemon, and waits until it says that it is ready.
fn start(bed: &Bed, config: &str) -> Result<Process> {
    let mut command = bed.xdp_lb()?;
    command.arg("run").arg("-c").arg(bed.write_config(config)?);
    let mut daemon = Process::spawn(&mut command, &bed.directory().join("xdp-lb.log"))?;
    wait_for(GRACE, "the daemon to be ready", || {
        daemon.must_run()?;
        Ok(daemon.log().contains(" ready\n").then_some(()))
    })?;
    Ok(daemon)
}

/// Resident memory in MB.
fn memory(daemon: &Process) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}

/// Changes of one backend's weight, one after the other: the time until a slot in the map changed, and until the answer came.
fn changes(bed: &Bed, times: u32) -> Result<Vec<(Duration, Duration)>> {
    let services = installed(bed)?.services;
    let slots = MapData::from_pin(bed.pin_dir().join("SLOTS"))?;
    let length = slots.info()?.max_entries();
    let slots: MappedArray<Slot> = MappedArray::new(slots.fd(), length, false)?;
    let mut measured = Vec::new();
    // Each service once: slots that just moved stay for a while.
    for service in services.iter().take(times as usize) {
        let range = service.record.first_slot..=service.record.first_slot + service.record.slot_mask;
        let before: Vec<Slot> = range.clone().filter_map(|index| slots.get(index)).collect();
        let (sender, receiver) = mpsc::channel();
        let times = thread::scope(|scope| {
            let slots = &slots;
            scope.spawn(move || {
                let deadline = Instant::now() + LONGEST;
                while Instant::now() < deadline {
                    if range.clone().zip(&before).any(|(index, before)| slots.get(index) != Some(*before)) {
                        let _ = sender.send(Instant::now());
                        return;
                    }
                    thread::yield_now();
                }
            });
            let begun = Instant::now();
            let path = format!("/v1/services/{}/backends/b1", service.name);
            let answer = ask(bed, "PATCH", &path, "{\"weight\":50}")?;
            let answered = begun.elapsed();
            ensure!(answer.status == 200 && answer.json["moved"].as_u64() > Some(0), "{answer:?}");
            Ok((receiver.recv()? - begun, answered))
        });
        measured.push(times?);
    }
    Ok(measured)
}

fn scrapes(bed: &Bed, times: u32) -> Result<Vec<Duration>> {
    let scrape = || {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(METRICS)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        ensure!(text.contains("xdp_lb_backend_packets_total"), "{text}");
        Ok(begun.elapsed())
    };
    bed.balancer().run_in(|| (0..times).map(|_| scrape()).collect())
}

/// A percentile in milliseconds.
fn spread<T>(of: &[T], percentile: usize, value: impl Fn(&T) -> Duration) -> String {
    let mut all: Vec<_> = of.iter().map(value).collect();
    all.sort();
    let at = (all.len() - 1) * percentile / 100;
    format!("{:.1} ms", all[at].as_secs_f64() * 1e3)
}
