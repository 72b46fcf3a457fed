//! Removing a bed: at the end, after a panic, and, when a process was killed, at the start of the next one.

use std::{
    collections::BTreeSet, fs, io::ErrorKind, os::unix::fs::MetadataExt as _, path::Path, time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    bpffs::{self, entries},
    names::BedName,
    namespace,
};
use crate::wait::wait_until;

/// Removes everything that carries the bed's name when dropped, also while a panic unwinds.
#[derive(Debug)]
pub(super) struct Cleanup(pub(super) BedName);

impl Drop for Cleanup {
    #[expect(clippy::print_stderr, reason = "a drop has nobody to hand its error to, and must not hide it")]
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            eprintln!("bed {} is not wholly removed: {error:#}", self.0);
        }
    }
}

/// Removes the beds of processes that no longer live, and names them.
///
/// [`BedBuilder::build`](super::BedBuilder::build) does so once per process.
pub fn sweep() -> Result<Vec<BedName>> {
    let dead: BTreeSet<BedName> = existing().into_iter().filter(|bed| !bed.owner_lives()).collect();
    for bed in &dead {
        remove(bed).with_context(|| format!("cannot remove what is left of bed {bed}"))?;
    }
    Ok(dead.into_iter().collect())
}

/// The beds of this machine, dead or alive, known by any of their traces.
#[must_use]
pub fn existing() -> BTreeSet<BedName> {
    [Path::new(namespace::DIRECTORY), Path::new(bpffs::MOUNT_POINT), &std::env::temp_dir()]
        .into_iter()
        .flat_map(entries)
        .filter_map(|name| BedName::of(&name))
        .collect()
}

/// Removes processes, pins, namespaces and files, in the order in which they depend on one another.
fn remove(bed: &BedName) -> Result<()> {
    let namespaces: Vec<String> =
        entries(Path::new(namespace::DIRECTORY)).into_iter().filter(|name| belongs(name, bed)).collect();
    let ended = end_processes(&namespaces);
    let pins = remove_tree(&bed.pins());
    let removed: Result<()> = namespaces.iter().try_for_each(|name| namespace::delete(name));
    let files = remove_tree(&bed.directory());
    ended.and(pins).and(removed).and(files)
}

fn belongs(name: &str, bed: &BedName) -> bool {
    BedName::of(name).as_ref() == Some(bed)
}

/// Ends what still runs in the namespaces: nobody but the bed's owner starts processes there.
fn end_processes(namespaces: &[String]) -> Result<()> {
    if namespaces.is_empty() {
        return Ok(());
    }
    for pid in processes_in(namespaces) {
        // One that is gone by now is what we want.
        let _ = kill(pid, Signal::SIGKILL);
    }
    wait_until(Duration::from_secs(5), "the end of the processes in the bed's namespaces", || {
        processes_in(namespaces).is_empty()
    })
}

fn processes_in(namespaces: &[String]) -> Vec<Pid> {
    let inside: BTreeSet<(u64, u64)> =
        namespaces.iter().filter_map(|name| identity(&namespace::path(name))).collect();
    entries(Path::new("/proc"))
        .into_iter()
        .filter_map(|entry| entry.parse().ok())
        .filter(|&pid: &i32| {
            identity(Path::new(&format!("/proc/{pid}/ns/net"))).is_some_and(|id| inside.contains(&id))
        })
        .map(Pid::from_raw)
        .filter(|&pid| pid != Pid::this())
        .collect()
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
