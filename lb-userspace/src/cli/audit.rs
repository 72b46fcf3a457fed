//! `xdp-lb audit verify`: needs no daemon, but the right to read its state directory.

use super::output;
use crate::{
    audit,
    config::STATE_DIR,
    state_dir::store::{Contents, FILE, Store},
};
use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;
use std::path::PathBuf;

/// What to do with the audit log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check that no entry was changed, taken out or put in
    Verify {
        /// The directory that `state_dir` of the configuration names
        #[arg(long, value_name = "DIR", default_value = STATE_DIR)]
        state_dir: PathBuf,
    },
}

#[derive(Serialize)]
struct Answer {
    entries: u64,
    /// Hash of the last entry: kept elsewhere, it proves later that all until here is as it was.
    last: String,
}

/// Carries it out.
pub fn run(command: &Command, json: bool) -> anyhow::Result<()> {
    let Command::Verify { state_dir } = command;
    let kept = kept(state_dir)?;
    let head = audit::verify(state_dir, kept.as_ref())?;
    let answer = Answer { entries: head.number, last: head.hash };
    if json {
        return output::json(&answer);
    }
    let entries = output::count(usize::try_from(answer.entries)?, "entry").replace("entrys", "entries");
    output::line(&format!("{entries}, each as it was written; the last one's hash is {}", answer.last))
}

/// What the file of changes says of the log; it is left where it is, damaged or not.
fn kept(state_dir: &std::path::Path) -> anyhow::Result<Option<Contents>> {
    let found = Store::new(state_dir)
        .look()
        .with_context(|| format!("cannot read {}", state_dir.join(FILE).display()))?;
    found
        .map(|contents| {
            contents.map_err(|why| {
                anyhow::anyhow!(
                    "{} is damaged: {why}; it cannot tell where the log must end",
                    state_dir.join(FILE).display()
                )
            })
        })
        .transpose()
}
