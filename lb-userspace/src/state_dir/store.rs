//! The file of run-time changes: replaced whole, and on the disk before anybody is told of it.

use crate::{hex::sha256, state::Kept};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Name of the file in the state directory.
pub const FILE: &str = "changes.json";
/// The form of the file.
const VERSION: u32 = 1;

/// Where run-time changes are kept.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
}

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The changes.
    #[serde(flatten)]
    pub changes: Kept,
    /// The last entry of the audit log when they were written: number and hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audited: Option<(u64, String)>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No file: nothing was ever changed.
    Nothing,
    /// The changes.
    Contents(Contents),
    /// The file is not as it was written. It was moved aside.
    Damaged {
        /// To where.
        aside: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// The file: its contents and their hash, over the very bytes.
#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    sha256: String,
    contents: Box<RawValue>,
}

impl Store {
    /// The store of a state directory.
    #[must_use]
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// Reads the file; moves it aside when it is damaged.
    ///
    /// # Errors
    /// When it cannot be read or moved.
    pub fn read(&self) -> io::Result<Found> {
        match self.look()? {
            None => Ok(Found::Nothing),
            Some(Ok(contents)) => Ok(Found::Contents(contents)),
            Some(Err(why)) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let aside =
                    self.directory.join(format!("{FILE}.damaged-{}", now.map_or(0, |now| now.as_secs())));
                fs::rename(self.path(), &aside)?;
                self.sync_directory()?;
                Ok(Found::Damaged { aside, why })
            }
        }
    }

    /// Reads the file, and says what is wrong with it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(&self) -> io::Result<Option<Result<Contents, String>>> {
        match fs::read(self.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            bytes => Ok(Some(understood(&bytes?))),
        }
    }

    /// Replaces the file. When this returns it is on the disk; when it fails the old one is there.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, contents: &Contents) -> io::Result<()> {
        let contents = serde_json::value::to_raw_value(contents)?;
        let sha256 = sha256(contents.get().as_bytes());
        let bytes = serde_json::to_vec(&File { version: VERSION, sha256, contents })?;
        let new = self.directory.join(format!("{FILE}.new"));
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, self.path())?;
        self.sync_directory()
    }

    fn sync_directory(&self) -> io::Result<()> {
        fs::File::open(&self.directory)?.sync_all()
    }
}

fn understood(bytes: &[u8]) -> Result<Contents, String> {
    let file: File =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not whole JSON ({error})"))?;
    if file.version != VERSION {
        return Err(format!("it has form {}, and this xdp-lb knows {VERSION}", file.version));
    }
    if sha256(file.contents.get().as_bytes()) != file.sha256 {
        return Err("its hash is not that of its contents".to_owned());
    }
    serde_json::from_str(file.contents.get()).map_err(|error| format!("it is not understood ({error})"))
}

#[cfg(test)]
mod tests {
    use super::{Contents, Found, Store};
    use std::fs;

    fn contents(number: u64) -> Contents {
        Contents { audited: Some((number, format!("{number:x}"))), ..Contents::default() }
    }

    #[test]
    fn what_was_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        assert_eq!(store.read().unwrap(), Found::Nothing);
        for number in 0..3 {
            store.write(&contents(number)).unwrap();
            assert_eq!(store.read().unwrap(), Found::Contents(contents(number)));
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.write(&contents(7)).unwrap();
        let whole = fs::read(store.path()).unwrap();
        let cuts = (0..whole.len()).map(|length| whole[..length].to_vec());
        let flips = (0..whole.len() * 8).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        for bytes in cuts.chain(flips) {
            fs::write(store.path(), &bytes).unwrap();
            let found = store.read().unwrap();
            let Found::Damaged { aside, .. } = found else {
                panic!("{found:?} of {}", String::from_utf8_lossy(&bytes))
            };
            assert_eq!(fs::read(&aside).unwrap(), bytes, "kept aside as it was");
            fs::remove_file(aside).unwrap();
            assert_eq!(store.read().unwrap(), Found::Nothing);
        }
    }

    #[test]
    fn a_directory_that_takes_no_file_keeps_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        store.write(&contents(1)).unwrap();
        fs::create_dir(dir.path().join("changes.json.new")).unwrap();
        assert!(store.write(&contents(2)).is_err());
        assert_eq!(store.read().unwrap(), Found::Contents(contents(1)));
    }
}
