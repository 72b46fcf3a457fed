//! The demonstration, and the soak.

use std::{ffi::OsStr, process::Command};

use anyhow::Result;

use crate::{
    build, process,
    setup::{self, Need},
    workspace::{self, Workspace},
};

/// Builds the demonstration and runs it, in our terminal.
pub fn run(workspace: &Workspace, option: Option<&str>) -> Result<()> {
    in_namespaces(workspace, "the demonstration", "demo", option)
}

/// The same with the soak.
pub fn soak(workspace: &Workspace, minutes: f64) -> Result<()> {
    in_namespaces(workspace, "the soak", "soak", [format!("--minutes={minutes}")])
}

fn in_namespaces<A: AsRef<OsStr>>(
    workspace: &Workspace,
    what: &str,
    program: &str,
    arguments: impl IntoIterator<Item = A>,
) -> Result<()> {
    workspace::require_root(&format!("{what}, which makes network namespaces,"))?;
    setup::ensure(workspace, Need::Run)?;
    build::binaries(workspace, false)?;
    let mut command = Command::new(build::program(program)?);
    command.current_dir(workspace.root()).env("PATH", workspace.path());
    command.args(arguments);
    process::run(&mut command)
}
