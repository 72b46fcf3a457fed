//! The file system that keeps maps and links alive, where programs look for it.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};

use crate::{process, progress::Progress, workspace, workspace::Workspace};

const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Where it is mounted.
pub fn describe(_workspace: &Workspace) -> Result<Option<String>> {
    let mounts = fs::read_to_string("/proc/mounts").context("cannot read /proc/mounts")?;
    let is_ours = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(MOUNT_POINT) && fields.next() == Some("bpf")
    };
    Ok(mounts.lines().any(is_ours).then(|| format!("mounted at {MOUNT_POINT}")))
}

/// Mounts it, until the next start of the machine.
pub fn install(_workspace: &Workspace, progress: &Progress) -> Result<()> {
    workspace::require_root("mounting the bpf file system")?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "bpf", "bpf", MOUNT_POINT]);
    process::watched(mount, &|line| progress.line(line))
}
