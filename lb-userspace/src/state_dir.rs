//! The state directory: one daemon at a time owns it.

pub mod store;

use anyhow::Context as _;
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

const LOCK: &str = "lock";

/// The lock on a state directory, held until this is dropped. A directory that was made for it goes again with it,
/// unless [`StateDir::keep`] says that the daemon runs: a refused start leaves nothing behind.
#[derive(Debug)]
pub struct StateDir {
    _lock: Flock<fs::File>,
    made: Option<PathBuf>,
}

impl StateDir {
    /// Makes the directory where it does not exist, and makes sure that no other daemon owns it.
    ///
    /// # Errors
    /// When the directory cannot be written, or another daemon holds it.
    pub fn lock(state_dir: &Path) -> anyhow::Result<Self> {
        let made = (!state_dir.exists()).then(|| state_dir.to_owned());
        let path = state_dir.join(LOCK);
        let open = || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
            fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path)
        };
        let file = open().with_context(|| format!("cannot write to state_dir {}", state_dir.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
            anyhow::anyhow!(
                "another xdp-lb daemon holds {}; stop it first, or give this one a state_dir and pin_dir of its own",
                path.display()
            )
        })?;
        Ok(Self { _lock: lock, made })
    }

    /// The directory stays from now on.
    pub fn keep(&mut self) {
        self.made = None;
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        if let Some(directory) = &self.made {
            // Only what this daemon put there; a directory with anything else in it stays.
            for file in [crate::hash_key::FILE, crate::audit::FILE, LOCK] {
                let _ = fs::remove_file(directory.join(file));
            }
            let _ = fs::remove_dir(directory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::StateDir;

    #[test]
    fn a_directory_that_was_made_goes_unless_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let locked = StateDir::lock(&state).unwrap();
        let error = StateDir::lock(&state).unwrap_err().to_string();
        assert!(error.contains("another xdp-lb daemon holds"), "{error}");
        assert!(state.join("lock").exists(), "the refused one takes nothing away");
        drop(locked);
        assert!(!state.exists());

        StateDir::lock(&state).unwrap().keep();
        assert!(state.exists());
        drop(StateDir::lock(&state).unwrap());
        assert!(state.exists(), "it was there before");
    }
}
