//! `xdp-lb config`: the configuration in force, as the daemon has it.

use super::{Global, output};
use crate::{config::WrittenConfig, daemon::commands::Difference};
use clap::Subcommand;
use serde_json::Value;

/// What to show.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum Command {
    /// What is in force, as a configuration file: the file with all that was changed since (without `hash_key`)
    Show,
    /// Where the file says something else than what is in force
    Diff,
}

/// Shows it.
pub fn run(global: &Global, command: Command) -> anyhow::Result<()> {
    let client = global.changes()?;
    match command {
        Command::Show => {
            let config: WrittenConfig = client.get("/v1/config")?;
            if global.json { output::json(&config) } else { output::line(config.to_toml()?.trim_end()) }
        }
        Command::Diff => {
            let differences: Vec<Difference> = client.get("/v1/config/diff")?;
            if global.json { output::json(&differences) } else { show(&differences) }
        }
    }
}

fn show(differences: &[Difference]) -> anyhow::Result<()> {
    if differences.is_empty() {
        return output::line("The file says what is in force");
    }
    let told = |value: &Value| match value {
        Value::Null => "(nothing)".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(_) => "(is there)".to_owned(),
        other => other.to_string(),
    };
    let rows = differences
        .iter()
        .map(|difference| vec![difference.what.clone(), told(&difference.file), told(&difference.in_force)]);
    output::table(&["WHAT", "FILE", "IN FORCE"], 0..0, rows)
}
