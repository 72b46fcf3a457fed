//! What lb-userspace/build.rs reads: the toolchain that was found.

use std::fs;

use anyhow::{Context as _, Result};

use super::compiler;
use crate::{progress::Progress, workspace::Workspace};

/// In target/tools.
const FILE: &str = "toolchain.env";

/// The record in a few words; nothing when it is missing or names another compiler.
pub fn describe(workspace: &Workspace) -> Result<Option<String>> {
    let recorded = fs::read_to_string(workspace.tools().join(FILE)).unwrap_or_default();
    Ok(wanted(workspace)?
        .filter(|wanted| *wanted == recorded)
        .map(|_| format!("recorded in target/tools/{FILE}")))
}

/// Writes it. Only ever called when it differs: its date decides whether the objects are built again.
pub fn install(workspace: &Workspace, _progress: &Progress) -> Result<()> {
    let record = wanted(workspace)?.context("there is no eBPF compiler to record")?;
    let file = workspace.tools().join(FILE);
    fs::write(&file, record).with_context(|| format!("cannot write {}", file.display()))
}

/// The release and the LLVM are there so that a new compiler changes the file, and with it the objects.
fn wanted(workspace: &Workspace) -> Result<Option<String>> {
    Ok(compiler::find(workspace)?.map(|compiler| {
        format!(
            "# Written by `cargo xtask setup`, read by lb-userspace/build.rs.\ntoolchain={}\nrustc={}\nllvm={}\n",
            compiler.toolchain, compiler.release, compiler.llvm
        )
    }))
}
