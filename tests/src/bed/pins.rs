//! A pin directory without a network around it.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::{BedName, bpffs, builder::sweep_once, cleanup::Cleanup};

/// A directory for pins in the BPF file system, removed with all that is in it when dropped.
#[derive(Debug)]
pub struct Pins(Cleanup);

impl Pins {
    /// Makes the directory; the balancer's loader makes [`Pins::dir`] below it.
    pub fn new() -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "programs are loaded and pinned: run it as root");
        bpffs::ensure_mounted()?;
        sweep_once()?;
        let cleanup = Cleanup(BedName::next());
        let name = &cleanup.0;
        name.claim()?;
        fs::create_dir(name.pins()).with_context(|| format!("cannot make {}", name.pins().display()))?;
        Ok(Self(cleanup))
    }

    /// The pin directory of one balancer.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.0.0.pins().join("xdp-lb")
    }
}
