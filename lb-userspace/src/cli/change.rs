//! `xdp-lb backend add|set|drain|remove`: changes of a running balancer, through the daemon.

use super::{
    client::{Client, escaped},
    output,
};
use crate::api::{AddBackend, Changed, DrainBackend, SetBackend};
use clap::{Args, Subcommand};
use hyper::Method;
use serde::Serialize;

/// A change of a backend.
#[derive(Debug, Subcommand)]
pub enum Change {
    /// Add a backend to a service
    Add {
        #[command(flatten)]
        which: Which,
        /// Its address; for nat also with a port
        address: String,
        /// Its weight, 0 to 10000
        #[arg(long, default_value_t = 100, allow_negative_numbers = true)]
        weight: i64,
    },
    /// Give a backend another weight; 0: no new connections
    Set {
        #[command(flatten)]
        which: Which,
        /// The new weight, 0 to 10000
        #[arg(long, allow_negative_numbers = true)]
        weight: i64,
    },
    /// Give a backend no new connections, and leave it those that it has
    Drain {
        #[command(flatten)]
        which: Which,
        /// After so long (like 5m) it counts as dead, and its connections break
        #[arg(long)]
        deadline: Option<String>,
    },
    /// Take a backend out; it keeps its connections until they end
    Remove {
        #[command(flatten)]
        which: Which,
        /// At once: its connections break
        #[arg(long)]
        now: bool,
    },
}

/// The backend, and whether to change it at all.
#[derive(Args, Debug)]
pub struct Which {
    /// Name of the service
    service: String,
    /// Name of the backend
    backend: String,
    /// Only show what it would do
    #[arg(long)]
    dry_run: bool,
}

impl Which {
    fn path(&self, rest: &str, query: &str) -> String {
        let (service, backend) = (escaped(&self.service), escaped(&self.backend));
        format!("/v1/services/{service}/backends/{backend}{rest}?dry_run={}{query}", self.dry_run)
    }
}

/// Carries a change out, or shows what it would do.
pub fn run(client: &Client, change: &Change, json: bool) -> anyhow::Result<()> {
    let changed = match change {
        Change::Add { which, address, weight } => {
            let (name, address) = (which.backend.clone(), address.clone());
            let body = AddBackend { name, address, weight: Some(*weight) };
            let path = format!("/v1/services/{}/backends?dry_run={}", escaped(&which.service), which.dry_run);
            ask(client, &Method::POST, &path, &body)
        }
        Change::Set { which, weight } => {
            ask(client, &Method::PATCH, &which.path("", ""), &SetBackend { weight: *weight })
        }
        Change::Drain { which, deadline } => ask(
            client,
            &Method::POST,
            &which.path("/drain", ""),
            &DrainBackend { deadline: deadline.clone() },
        ),
        Change::Remove { which, now } => {
            ask(client, &Method::DELETE, &which.path("", &format!("&now={now}")), &())
        }
    }?;
    if json { output::json(&changed) } else { show(&changed) }
}

fn ask(client: &Client, method: &Method, path: &str, body: &impl Serialize) -> anyhow::Result<Changed> {
    client.ask(method, path, body)
}

/// Shows what a change does to a service.
pub fn show(changed: &Changed) -> anyhow::Result<()> {
    let Changed { service, dry_run, slots, moved, waiting, flows, note, backends } = changed;
    let would = if *dry_run { "would move" } else { "moved" };
    let later = if *waiting > 0 { format!(", {waiting} more once they are stable") } else { String::new() };
    output::line(&format!(
        "{service}: {moved} of {slots} slots {would}{later}; {flows} flows are remembered"
    ))?;
    if let Some(note) = note {
        output::line(note)?;
    }
    let rows = backends.iter().map(|row| {
        let state = if row.leaving { "leaving" } else { "" };
        vec![row.backend.clone(), row.before.to_string(), row.after.to_string(), state.to_owned()]
    });
    output::table(&["BACKEND", "SLOTS BEFORE", "SLOTS AFTER", ""], 1..3, rows)
}
