//! Where things are.

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// The checkout that this program was built from.
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the checkout by the manifest of this package.
    pub fn find() -> Result<Self> {
        // cargo sets it for `cargo run`; the other is for a copy of the program that is started by hand.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask's manifest lies in no workspace")?;
        Ok(Self { root: root.to_owned() })
    }

    /// The top level.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The project's own tools. Always below the checkout, whatever `CARGO_TARGET_DIR` says: .cargo/config.toml
    /// names the linker by a path that no variable moves.
    pub fn tools(&self) -> PathBuf {
        self.root.join("target/tools")
    }

    /// Where `cargo install --root` puts programs.
    pub fn tools_bin(&self) -> PathBuf {
        self.tools().join("bin")
    }

    /// The project's linker for BPF objects.
    pub fn linker(&self) -> PathBuf {
        self.tools_bin().join("bpf-linker")
    }

    /// A cargo in this workspace, as the user's own would run.
    pub fn cargo(&self) -> Command {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.root).env("PATH", self.path());
        // `cargo run` exported .cargo/config.toml's [env] to us. Taken back, this cargo speaks again, and its
        // fingerprints are those of a cargo that the user starts: neither rebuilds what the other built.
        cargo.env_remove("CARGO_TERM_QUIET").env_remove("RUSTC_BOOTSTRAP");
        cargo
    }

    /// The search path with the project's tools first, and the system's administration commands last:
    /// an ordinary user's path often lacks them.
    pub fn path(&self) -> OsString {
        let given = env::var_os("PATH").unwrap_or_default();
        let mut path = self.tools_bin().into_os_string();
        path.push(":");
        path.push(given);
        path.push(":/usr/sbin:/sbin");
        path
    }

    /// The first program of this name on [`Self::path`].
    pub fn which(&self, program: &str) -> Option<PathBuf> {
        env::split_paths(&self.path()).map(|folder| folder.join(program)).find(|file| file.is_file())
    }
}

/// Fails unless we are root, saying what for.
pub fn require_root(what_for: &str) -> Result<()> {
    if is_root()? {
        return Ok(());
    }
    bail!("{what_for} needs root: run it again as root")
}

/// Whether we are root: the owner of our own entry in /proc is the effective user.
pub fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("cannot read /proc/self")?;
    Ok(own.uid() == 0)
}
