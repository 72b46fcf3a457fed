//! The bench.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::{
    build, process,
    setup::{self, Need},
    workspace::{self, Workspace},
};

/// Builds it with optimisation and runs it, in our terminal.
pub fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    workspace::require_root("the bench, which loads programs into the kernel,")?;
    setup::ensure(workspace, Need::Run)?;
    process::run(workspace.cargo().args(["build", "--quiet", "--package", "lb-bench", "--bin", "bench"]))?;
    let mut command = Command::new(build::program("bench")?);
    command.current_dir(workspace.root()).env("PATH", workspace.path()).args(arguments);
    process::run(&mut command)
}
