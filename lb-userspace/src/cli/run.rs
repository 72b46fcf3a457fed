//! `xdp-lb run`: the daemon.

use crate::{
    config::{self, Choice as _},
    daemon::{self, Options},
};
use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
};
use tracing_subscriber::EnvFilter;

/// Runs the daemon until it is told to end.
pub fn run(
    file: &Path,
    pin_dir: Option<PathBuf>,
    api: Option<PathBuf>,
    log_packets: bool,
) -> anyhow::Result<()> {
    let config = config::load(file)?;
    let packets = if log_packets { ",balancer=debug" } else { "" };
    let filter = EnvFilter::try_new(format!("{}{packets}", config.daemon.log.word()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    super::runtime()?.block_on(daemon::run(Options {
        config,
        file: file.to_owned(),
        pin_dir,
        api,
        log_packets,
    }))
}
