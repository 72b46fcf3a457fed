//! The project's own commands: what a newcomer, and the continuous integration, type.
//!
//! `setup` finds or installs what the others need; they call it by themselves, and it is silent when nothing
//! is missing.

mod bench;
mod build;
mod checks;
mod demo;
mod doctests;
mod kernels;
mod process;
mod progress;
mod setup;
mod simulate;
mod test;
mod workspace;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::{progress::Progress, setup::Need, workspace::Workspace};

/// The project's own commands.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install the eBPF toolchain and the test tools (again and again if you like: it is idempotent).
    Setup,
    /// Build xdp-lb and the demonstration, with the eBPF objects in them.
    Build {
        /// With optimisation.
        #[arg(long)]
        release: bool,
    },
    /// Formatting, lints, documentation examples, then every test. Needs root: the tests make network namespaces.
    Test {
        /// Passed on to `cargo nextest run`, after `--`.
        #[arg(last = true)]
        nextest: Vec<OsString>,
    },
    /// A balancer with clients and backends in network namespaces, with its picture. Needs root.
    Demo {
        /// Leave the namespaces and the balancer running afterwards.
        #[arg(long)]
        keep: bool,
        /// End a demonstration that was left running.
        #[arg(long, conflicts_with = "keep")]
        stop: bool,
    },
    /// Thousands of connections while the balancer is changed, killed and restarted, with a report. Needs root.
    Soak {
        /// For so many minutes.
        #[arg(long, default_value_t = 5.0)]
        minutes: f64,
    },
    /// The latency controller in simulation: tables, CSV files and pictures; writes docs/latency-control.md's tables.
    Simulate {
        /// Passed on to the simulation, after `--`; `--help` names them.
        #[arg(last = true)]
        arguments: Vec<OsString>,
    },
    /// What a packet costs in the balancer, over one that is sent back at once. Needs root.
    Bench {
        /// Passed on to the bench; `--help` names them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// The verifier's test and the packet fixtures on older kernels of Debian's, each under QEMU's software emulation.
    Kernels {
        /// This kernel alone.
        #[arg(long, value_name = "VERSION", value_parser = kernels::SERIES)]
        only: Option<String>,
    },
    /// What a change must pass: `deny`, then `test`; the same as `test` with CI=true in the environment.
    Ci,
    /// Licences, duplicate dependencies and their sources (cargo-deny, installed when missing).
    Deny,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            Progress::failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Setup => setup::all(&workspace),
        Command::Build { release } => {
            setup::ensure(&workspace, Need::Build)?;
            build::binaries(&workspace, release)
        }
        Command::Test { nextest } => test::run(&workspace, &nextest, test::is_ci()),
        Command::Demo { keep: true, .. } => demo::run(&workspace, Some("--keep")),
        Command::Demo { stop: true, .. } => demo::run(&workspace, Some("--stop")),
        Command::Demo { .. } => demo::run(&workspace, None),
        Command::Soak { minutes } => demo::soak(&workspace, minutes),
        Command::Simulate { arguments } => simulate::run(&workspace, &arguments),
        Command::Bench { arguments } => bench::run(&workspace, &arguments),
        Command::Kernels { only } => kernels::run(&workspace, only.as_deref()),
        Command::Ci => test::run(&workspace, &[], true),
        Command::Deny => checks::deny(&workspace),
    }
}
