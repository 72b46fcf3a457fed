//! The simulation of the latency controller.

use std::ffi::OsString;

use anyhow::Result;

use crate::{
    process,
    setup::{self, Need},
    workspace::Workspace,
};

/// Builds it with optimisation and runs it, in our terminal.
pub fn run(workspace: &Workspace, arguments: &[OsString]) -> Result<()> {
    setup::ensure(workspace, Need::Build)?;
    let mut cargo = workspace.cargo();
    cargo.args(["run", "--release", "--quiet", "--package", "lb-simulation", "--bin", "simulate", "--"]);
    process::run(cargo.args(arguments))
}
