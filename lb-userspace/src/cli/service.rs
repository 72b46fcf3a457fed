//! `xdp-lb service` and `xdp-lb reload`: whole services, through the daemon; `list` reads the pinned maps.

use super::{
    Global, change,
    client::{Client, escaped},
    output, told,
};
use crate::{
    api::{Applied, Explanation},
    config::{self, WrittenService},
    view,
};
use anyhow::ensure;
use clap::Subcommand;
use hyper::Method;
use std::path::{Path, PathBuf};

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List services
    List,
    /// Tell why the weights of a service are what they are
    Explain {
        /// Name of the service
        name: String,
    },
    /// Add the service of a file, written as in the configuration
    Add {
        /// A file with one [[service]] table
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
        /// Only show what it would do
        #[arg(long)]
        dry_run: bool,
    },
    /// Take a service out, with the connections that it has
    Remove {
        /// Name of the service
        name: String,
        /// Only show what it would do
        #[arg(long)]
        dry_run: bool,
    },
}

/// Carries it out.
pub fn run(global: &Global, command: &Command) -> anyhow::Result<()> {
    match command {
        Command::List => list(global),
        Command::Explain { name } => explain(global, name),
        Command::Add { file, dry_run } => {
            let service = read(file)?;
            let path = format!("/v1/services?dry_run={dry_run}");
            show(&global.changes()?.ask(&Method::POST, &path, &service)?, global.json)
        }
        Command::Remove { name, dry_run } => {
            let path = format!("/v1/services/{}?dry_run={dry_run}", escaped(name));
            show(&global.changes()?.ask(&Method::DELETE, &path, &())?, global.json)
        }
    }
}

fn explain(global: &Global, name: &str) -> anyhow::Result<()> {
    let explanation: Explanation =
        global.changes()?.get(&format!("/v1/services/{}/explain", escaped(name)))?;
    if global.json {
        return output::json(&explanation);
    }
    explanation.lines.iter().try_for_each(|line| output::line(line))
}

/// Has the daemon read its configuration again.
pub fn reload(global: &Global, dry_run: bool) -> anyhow::Result<()> {
    let client: Client = global.changes()?;
    show(&client.ask(&Method::POST, &format!("/v1/reload?dry_run={dry_run}"), &())?, global.json)
}

/// The service of a file, validated here so that what is wrong is told with its line.
fn read(file: &Path) -> anyhow::Result<WrittenService> {
    let services = config::load(file)?.services;
    let number = services.len();
    ensure!(number == 1, "{} has {number} services; write one [[service]] table into it", file.display());
    services.first().map(WrittenService::from).ok_or_else(|| anyhow::anyhow!("no service"))
}

fn show(applied: &Applied, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(applied);
    }
    for note in &applied.notes {
        output::line(note)?;
    }
    for service in &applied.services {
        change::show(service)?;
        output::line("")?;
    }
    let Applied { dry_run, moved, waiting, .. } = applied;
    let would = if *dry_run { "would move" } else { "moved" };
    output::line(&format!("{moved} slots {would} in all; {waiting} wait until they are stable"))
}

fn list(global: &Global) -> anyhow::Result<()> {
    let mut report = view::read(global.pin_dir())?;
    told::tell(&mut report, global.client().as_ref());
    if global.json {
        return output::json(&report.services);
    }
    let header = ["SERVICE", "ADDRESS", "PROTOCOL", "FORWARDING", "SLOTS", "BACKENDS", "UP"];
    let rows = report.services.iter().map(|row| {
        let own = || report.backends.iter().filter(|backend| backend.service == row.service);
        let up = own().filter(|backend| backend.state == "up").count();
        let up = if row.panic { "PANIC".to_owned() } else { up.to_string() };
        vec![
            row.service.clone(),
            row.address.clone(),
            row.protocol.to_owned(),
            row.forwarding.to_owned(),
            row.slots.to_string(),
            own().count().to_string(),
            up,
        ]
    });
    output::table(&header, 4..7, rows)
}
