//! The demonstration.

use std::process::Command;

use anyhow::Result;

use crate::{
    build, process,
    setup::{self, Need},
    workspace::{self, Workspace},
};

/// Builds and runs it, in our terminal.
pub fn run(workspace: &Workspace, option: Option<&str>) -> Result<()> {
    workspace::require_root("the demonstration, which makes network namespaces,")?;
    setup::ensure(workspace, Need::Run)?;
    build::binaries(workspace, false)?;
    let mut demo = Command::new(build::program("demo")?);
    demo.current_dir(workspace.root()).env("PATH", workspace.path());
    demo.args(option);
    process::run(&mut demo)
}
