//! The programs that a user runs.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{process, workspace::Workspace};

/// Builds xdp-lb, with the eBPF objects in it, and the demonstration.
pub fn binaries(workspace: &Workspace, release: bool) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo.args(["build", "--package", "lb-userspace", "--package", "lb-tests", "--bins"]);
    if release {
        cargo.arg("--release");
    }
    process::run(&mut cargo)
}

/// The program of this name that [`binaries`] built without optimisation.
pub fn program(name: &str) -> Result<PathBuf> {
    // This program lies in the same target directory, one level down, wherever that is.
    let own = env::current_exe().context("cannot tell where this program is")?;
    let target =
        own.parent().and_then(|profile| profile.parent()).context("this program is in no target folder")?;
    Ok(target.join("debug").join(name))
}
