//! The secret of the flow hash: where it comes from, and where it is kept.
//!
//! In this order: the configuration (so that several balancers agree), the pinned maps (so that no
//! connection breaks), the state directory (so that it survives a reboot), the kernel's random numbers.

use crate::config::{HashKey, rules};
use anyhow::Context as _;
use std::{
    fs,
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Name of the file in the state directory.
pub(crate) const FILE: &str = "hash_key";

/// Chooses the key; `configured` and `pinned` where there are such.
pub fn choose(
    configured: Option<HashKey>,
    pinned: Option<HashKey>,
    state_dir: &Path,
) -> anyhow::Result<HashKey> {
    if let (Some(configured), Some(pinned)) = (configured, pinned)
        && configured != pinned
    {
        tracing::warn!("hash_key differs from the running one: existing flows may reach another backend");
    }
    let key = match configured.or(pinned) {
        Some(key) => key,
        None => match kept(state_dir)? {
            Some(key) => return Ok(key),
            None => random()?,
        },
    };
    keep(state_dir, key)?;
    Ok(key)
}

/// The key that is kept, else a new one; keeps nothing. For a program that is loaded before its daemon.
pub fn kept_or_random(state_dir: &Path) -> anyhow::Result<HashKey> {
    kept(state_dir)?.map_or_else(random, Ok)
}

/// A new key from the kernel's random numbers.
fn random() -> anyhow::Result<HashKey> {
    let mut key = HashKey([0; 16]);
    fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut key.0))
        .context("cannot read /dev/urandom")?;
    Ok(key)
}

fn kept(state_dir: &Path) -> anyhow::Result<Option<HashKey>> {
    let path = state_dir.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let key = rules::hash_key(text.trim()).ok().with_context(|| {
                format!(
                    "{} does not hold 32 hex digits; restore it, or remove it for a new key",
                    path.display()
                )
            })?;
            Ok(Some(key))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes the key beside its place, then moves it there, so that a crash leaves the old file or the new one.
fn keep(state_dir: &Path, key: HashKey) -> anyhow::Result<()> {
    let path = state_dir.join(FILE);
    if kept(state_dir).ok().flatten() == Some(key) {
        return Ok(());
    }
    let text = format!("{:032x}", u128::from_be_bytes(key.0));
    let write = || {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
        let new = state_dir.join("hash_key.new");
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(state_dir)?.sync_all()
    };
    write()
        .with_context(|| format!("cannot keep the hash key in {}; make state_dir writable", path.display()))
}

#[cfg(test)]
mod tests {
    use super::{HashKey, choose};

    #[test]
    fn the_first_source_wins_and_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let made = choose(None, None, &state).unwrap();
        assert_eq!(choose(None, None, &state).unwrap(), made, "a made key is kept");
        assert_eq!(
            choose(None, Some(HashKey([2; 16])), &state).unwrap(),
            HashKey([2; 16]),
            "the running key wins over the kept one"
        );
        assert_eq!(choose(None, None, &state).unwrap(), HashKey([2; 16]));
        assert_eq!(
            choose(Some(HashKey([3; 16])), Some(HashKey([2; 16])), &state).unwrap(),
            HashKey([3; 16]),
            "the configured one wins"
        );
    }

    #[test]
    fn a_damaged_file_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hash_key"), "nonsense").unwrap();
        let error = choose(None, None, dir.path()).unwrap_err().to_string();
        assert!(error.contains("hash_key does not hold 32 hex digits"), "{error}");
    }
}
