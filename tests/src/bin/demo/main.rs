//! The demonstration: a bed, three web servers with the weights 1:2:3, the balancer as an operator runs it, and a few
//! thousand real connections, half of them over IPv6.
#![expect(clippy::print_stdout, reason = "a demonstration speaks to its user")]

mod keep;
mod progress;
mod shares;
mod stats;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use lb_tests::{
    bed::{Bed, Host, HttpServer, shown},
    load::{Load, Report},
};

use crate::{progress::Progress, shares::Shares, stats::Stats};

/// The backends' weights; the first is web-1's.
const WEIGHTS: [u32; 3] = [1, 2, 3];
/// The services, one per VIP: name, and whether over IPv6.
const SERVICES: [(&str, bool); 2] = [("web", false), ("web6", true)];
const PORT: u16 = 80;

/// Shows the balancer at work in network namespaces of its own; nothing of it stays.
#[derive(Debug, Parser)]
#[command(name = "demo", version)]
struct Arguments {
    /// How many connections to make, half over IPv4 and half over IPv6
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(600..=50_000))]
    connections: u32,
    /// Leave it all running, with the commands to look at it, until Ctrl-C or `--stop`
    #[arg(long)]
    keep: bool,
    /// End every demonstration that runs with `--keep`
    #[arg(long, conflicts_with_all = ["keep", "connections"])]
    stop: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.stop {
        keep::stop_all()?;
        return Ok(ExitCode::SUCCESS);
    }
    // Ends the demonstration in order, so that what it made goes with it.
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted)).context("cannot catch signals")?;
    }
    let verdict = demonstrate(&arguments, &interrupted)?;
    println!("\n{verdict}\nEverything is removed again.");
    Ok(ExitCode::SUCCESS)
}

fn demonstrate(arguments: &Arguments, interrupted: &AtomicBool) -> Result<String> {
    println!("Building the bed: a switch, a client, the balancer and three backends, each in a namespace");
    let bed = Bed::builder().backends(WEIGHTS.len() as u8).uncompared().build()?;
    let _servers = bed
        .backends()
        .iter()
        .zip(1..)
        .map(|(host, number)| HttpServer::start(host, PORT, &backend_name(number)))
        .collect::<Result<Vec<_>>>()?;
    println!("  bed {}; backends web-1, web-2, web-3 serve HTTP, weights 1:2:3\n", bed.name());

    let config = configuration(&bed)?;
    println!("The balancer's configuration, {}:\n\n{}", bed.config_file().display(), indented(&config));
    println!("Starting it, as an operator would:");
    let run = shown(bed.xdp_lb()?.args(["run", "-c"]).arg(bed.config_file()));
    println!("  {}\n", plain(&run));
    let mut balancer = bed.start_balancer(&config)?;

    let report = send(&bed, arguments.connections as usize, interrupted)?;
    balancer.must_run()?;
    let stats = Stats::ask(&bed)?;
    let shares = Shares::new(&report, &stats);
    println!("{}", shares.table());
    let verdict = shares.check(&report);
    match &verdict {
        Ok(words) if arguments.keep => println!("{words}"),
        Err(error) if arguments.keep => println!("{error:#}"),
        _ => {}
    }
    if arguments.keep {
        keep::until_interrupted(&bed, &mut balancer, interrupted)?;
    }
    verdict
}

/// The name of backend `number`, from 1, in the configuration and in the servers' answers.
fn backend_name(number: usize) -> String {
    format!("web-{number}")
}

fn configuration(bed: &Bed) -> Result<String> {
    let mut text = bed.daemon_table();
    for (service, v6) in SERVICES {
        let address = SocketAddr::new(bed.vip(v6)?, PORT);
        write!(
            text,
            "\n[[service]]\nname = \"{service}\"\naddress = \"{address}\"\nprotocol = \"tcp\"\n\
             forwarding = \"l2-dsr\"\nalgorithm = \"hash\"\n"
        )?;
        for ((host, weight), number) in bed.backends().iter().zip(WEIGHTS).zip(1..) {
            let (name, address) = (backend_name(number), host.address(v6));
            write!(
                text,
                "\n[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n"
            )?;
        }
    }
    Ok(text)
}

/// Sends the connections, half to each VIP.
fn send(bed: &Bed, connections: usize, interrupted: &AtomicBool) -> Result<Report> {
    let mut whole = Report::default();
    for (service, v6) in SERVICES {
        let number = if v6 { connections / 2 } else { connections - connections / 2 };
        let target = SocketAddr::new(bed.vip(v6)?, PORT);
        let progress = Progress::new(&format!("{service}: {number} connections to {target}"), number);
        let load = Load::new(target, number)
            .deadline(Duration::from_mins(2))
            .answers((1..=WEIGHTS.len()).map(backend_name));
        let report = load.run_with(bed.client(), || {
            progress.step();
            !interrupted.load(Ordering::Relaxed)
        })?;
        progress.finish(&format!(
            "{} answered, {} failed, {:.1?}",
            report.answered(),
            report.failed,
            report.elapsed
        ));
        if report.answered() == 0 && !interrupted.load(Ordering::Relaxed) {
            bail!("no connection to {target} was answered:\n{}", report.failures.join("\n"));
        }
        whole.merge(report);
        ensure!(!interrupted.load(Ordering::Relaxed), "interrupted");
    }
    Ok(whole)
}

/// A command without what only serves the bed: the helper that ties a process to its parent.
fn plain(command: &str) -> String {
    command.replace(" -- setpriv --pdeathsig KILL --", "")
}

/// A command on a node, as one types it.
fn on(host: &Host, command: &str) -> String {
    format!("nsenter --net={} {command}", host.namespace().path().display())
}

fn indented(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") }).collect()
}
