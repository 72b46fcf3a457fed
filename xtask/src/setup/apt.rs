//! Debian's packages, without a question asked.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, bail};

use crate::{process, progress::Progress, workspace};

/// The lists are fetched at most once a run, and only when something is missing.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// Whether this is a system of Debian's kind.
pub fn available() -> bool {
    Path::new("/usr/bin/apt-get").is_file()
}

/// Whether the package can be had here, after the lists are fresh when we may fetch them.
pub fn offers(package: &str, progress: &Progress) -> Result<bool> {
    if !available() {
        return Ok(false);
    }
    if workspace::is_root()? {
        update(progress)?;
    }
    Ok(knows(package))
}

/// Whether the package lists, as they are, have it.
pub fn knows(package: &str) -> bool {
    let policy = process::ask(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package]));
    policy.is_some_and(|policy| policy.contains("Candidate: ") && !policy.contains("Candidate: (none)"))
}

/// Installs them. `--no-remove`: what the user has stays, so a conflict is an error instead.
pub fn install(packages: &[&str], progress: &Progress) -> Result<()> {
    let names = packages.join(" ");
    if !available() {
        bail!("there is no apt-get here: install by hand what Debian calls {names}");
    }
    if !workspace::is_root()? {
        bail!(
            "as root, run `apt-get update && apt-get install -y --no-install-recommends --no-remove {names}`, \
             then this again"
        );
    }
    update(progress)?;
    progress.line(&format!("apt-get install {names}"));
    let mut apt = apt_get();
    apt.args(["install", "-y", "--no-install-recommends", "--no-remove"]).args(packages);
    process::watched(apt, &|line| progress.line(line))
}

/// The names of the packages that match an extended regular expression as a whole, once the lists are as fresh as we can
/// make them.
pub fn matching(pattern: &str, progress: &Progress) -> Result<Vec<String>> {
    require()?;
    if workspace::is_root()? {
        update(progress)?;
    }
    let found =
        process::ask(Command::new("apt-cache").args(["search", "--names-only", &format!("^{pattern}$")]));
    let names = found.unwrap_or_default();
    Ok(names.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
}

/// Downloads a package into a folder, and does not install it. Needs no root.
pub fn download(package: &str, folder: &Path, progress: &Progress) -> Result<()> {
    require()?;
    if workspace::is_root()? {
        update(progress)?;
    }
    progress.line(&format!("apt-get download {package}"));
    let mut apt = apt_get();
    apt.current_dir(folder).args(["download", package]);
    process::watched(apt, &|line| progress.line(line))
}

/// The same with all that the package needs and this machine has not. What it conflicts with does not matter.
pub fn download_with_needs(package: &str, folder: &Path, progress: &Progress) -> Result<()> {
    require()?;
    if workspace::is_root()? {
        update(progress)?;
    }
    let partial = folder.join("partial");
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    progress.line(&format!("apt-get install --download-only {package}"));
    let mut apt = apt_get();
    apt.arg("-o").arg(format!("Dir::Cache::archives={}", folder.display()));
    // Nothing is installed, so nobody need be kept out, which only root could.
    apt.args([
        "-o",
        "Debug::NoLocking=1",
        "install",
        "-y",
        "--no-install-recommends",
        "--download-only",
        package,
    ]);
    process::watched(apt, &|line| progress.line(line))
}

fn require() -> Result<()> {
    if !available() {
        bail!("there is no apt-get here, and Debian's packages are needed");
    }
    Ok(())
}

fn update(progress: &Progress) -> Result<()> {
    if UPDATED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let mut apt = apt_get();
    apt.arg("update");
    process::watched(apt, &|line| progress.line(line))
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    // A lock that another installation holds is waited for, not failed on.
    apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "DPkg::Lock::Timeout=300"]);
    apt
}
