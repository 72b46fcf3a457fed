//! Schemathesis, which drives the API against its own document, in a Python environment of its own under target/tools.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use super::apt;
use crate::{process, progress::Progress, workspace::Workspace};

/// It and all that it needs, each with its version.
const REQUIREMENTS: &str = "tests/schemathesis.txt";

/// Its version, when it is that of the requirements.
pub fn describe(workspace: &Workspace) -> Result<Option<String>> {
    let said = process::ask(Command::new(program(workspace)).arg("--version"));
    let requirements = requirements(workspace);
    let wanted = fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {}", requirements.display()))?;
    let wanted = wanted.lines().find_map(|line| line.strip_prefix("schemathesis=="));
    let wanted = wanted.with_context(|| format!("{} names no schemathesis", requirements.display()))?;
    Ok(said.filter(|said| said.ends_with(&format!(" {wanted}"))))
}

/// Makes the environment anew.
pub fn install(workspace: &Workspace, progress: &Progress) -> Result<()> {
    let python = || process::ask(Command::new("python3").args(["-c", "import venv, ensurepip"]));
    if python().is_none() {
        apt::install(&["python3-venv"], progress)?;
    }
    let folder = folder(workspace);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&folder);
    process::watched(make, &|line| progress.line(line))?;
    let mut pip = Command::new(folder.join("bin/pip"));
    pip.args(["install", "--disable-pip-version-check", "--no-deps", "--requirement"]);
    pip.arg(requirements(workspace));
    process::watched(pip, &|line| progress.line(line))
}

fn requirements(workspace: &Workspace) -> PathBuf {
    workspace.root().join(REQUIREMENTS)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("schemathesis")
}

fn program(workspace: &Workspace) -> PathBuf {
    folder(workspace).join("bin/schemathesis")
}
