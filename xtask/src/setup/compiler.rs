//! The compiler for the eBPF half, found in one of two ways.
//!
//! (a) rustup's nightly with `rust-src`, which builds `core` for BPF itself; taken when a bpf-linker is on the
//! path too, which is how machines of eBPF developers look. (b) Debian's rustc with a prebuilt `core`, which
//! rustup then knows as toolchain `bpf`. Its core needs no nightly, and its LLVM is a package to link with.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{apt, linker};
use crate::{process, progress::Progress, workspace::Workspace};

/// Debian's compiler; the last is its core library for BPF.
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_BPF_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
/// rustup's name for Debian's compiler.
const DEBIAN_TOOLCHAIN: &str = "bpf";

/// Which of the two ways.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// rustup's nightly.
    Nightly,
    /// Debian's compiler.
    Debian,
}

/// A compiler that can build the eBPF half.
pub struct Compiler {
    /// How it was come by.
    pub way: Way,
    /// What rustup calls it.
    pub toolchain: &'static str,
    /// Its release, for instance 1.96.0.
    pub release: String,
    /// The major version of its LLVM, which the linker must have too.
    pub llvm: u32,
}

/// The compiler that builds will use, if there is one.
pub fn find(workspace: &Workspace) -> Result<Option<Compiler>> {
    let nightly = nightly().filter(|nightly| nightly.join("lib/rustlib/src/rust/library").is_dir());
    if let Some(nightly) = &nightly
        && linker::is_users_own(workspace)
    {
        return compiler(Way::Nightly, &nightly.join("bin/rustc")).map(Some);
    }
    if has_debian_compiler() && is_linked()? {
        return compiler(Way::Debian, Path::new(DEBIAN_RUSTC)).map(Some);
    }
    // Alone it is second choice: without Debian's packages there is none to prefer.
    match nightly {
        Some(nightly) if !debian_offers_one() => compiler(Way::Nightly, &nightly.join("bin/rustc")).map(Some),
        _ => Ok(None),
    }
}

/// The compiler in a few words.
pub fn describe(workspace: &Workspace) -> Result<Option<String>> {
    Ok(find(workspace)?.map(|compiler| match compiler.way {
        Way::Nightly => format!("rustup's nightly, rustc {} with rust-src", compiler.release),
        Way::Debian => format!("Debian's rustc {} with a prebuilt core for BPF", compiler.release),
    }))
}

/// Debian's where its packages are to be had, otherwise rustup's nightly.
pub fn install(_workspace: &Workspace, progress: &Progress) -> Result<()> {
    if process::ask(Command::new("rustup").arg("--version")).is_none() {
        bail!("rustup is needed to have two Rust compilers side by side: see https://rustup.rs");
    }
    if has_debian_compiler() || apt::offers(DEBIAN_PACKAGES[2], progress)? {
        return install_debian(progress);
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"]);
    process::watched(rustup, &|line| progress.line(line)).context(
        "neither Debian's rustc-web with libstd-rust-web-dev-bpf is offered here, nor can rustup install \
         a nightly with rust-src: one of them is needed",
    )
}

fn install_debian(progress: &Progress) -> Result<()> {
    if !has_debian_compiler() {
        apt::install(DEBIAN_PACKAGES, progress)?;
    }
    if is_linked()? {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "link", DEBIAN_TOOLCHAIN, "/usr"]);
    process::watched(rustup, &|line| progress.line(line))
}

fn has_debian_compiler() -> bool {
    Path::new(DEBIAN_BPF_CORE).is_dir()
        && Path::new(DEBIAN_RUSTC).is_file()
        && Path::new("/usr/bin/cargo").is_file()
}

fn debian_offers_one() -> bool {
    apt::available() && apt::knows(DEBIAN_PACKAGES[2])
}

/// Whether rustup knows Debian's compiler. A toolchain of the user's own under that name is not ours to replace.
fn is_linked() -> Result<bool> {
    let Some(link) = toolchains().map(|toolchains| toolchains.join(DEBIAN_TOOLCHAIN)) else {
        return Ok(false);
    };
    match fs::read_link(&link) {
        Ok(to) if to == Path::new("/usr") => Ok(true),
        Ok(to) => bail!(
            "rustup's toolchain `{DEBIAN_TOOLCHAIN}` is {}, not Debian's /usr: rename it, then run this again",
            to.display()
        ),
        Err(_) if link.exists() => bail!("rustup has another toolchain `{DEBIAN_TOOLCHAIN}`: rename it"),
        Err(_) => Ok(false),
    }
}

/// The folder of rustup's nightly: `nightly` and the host, without a date between them.
fn nightly() -> Option<PathBuf> {
    let host = format!("nightly-{}-", env::consts::ARCH);
    let entries = fs::read_dir(toolchains()?).ok()?.filter_map(Result::ok);
    entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&host)))
}

/// Read directly: asking rustup costs a tenth of a second for each question, and setup asks often.
fn toolchains() -> Option<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".rustup")))?;
    Some(home.join("toolchains"))
}

fn compiler(way: Way, rustc: &Path) -> Result<Compiler> {
    let said = process::ask(Command::new(rustc).arg("-vV"))
        .with_context(|| format!("{} does not run", rustc.display()))?;
    let value = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let llvm = value("LLVM version:").and_then(|version| version.split('.').next()?.parse().ok());
    Ok(Compiler {
        way,
        toolchain: if way == Way::Nightly { "nightly" } else { DEBIAN_TOOLCHAIN },
        release: value("release:").context("rustc -vV names no release")?.to_owned(),
        llvm: llvm.context("rustc -vV names no LLVM version")?,
    })
}
