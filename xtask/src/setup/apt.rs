//! Debian's packages, without a question asked.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Result, bail};

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
