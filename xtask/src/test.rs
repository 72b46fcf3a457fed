//! Everything that a change must pass.

use std::{env, ffi::OsString};

use anyhow::Result;

use crate::{
    checks, doctests, process,
    progress::Progress,
    setup::{self, Need},
    workspace::{self, Workspace},
};

/// Whether a machine runs us, for a change that is to be accepted.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|ci| ci == "true")
}

/// Lints, documentation examples, tests. The test runner comes last: its summary is the last thing printed.
/// For continuous integration also the dependencies' rules, which a newcomer need not wait for.
pub fn run(workspace: &Workspace, nextest: &[OsString], ci: bool) -> Result<()> {
    workspace::require_root("testing, which makes network namespaces and loads programs into the kernel,")?;
    setup::ensure(workspace, Need::Test)?;
    if ci {
        Progress::heading("dependencies");
        checks::deny(workspace)?;
    }
    Progress::heading("formatting and lints");
    checks::lints(workspace)?;
    doctests::run(workspace)?;
    Progress::heading("building");
    // With the tests, so that the dependencies' features are those that nextest builds with, once.
    process::run(workspace.cargo().args(["build", "--workspace", "--bins", "--tests"]))?;
    Progress::heading("tests");
    let mut cargo = workspace.cargo();
    cargo.args(["nextest", "run", "--workspace"]).args(nextest);
    if ci && !names_profile(nextest) {
        cargo.args(["--profile", "ci"]);
    }
    process::run(&mut cargo)
}

fn names_profile(nextest: &[OsString]) -> bool {
    nextest.iter().any(|argument| {
        let argument = argument.to_string_lossy();
        argument == "-P" || argument == "--profile" || argument.starts_with("--profile=")
    })
}
