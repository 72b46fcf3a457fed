//! Measures, shows the tables and writes JSON and picture.
#![expect(clippy::print_stdout, reason = "the tables are this program's output")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use lb_bench::{
    compare::{
        self, Compared, load,
        rate::{self, Rate},
    },
    machine::Machine,
    measure::{self, Effort, Row},
    record::Record,
    report::{chart, table},
    scenario::{self, Scenario},
    size::{self, Load, Memory},
};
use serde::Serialize;

/// What a packet costs, and how large the program is. Needs root: it loads programs into the kernel.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench")]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
struct Cli {
    /// One number of flows, and few combinations.
    #[arg(long)]
    quick: bool,
    /// Only rows with this in their name.
    #[arg(long)]
    only: Option<String>,
    /// Rounds of each row.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(3..=1_000))]
    rounds: u32,
    /// Packets of a round.
    #[arg(long, default_value_t = 1 << 18, value_parser = clap::value_parser!(u32).range(1_000..=16_777_216))]
    packets: u32,
    /// The processor to measure on.
    #[arg(long, default_value_t = 1)]
    cpu: usize,
    /// Rows alone, without sizes and memory.
    #[arg(long)]
    rows: bool,
    /// Measures nothing: writes the program's sizes into the file that the tests compare them with.
    #[arg(long, exclusive = true)]
    record: bool,
    /// Beside others, through namespaces: direct, nftables, `HAProxy` and nginx; and frames a second.
    #[arg(long, conflicts_with_all = ["record", "quick", "only", "packets", "rows"])]
    compare: bool,
    /// Where JSON and picture go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
}

/// All that was found.
#[derive(Serialize)]
struct Found {
    machine: Machine,
    effort: Effort,
    rows: Vec<Row>,
    sizes: Vec<Load>,
    memory: Vec<Memory>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // To standard error, which the progress bar shares.
            let _ = std::io::stderr().write_all(format!("error: {error:#}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    if cli.record {
        Record::measured()?.write()?;
        println!("wrote {}", Record::path().display());
        return Ok(());
    }
    if cli.compare {
        return compare(cli);
    }
    let begun = Instant::now();
    let machine = Machine::read();
    refuse_statistics()?;
    measure::pin(cli.cpu)?;
    let effort = Effort { rounds: cli.rounds, packets: cli.packets };
    let rows = measured(&chosen(cli)?, effort)?;
    println!("{}\n", table::rows(&rows));
    let (sizes, memory) = if cli.rows { (Vec::new(), Vec::new()) } else { sizes(cli.quick)? };
    if !sizes.is_empty() {
        println!("{}\n", table::sizes(&sizes));
    }
    if !memory.is_empty() {
        println!("{}\n", table::memory(&memory));
    }
    write(&cli.out, &Found { machine, effort, rows, sizes, memory })?;
    println!("wrote bench.json and bench.svg into {}; {} s", cli.out.display(), begun.elapsed().as_secs());
    Ok(())
}

/// All that was compared.
#[derive(Serialize)]
struct Beside {
    machine: Machine,
    effort: load::Effort,
    compared: Vec<Compared>,
    rates: Vec<Rate>,
}

fn compare(cli: &Cli) -> Result<()> {
    let machine = Machine::read();
    let bar = progress(0);
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} [{elapsed}]")?);
    let told = |what: &str| bar.set_message(what.to_owned());
    let rates = on_one(cli.cpu, || rate::run(cli.rounds, told))?;
    let effort = load::Effort { clients: 16, seconds: 2.0, bytes: 256 << 20 };
    let statistics = Statistics::on()?;
    let compared = compare::run(cli.rounds, effort, told)?;
    drop(statistics);
    bar.finish_and_clear();
    println!("{}\n", table::compared(&compared));
    println!("{}\n", table::rates(&rates));
    fs::create_dir_all(&cli.out).with_context(|| format!("cannot make {}", cli.out.display()))?;
    let path = cli.out.join("compare.json");
    let text = serde_json::to_string_pretty(&Beside { machine, effort, compared, rates })?;
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Works on a thread that stays on one processor.
fn on_one<T: Send>(cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let pinned = || measure::pin(cpu).and_then(|()| work());
    thread::scope(|scope| scope.spawn(pinned).join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The kernel counts the run time of programs until this is dropped.
struct Statistics;

/// The switch of that.
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

impl Statistics {
    fn on() -> Result<Self> {
        fs::write(STATISTICS, "1").with_context(|| format!("cannot write {STATISTICS}"))?;
        Ok(Self)
    }
}

impl Drop for Statistics {
    fn drop(&mut self) {
        let _ = fs::write(STATISTICS, "0");
    }
}

/// The kernel's own statistics of programs cost each packet two looks at the clock.
fn refuse_statistics() -> Result<()> {
    let on = fs::read_to_string(STATISTICS).with_context(|| format!("cannot read {STATISTICS}"))?;
    ensure!(
        on.trim() == "0",
        "the kernel counts the run time of programs, which costs time; write 0 into {STATISTICS}"
    );
    Ok(())
}

fn chosen(cli: &Cli) -> Result<Vec<Scenario>> {
    let mut rows = if cli.quick { scenario::quick() } else { scenario::all() };
    if let Some(only) = &cli.only {
        rows.retain(|row| {
            format!("{} {} {}", row.name(), row.tracking.name(), row.flows_name()).contains(only)
        });
        ensure!(!rows.is_empty(), "no row has \"{only}\" in its name");
    }
    Ok(rows)
}

fn measured(scenarios: &[Scenario], effort: Effort) -> Result<Vec<Row>> {
    let bar = progress(scenarios.len());
    let rows = scenarios.iter().map(|scenario| {
        bar.set_message(scenario.name());
        let row = measure::row(scenario, effort).with_context(|| scenario.name())?;
        bar.inc(1);
        Ok(row)
    });
    let rows = rows.collect();
    bar.finish_and_clear();
    rows
}

fn sizes(quick: bool) -> Result<(Vec<Load>, Vec<Memory>)> {
    let wanted = size::specialisations();
    let bar = progress(wanted.len());
    let loads = wanted.into_iter().map(|features| {
        let load = if quick { size::once(features) } else { size::measure(features) };
        bar.inc(1);
        load
    });
    let loads = loads.collect::<Result<_>>();
    bar.finish_and_clear();
    Ok((loads?, if quick { Vec::new() } else { size::memory()? }))
}

/// A bar on a terminal; elsewhere it shows nothing.
fn progress(number: usize) -> ProgressBar {
    let bar = ProgressBar::new(number as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} [{elapsed}, {eta} left]") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn write(out: &Path, found: &Found) -> Result<()> {
    fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let json = out.join("bench.json");
    let text = serde_json::to_string_pretty(found)?;
    fs::write(&json, text).with_context(|| format!("cannot write {}", json.display()))?;
    chart::draw(&out.join("bench.svg"), &found.rows)
}
