//! Runs the scenarios, draws them and writes the tables.
#![expect(clippy::print_stdout, reason = "the tables are this program's output")]

use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lb_simulation::{
    balancer::Policy,
    capacity::{self, Capacity},
    report::{document, files, plot, tables, targets},
    scenario::Scenario,
    scenarios, suite,
};
use lb_userspace::weight::Law;

/// The latency controller against other policies, in simulation. The same seeds give the same files.
#[derive(Parser)]
#[command(bin_name = "cargo xtask simulate --")]
struct Cli {
    /// Only scenarios with this in their name; the document is left as it is.
    #[arg(long)]
    only: Option<String>,
    /// Seeds 1 to this; the document's tables are made with 3.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    seeds: u64,
    /// Where CSV files and pictures go.
    #[arg(long, default_value = "target/simulate")]
    out: PathBuf,
    /// The document whose tables are written.
    #[arg(long, default_value = "docs/latency-control.md")]
    document: PathBuf,
    /// Names the scenarios and runs none.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // To standard error, which `tracing` and the progress bar share.
            let _ =
                std::io::Write::write_all(&mut std::io::stderr(), format!("error: {error:#}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let scenarios = chosen(cli)?;
    if cli.list {
        for scenario in &scenarios {
            println!("{:<18} {}", scenario.name, scenario.title);
        }
        return Ok(());
    }
    fs::create_dir_all(&cli.out).with_context(|| format!("cannot make {}", cli.out.display()))?;
    let begun = Instant::now();
    let telling = if cli.only.is_none() { scenarios::telling() } else { Vec::new() };
    let runs = suite::runs(&scenarios, suite::candidates, cli.seeds);
    let bar = progress(runs + suite::runs(&telling, suite::variants, cli.seeds));
    let all = suite::compare(&scenarios, suite::candidates, cli.seeds, || bar.inc(1))?;
    let parts = suite::compare(&telling, suite::variants, cli.seeds, || bar.inc(1))?;
    for compared in &all {
        files::seconds(&cli.out, compared)?;
        plot::scenario(&cli.out, compared)?;
    }
    files::summary(&cli.out, &all)?;
    let found = if cli.only.is_none() { capacities(&bar)? } else { Vec::new() };
    bar.finish_and_clear();

    println!("{}\n", tables::standard(&all));
    println!("{}\n", tables::others(&all));
    println!("{}\n", tables::shares(&all));
    if cli.only.is_none() {
        println!("{}\n", tables::variants(&parts));
        println!("{}\n", tables::capacity(&found));
        println!("{}\n", targets::table(&targets::all(&all)));
        document::put(&cli.document, &document::text(&all, &parts, &found, cli.seeds))?;
        println!("wrote the tables into {}", cli.document.display());
    }
    println!("wrote {} pictures and CSV files into {}", all.len(), cli.out.display());
    println!("{} s", begun.elapsed().as_secs());
    Ok(())
}

fn chosen(cli: &Cli) -> Result<Vec<Scenario>> {
    let mut scenarios = scenarios::all();
    if let Some(only) = &cli.only {
        scenarios.retain(|scenario| scenario.name.contains(only.as_str()));
        if scenarios.is_empty() {
            bail!("no scenario has \"{only}\" in its name; --list names them");
        }
    }
    Ok(scenarios)
}

fn capacities(bar: &ProgressBar) -> Result<Vec<(Policy, Capacity)>> {
    bar.set_message("capacity");
    let policies = [Policy::Equal, Policy::Law(Law::default()), Policy::Oracle];
    Ok(policies.into_iter().zip(capacity::find(&policies)?).collect())
}

/// A bar on a terminal; elsewhere it shows nothing.
fn progress(runs: u64) -> ProgressBar {
    let bar = ProgressBar::new(runs).with_message("runs");
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} [{elapsed}, {eta} left]") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
