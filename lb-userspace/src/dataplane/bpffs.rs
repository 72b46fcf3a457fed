//! The BPF file system, where the program, its maps and its links are pinned.

use super::Error;
use nix::{
    mount::{MsFlags, mount},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where bpffs belongs.
const MOUNT_POINT: &str = "/sys/fs/bpf";

/// Makes the pin directory, and mounts bpffs first when it is not there, as bpftool does. Says what it mounted.
pub fn prepare(pin_dir: &Path) -> Result<Option<PathBuf>, Error> {
    let mut mounted = None;
    if pin_dir.starts_with(MOUNT_POINT) && !is_bpffs(Path::new(MOUNT_POINT)) {
        mount(Some("bpf"), MOUNT_POINT, Some("bpf"), MsFlags::empty(), None::<&str>)
            .map_err(|errno| Error::pin("mount bpffs at", Path::new(MOUNT_POINT))(errno.into()))?;
        mounted = Some(PathBuf::from(MOUNT_POINT));
    }
    let existing = pin_dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !is_bpffs(existing) {
        return Err(Error::Machine(format!(
            "pin_dir {} is not on a BPF file system; choose a directory below {MOUNT_POINT}, or mount one there (mount -t bpf bpf DIR)",
            pin_dir.display()
        )));
    }
    fs::create_dir_all(pin_dir).map_err(Error::pin("create", pin_dir))?;
    Ok(mounted)
}

/// Whether a path is on a BPF file system.
#[must_use]
pub fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC)
}
