//! Programs from crates.io, built into target/tools.

use std::{ffi::OsStr, fs};

use anyhow::{Context as _, Result};

use crate::{process, progress::Progress, workspace::Workspace};

/// Both build with this workspace's Rust.
const NEXTEST: &str = "=0.9.151";
const DENY: &str = "=0.20.2";

/// Nextest's version, from wherever cargo finds it.
pub fn describe_nextest(workspace: &Workspace) -> Option<String> {
    describe(workspace, "nextest")
}

/// Builds nextest.
pub fn install_nextest(workspace: &Workspace, progress: &Progress) -> Result<()> {
    install(workspace, "cargo-nextest", &["--version", NEXTEST], &[], progress)
}

/// cargo-deny when a command asks for it: it takes minutes, and most commands do without.
pub fn ensure_deny(workspace: &Workspace) -> Result<()> {
    if describe(workspace, "deny").is_some() {
        return Ok(());
    }
    let progress = Progress::begin("cargo-deny", "building it (some minutes)");
    install(workspace, "cargo-deny", &["--version", DENY], &[], &progress)?;
    progress.end("installed");
    Ok(())
}

/// Builds a program of crates.io with the dependencies that its authors locked.
pub fn install(
    workspace: &Workspace,
    package: &str,
    arguments: &[&str],
    environment: &[(&str, &OsStr)],
    progress: &Progress,
) -> Result<()> {
    // A folder of its own, so that an interrupted build goes on where it was.
    let folder = workspace.tools().join(format!("build-{package}"));
    let mut cargo = workspace.cargo();
    cargo.args(["install", "--locked", "--root"]).arg(workspace.tools()).arg("--target-dir").arg(&folder);
    cargo.arg(package).args(arguments).envs(environment.iter().copied());
    // They run for seconds: the time is in building them.
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_DEBUG", "false");
    cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
    process::watched(cargo, &|line| progress.line(line))?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))
}

/// The first line of `cargo TOOL --version`.
fn describe(workspace: &Workspace, tool: &str) -> Option<String> {
    let said = process::ask(workspace.cargo().args([tool, "--version"]))?;
    said.lines().next().map(str::to_owned)
}
