//! What is checked without running the programs.

use anyhow::Result;

use crate::{process, setup::cargo_tools, workspace::Workspace};

/// Formatting, then lints: the quicker first.
pub fn lints(workspace: &Workspace) -> Result<()> {
    process::run(workspace.cargo().args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    process::run(workspace.cargo().args(clippy))
}

/// deny.toml's rules, but for advisories: they need a database from the network at the time of the check.
pub fn deny(workspace: &Workspace) -> Result<()> {
    cargo_tools::ensure_deny(workspace)?;
    process::run(workspace.cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}
