//! Names that are unique per process and tell whose they are, so that the next run can remove what a killed one left.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};

const PREFIX: &str = "xlb";

/// The name of a bed, `xlb<pid in hex>-<number>`: the common start of the names of all that it makes.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct BedName {
    pid: u32,
    number: u32,
}

impl BedName {
    /// The next unused name of this process.
    pub(super) fn next() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        Self { pid: process::id(), number: NUMBER.fetch_add(1, Ordering::Relaxed) }
    }

    /// The bed that made something called `name` (the bed's own name, or one that starts with it and a dash).
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let pid = u32::from_str_radix(parts.next()?, 16).ok()?;
        let number = parts.next()?.parse().ok()?;
        Some(Self { pid, number })
    }

    /// The process that made the bed.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The name of the bed's namespace for `role`.
    #[must_use]
    pub fn namespace(&self, role: &str) -> String {
        format!("{self}-{role}")
    }

    /// Where the bed keeps its files: configurations, logs, the daemon's state.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        std::env::temp_dir().join(self.to_string())
    }

    /// Where the bed's BPF pins live.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        Path::new(super::bpffs::MOUNT_POINT).join(self.to_string())
    }

    /// Makes the bed's directory and notes in it which process owns the bed.
    pub(super) fn claim(&self) -> Result<()> {
        let directory = self.directory();
        fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let started = start_time(self.pid).context("this process has no entry in /proc")?;
        fs::write(self.owner_file(), started)
            .with_context(|| format!("cannot write {}", self.owner_file().display()))
    }

    /// Whether the process that made the bed still lives. A process that merely got the same pid does not count.
    #[must_use]
    pub fn owner_lives(&self) -> bool {
        match (start_time(self.pid), fs::read_to_string(self.owner_file())) {
            // Empty: the owner is just about to write it.
            (Some(now), Ok(noted)) => noted.is_empty() || now == noted,
            (running, _) => running.is_some(),
        }
    }

    fn owner_file(&self) -> PathBuf {
        self.directory().join("owner")
    }
}

impl fmt::Display for BedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{:x}-{}", self.pid, self.number)
    }
}

/// When the process started, in clock ticks since boot; none when it is gone or only waits to be reaped.
fn start_time(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): the second field is in brackets and may hold blanks; state is the 3rd, starttime the 22nd.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next()?;
    let ticks = fields.nth(18)?;
    (state != "Z").then(|| ticks.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_from_all_that_it_names() {
        let bed = BedName { pid: 0x1f2e, number: 7 };
        assert_eq!(bed.to_string(), "xlb1f2e-7");
        assert_eq!(BedName::of(&bed.to_string()), Some(bed.clone()));
        assert_eq!(BedName::of(&bed.namespace("backend-12")), Some(bed));
    }

    #[test]
    fn foreign_names_are_left_alone() {
        for name in ["", "xlb", "xlb-1", "xlbzz-1", "xlb12", "xlb12-client", "xdp-lb", "web"] {
            assert_eq!(BedName::of(name), None, "{name}");
        }
    }

    #[test]
    fn this_process_lives_and_names_differ() {
        let (one, two) = (BedName::next(), BedName::next());
        assert_ne!(one, two);
        assert!(one.owner_lives());
    }

    #[test]
    fn a_pid_that_never_was_is_dead() {
        // Above the largest pid_max of Linux, 2^22.
        assert!(!BedName { pid: 1 << 23, number: 1 }.owner_lives());
    }
}
