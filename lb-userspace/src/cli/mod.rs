//! The command line: clap's definitions, and one file a subcommand. Exit code 0: done; 1: refused or failed, with one
//! line on standard error that says what, where and what to do; 2: not understood.

mod attach;
mod audit;
mod backend;
mod change;
mod check;
mod client;
mod config;
mod decap;
mod detach;
mod doctor;
mod lookup;
mod manual;
mod output;
mod run;
mod service;
mod stats;
mod told;
mod watch;

use crate::config::{
    Choice as _, XdpMode,
    rules::{self, Refusal},
};
use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use client::Client;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Where the maps are pinned unless told otherwise.
pub const DEFAULT_PIN_DIR: &str = "/sys/fs/bpf/xdp-lb";

/// An XDP layer-4 load balancer for payment traffic.
#[derive(Debug, Parser)]
#[command(name = "xdp-lb", version, arg_required_else_help = true, subcommand_required = true)]
pub struct Arguments {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every subcommand takes.
#[derive(Args, Debug)]
struct Global {
    /// Where program, maps and links are pinned [default: /sys/fs/bpf/xdp-lb, or the configuration's]
    #[arg(long, global = true, value_name = "DIR")]
    pin_dir: Option<PathBuf>,
    /// Socket of the daemon's API [default: /run/xdp-lb/api.sock]
    #[arg(long, global = true, value_name = "SOCKET")]
    api: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
}

impl Global {
    fn pin_dir(&self) -> &Path {
        self.pin_dir.as_deref().unwrap_or(Path::new(DEFAULT_PIN_DIR))
    }

    /// The daemon, for what the maps do not tell. None where only maps are named: the usual socket may be another balancer's.
    fn client(&self) -> Option<Client> {
        (self.api.is_some() || self.pin_dir.is_none()).then(|| Client::new(self.api.as_deref()))
    }

    /// The daemon, for changes.
    fn changes(&self) -> anyhow::Result<Client> {
        self.client()
            .context("--pin-dir names maps, and changes are the daemon's; name its socket with --api")
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: load, attach to the configured interfaces, follow routes and neighbours
    Run {
        /// The configuration
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Log a line for every packet: for debugging only, the program is slower for it
        #[arg(long)]
        log_packets: bool,
    },
    /// Validate a configuration and print what it would load; changes nothing
    Check {
        /// The configuration
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Attach the program to an interface, with or without the daemon
    Attach {
        /// Name of the interface
        #[arg(value_name = "IFACE")]
        interface: String,
        /// Where the program runs
        #[arg(long, value_name = "auto|native|generic", value_parser = mode, default_value = XdpMode::default().word())]
        mode: XdpMode,
    },
    /// Take the program off an interface; with the last one, remove program and maps too
    Detach {
        /// Name of the interface
        #[arg(value_name = "IFACE", required_unless_present = "all")]
        interface: Option<String>,
        /// Take it off every interface and remove program and maps
        #[arg(long, conflicts_with = "interface")]
        all: bool,
    },
    /// On a backend: take ipip and GUE tunnels off packets to its VIPs; without --vip, show what it did
    Decap(decap::Arguments),
    /// Show and change backends
    Backend {
        #[command(subcommand)]
        command: BackendCommand,
    },
    /// Show, add and remove services
    Service {
        #[command(subcommand)]
        command: service::Command,
    },
    /// Show the configuration in force, or where the file says something else
    Config {
        #[command(subcommand)]
        command: config::Command,
    },
    /// Have the daemon read its configuration again; one that it cannot take over changes nothing
    Reload {
        /// Only show what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Follow the audit log
    Audit {
        #[command(subcommand)]
        command: audit::Command,
    },
    /// Show counters of services, backends and verdicts
    Stats {
        /// Only this service
        service: Option<String>,
        /// Again and again, until Ctrl-C
        #[arg(long)]
        watch: bool,
        /// With --watch: how often
        #[arg(long, value_name = "TIME", value_parser = interval, default_value = "1s", requires = "watch")]
        interval: Duration,
    },
    /// Tell where a flow would go, and why
    Lookup(lookup::Arguments),
    /// Look at the machine, and at an interface, and say what to mend; changes nothing
    Doctor {
        /// Name of the interface
        #[arg(value_name = "IFACE")]
        interface: Option<String>,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each command
    Man {
        /// Where to
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum BackendCommand {
    /// List backends with weight, share of the slots and the way to them
    List {
        /// Only this service
        service: Option<String>,
    },
    #[command(flatten)]
    Change(change::Change),
}

/// An attach mode as the configuration writes it.
fn mode(text: &str) -> Result<XdpMode, Refusal> {
    rules::choice(text)
}

/// How often something is shown.
fn interval(text: &str) -> Result<Duration, Refusal> {
    rules::duration("interval", text, Duration::from_millis(100)..=Duration::from_hours(1))
}

/// Carries the command out.
#[must_use]
#[expect(clippy::print_stderr, reason = "the one place where errors reach the user")]
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments { global, command } = arguments;
    let done = match command {
        Command::Run { config, log_packets } => run::run(&config, global.pin_dir, global.api, log_packets),
        Command::Check { config } => check::run(&config, global.pin_dir, global.json),
        Command::Attach { interface, mode } => attach::run(global.pin_dir(), &interface, mode, global.json),
        Command::Detach { interface, .. } => detach::run(global.pin_dir(), interface.as_deref(), global.json),
        Command::Decap(arguments) => decap::run(global.pin_dir(), &arguments, global.json),
        Command::Backend { command: BackendCommand::List { service } } => {
            backend::list(&global, service.as_deref())
        }
        Command::Backend { command: BackendCommand::Change(change) } => {
            global.changes().and_then(|client| change::run(&client, &change, global.json))
        }
        Command::Service { command } => service::run(&global, &command),
        Command::Config { command } => config::run(&global, command),
        Command::Reload { dry_run } => service::reload(&global, dry_run),
        Command::Audit { command } => audit::run(&command, global.json),
        Command::Stats { service, watch, interval } => watch::shown(watch.then_some(interval), || {
            stats::run(global.pin_dir(), global.client().as_ref(), service.as_deref(), global.json)
        }),
        Command::Lookup(arguments) => lookup::run(global.pin_dir(), &arguments, global.json),
        Command::Doctor { interface } => doctor::run(global.pin_dir(), interface.as_deref(), global.json),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { directory } => manual::pages(directory.as_deref()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("xdp-lb: {line}");
            }
            ExitCode::FAILURE
        }
    }
}

/// A runtime for the commands that ask netlink.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
