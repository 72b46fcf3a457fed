//! The BPF file system.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{Flock, FlockArg},
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

/// Where it belongs.
pub(super) const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Mounts the BPF file system where the machine has not done so.
pub(super) fn ensure_mounted() -> Result<()> {
    // Two tests that both found it missing would mount it twice, and the second mount would hide the first one's pins.
    let lock = std::env::temp_dir().join("xlb-bpffs.lock");
    let file = File::create(&lock).with_context(|| format!("cannot create {}", lock.display()))?;
    let _held = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, error)| error)
        .with_context(|| format!("cannot lock {}", lock.display()))?;
    let mounted = statfs(MOUNT_POINT).with_context(|| format!("cannot look at {MOUNT_POINT}"))?;
    if mounted.filesystem_type() == BPF_FS_MAGIC {
        return Ok(());
    }
    mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), None::<&Path>)
        .with_context(|| format!("cannot mount the BPF file system at {MOUNT_POINT} (are you root?)"))
}

/// The names of a directory's entries; nothing when the directory does not exist.
pub(super) fn entries(directory: &Path) -> Vec<String> {
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}
