//! What health checks cost: the CPU time of a process that checks many backends, as the daemon does, in a bed of its own.
//!
//! The backends are one machine with that many addresses, on which nginx and a host of ISO 8583 answer, as processes of
//! their own. The figure is this process's CPU time by getrusage(2), user and system, over the time measured; what the
//! kernel does in this process's time for the other end of the veth pair is in it, so it errs on the high side.
//!
//! ```text
//! cargo build --release -p lb-tests --bins && target/release/health_cost
//! ```

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use comfy_table::Table;
use lb_tests::{
    bed::{Bed, Host, INTERFACE, Nginx, Process, built, run},
    certificate::Authority,
    wait::wait_until,
};
use lb_userspace::{
    config::{self, rules},
    health::{
        event::Event,
        runner::{self, Options},
        target::{self, Target},
    },
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    sys::{
        resource::{UsageWho, getrusage},
        time::TimeVal,
    },
    unistd::Pid,
};
use time::OffsetDateTime;
use tokio::time::timeout_at;

/// Every address of it is the backend's.
const BACKENDS: &str = "198.19.0.0/16";
const ISO8583: u16 = 8583;
/// How long the checks run before they are measured: every first one is then done.
const BEFORE: Duration = Duration::from_secs(2);

/// Measures what health checks cost.
#[derive(Parser)]
struct Arguments {
    /// How many backends.
    #[arg(long, default_value_t = 1000)]
    backends: u16,
    /// From check to check, like "500ms" or "1s".
    #[arg(long, default_value = "1s", value_parser = duration)]
    interval: Duration,
    /// For how many seconds each type is measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Have another CPU carry and receive the packets, as another machine does: the figure is then that of this
    /// process's own system calls, and without its own part in receiving, so it errs on the low side.
    #[arg(long)]
    apart: bool,
    /// Which types, in their order.
    #[arg(long, value_delimiter = ',', default_value = "tcp,http,iso8583,tls,https")]
    types: Vec<String>,
}

fn duration(text: &str) -> rules::Checked<Duration> {
    rules::duration("interval", text, Duration::from_millis(50)..=Duration::from_hours(1))
}

/// What was seen of one type.
#[derive(Default)]
struct Seen {
    checks: u64,
    failed: u64,
    latency: Duration,
    longest: Duration,
    user: Duration,
    system: Duration,
    wall: Duration,
}

#[expect(clippy::print_stdout, reason = "the figures are what this program is for")]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let bed = Bed::builder().build()?;
    let backend = bed.backend(0);
    backend.namespace().ip(&[format!("route add local {BACKENDS} dev lo")])?;
    bed.balancer().namespace().ip(&[format!("route add {BACKENDS} via {}", backend.address_v4())])?;
    let authority = Authority::new()?;
    let identity = authority.issue(&["pay.example"], OffsetDateTime::now_utc() + time::Duration::DAY)?;
    let ca = bed.directory().join("ca.pem");
    fs::write(&ca, authority.pem()).context("cannot write the authority's certificate")?;
    let _nginx = Nginx::start_tls(backend, "ok", &identity.certificate, &identity.key)?;
    let _host = iso8583_host(backend)?;
    // Not before the servers run, which would stay on the same CPU.
    if arguments.apart {
        carry_apart(&bed)?;
    }

    let mut table = Table::new();
    table.set_header([
        "type",
        "checks/s",
        "failed",
        "CPU",
        "user",
        "system",
        "us a check",
        "mean latency",
        "longest",
    ]);
    for kind in &arguments.types {
        let targets = targets(&arguments, kind, &ca)?;
        let seconds = Duration::from_secs(arguments.seconds);
        let seen = bed.balancer().run_in(|| measure(targets, seconds))?;
        let percent =
            |part: Duration| format!("{:.1} %", 100.0 * part.as_secs_f64() / seen.wall.as_secs_f64());
        let each = |whole: Duration| whole / u32::try_from(seen.checks.max(1)).unwrap_or(u32::MAX);
        table.add_row([
            kind.clone(),
            (u128::from(seen.checks) * 1000 / seen.wall.as_millis().max(1)).to_string(),
            seen.failed.to_string(),
            percent(seen.user + seen.system),
            percent(seen.user),
            percent(seen.system),
            format!("{}", each(seen.user + seen.system).as_micros()),
            format!("{:?}", each(seen.latency)),
            format!("{:?}", seen.longest),
        ]);
    }
    println!("{} backends, interval {}\n{table}", arguments.backends, rules::span(arguments.interval));
    Ok(())
}

/// Keeps this process on CPU 0 and has CPU 1 receive packets in the switch and on the backend (receive packet steering).
fn carry_apart(bed: &Bed) -> Result<()> {
    let mut cpu = CpuSet::new();
    cpu.set(0)?;
    sched_setaffinity(Pid::this(), &cpu).context("cannot stay on CPU 0")?;
    let ports = [bed.balancer().role(), bed.backend(0).role()].map(|port| (bed.switch(), port));
    for (namespace, interface) in ports.into_iter().chain([(bed.backend(0).namespace(), INTERFACE)]) {
        // ip netns exec shows /sys/class/net as the namespace has it.
        let write = format!("echo 2 > /sys/class/net/{interface}/queues/rx-0/rps_cpus");
        run(Command::new("ip").args(["netns", "exec", namespace.name(), "sh", "-c", &write]))?;
    }
    Ok(())
}

fn iso8583_host(backend: &Host) -> Result<Process> {
    let listen = format!("0.0.0.0:{ISO8583}");
    let host = backend.spawn(built("iso8583_host")?, ["--listen", &listen])?;
    wait_until(Duration::from_secs(10), "the host of ISO 8583", || {
        let address = SocketAddr::from((backend.address_v4(), ISO8583));
        backend.run_in(|| Ok(std::net::TcpStream::connect(address)?)).is_ok()
    })?;
    Ok(host)
}

/// The targets, by way of a configuration.
fn targets(arguments: &Arguments, kind: &str, ca: &Path) -> Result<Vec<Target>> {
    let (port, keys) = match kind {
        "tcp" | "http" => (80, String::new()),
        "iso8583" => (ISO8583, String::new()),
        _ => (443, format!("server_name = \"pay.example\"\nca = \"{}\"\n", ca.display())),
    };
    let mut text = format!(
        "[[service]]\nname = \"s\"\naddress = \"192.0.2.10:{port}\"\nprotocol = \"tcp\"\n[service.health]\ntype = \"{kind}\"\ninterval = \"{}\"\n{keys}",
        rules::span(arguments.interval)
    );
    for number in 0..arguments.backends {
        let [high, low] = (number + 1).to_be_bytes();
        writeln!(text, "[[service.backend]]\nname = \"b{number}\"\naddress = \"198.19.{high}.{low}\"")?;
    }
    let config = config::parse(&text, "measured.toml")?;
    Ok(target::targets(&config.services)?)
}

/// Runs the checks on a runtime of one thread, as the daemon's is.
fn measure(targets: Vec<Target>, seconds: Duration) -> Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (handle, mut events) = runner::spawn(Options::default());
        handle.replace(targets);
        let mut seen = Seen::default();
        let begin = Instant::now() + BEFORE;
        while let Ok(event) = timeout_at(begin.into(), events.recv()).await {
            ensure!(event.is_some(), "the checks have ended");
        }
        let before = usage()?;
        while let Ok(event) = timeout_at((begin + seconds).into(), events.recv()).await {
            let Event::Checked(checked) = event.context("the checks have ended")? else { continue };
            seen.checks += 1;
            seen.failed += u64::from(checked.report.success() != Some(true));
            seen.latency += checked.report.latency;
            seen.longest = seen.longest.max(checked.report.latency);
        }
        let after = usage()?;
        (seen.user, seen.system, seen.wall) =
            (after.0.saturating_sub(before.0), after.1.saturating_sub(before.1), begin.elapsed());
        Ok(seen)
    })
}

/// CPU time of this process so far: user and system.
fn usage() -> Result<(Duration, Duration)> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let time = |time: TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    Ok((time(usage.user_time()), time(usage.system_time())))
}
