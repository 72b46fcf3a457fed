//! bpf-linker, which must carry the LLVM of the compiler whose bitcode it reads.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    apt, cargo_tools,
    compiler::{self, Compiler, Way},
};
use crate::{process, progress::Progress, workspace::Workspace};

/// 0.13 has LLVM 21 to 23; a patch release may come without our asking.
const VERSION: &str = "~0.13";

/// Whether the user has one of their own, outside this checkout.
pub fn is_users_own(workspace: &Workspace) -> bool {
    on_users_path(workspace).is_some()
}

/// The linker in a few words; nothing when there is none or it has another LLVM than the compiler.
pub fn describe(workspace: &Workspace) -> Result<Option<String>> {
    let Some(compiler) = compiler::find(workspace)? else {
        return Ok(None);
    };
    let linker = workspace.linker();
    let Some(version) = process::ask(Command::new(&linker).arg("--version")) else {
        return Ok(None);
    };
    match compiler.way {
        // A released linker carries its LLVM inside and does not say which; it is the user's choice.
        Way::Nightly => Ok(Some(format!("{version}, the one on the path"))),
        Way::Debian if is_linked_with(&linker, compiler.llvm)? => {
            Ok(Some(format!("{version} with Debian's LLVM {}", compiler.llvm)))
        }
        Way::Debian => Ok(None),
    }
}

/// The user's own for rustup's nightly, one built here for Debian's compiler.
pub fn install(workspace: &Workspace, progress: &Progress) -> Result<()> {
    let compiler = compiler::find(workspace)?.context("there is no eBPF compiler to build a linker for")?;
    let linker = workspace.linker();
    if linker.is_symlink() || linker.exists() {
        fs::remove_file(&linker).with_context(|| format!("cannot remove {}", linker.display()))?;
    }
    match compiler.way {
        Way::Nightly => install_released(workspace, &linker, progress),
        Way::Debian => build(workspace, &compiler, progress),
    }
}

fn install_released(workspace: &Workspace, linker: &Path, progress: &Progress) -> Result<()> {
    if let Some(own) = on_users_path(workspace) {
        fs::create_dir_all(workspace.tools_bin()).context("cannot make target/tools/bin")?;
        return symlink(&own, linker).with_context(|| format!("cannot link {}", linker.display()));
    }
    if workspace.which("cargo-binstall").is_none() {
        bail!(
            "bpf-linker is missing: install cargo-binstall and run this again, or put a release of \
             https://github.com/aya-rs/bpf-linker on the path"
        );
    }
    let mut binstall = workspace.cargo();
    binstall.args(["binstall", "--no-confirm", "--root"]).arg(workspace.tools()).arg("bpf-linker");
    process::watched(binstall, &|line| progress.line(line))
}

fn build(workspace: &Workspace, compiler: &Compiler, progress: &Progress) -> Result<()> {
    let llvm = compiler.llvm;
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    if !prefix.join("lib/libLLVM.so").exists() {
        apt::install(&[&format!("llvm-{llvm}-dev")], progress)?;
    }
    // Linked dynamically, which brings LLVM's own needs with it: no other development package is asked for.
    let feature = format!("llvm-{llvm}");
    let arguments = ["--version", VERSION, "--no-default-features", "--features", &feature];
    // Without the prefix the first llvm-config on the path would do, of whatever version.
    let environment = [("LLVM_PREFIX", prefix.as_os_str())];
    cargo_tools::install(workspace, "bpf-linker", &arguments, &environment, progress)
}

/// By the name of the library that it asks the dynamic loader for.
fn is_linked_with(linker: &Path, llvm: u32) -> Result<bool> {
    let program = fs::read(linker).with_context(|| format!("cannot read {}", linker.display()))?;
    let library = format!("libLLVM.so.{llvm}.");
    Ok(program.windows(library.len()).any(|bytes| bytes == library.as_bytes()))
}

fn on_users_path(workspace: &Workspace) -> Option<PathBuf> {
    let ours = workspace.tools_bin();
    let path = env::var_os("PATH")?;
    let folders = env::split_paths(&path).filter(|folder| *folder != ours);
    folders.map(|folder| folder.join("bpf-linker")).find(|linker| linker.is_file())
}
