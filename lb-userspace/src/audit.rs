//! The audit log: who changed what, when, from what to what. One line of JSON an entry, each with the hash of the one before,
//! so that an entry that is changed, taken out or put in breaks the chain. `xdp-lb audit verify` follows it.

use crate::{hex::sha256, state_dir::store::Contents};
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::{
    fmt, fs,
    io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _},
    net::IpAddr,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Name of the log in the state directory.
pub const FILE: &str = "audit.jsonl";
/// What the first entry has in the place of the hash of the one before.
const BEGINNING: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Who {
    /// A process of this machine, as the kernel says (`SO_PEERCRED`, unix(7)).
    Process {
        /// The user.
        uid: u32,
        /// The process, 0 when it is in no namespace that the daemon sees.
        pid: i32,
    },
    /// Somebody over TLS.
    Certificate {
        /// Subject of the certificate that was shown (RFC 4514).
        certificate: String,
        /// Where the connection came from.
        address: IpAddr,
    },
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process { uid, pid } => write!(f, "uid {uid} (pid {pid})"),
            Self::Certificate { certificate, address } => write!(f, "{certificate} ({address})"),
        }
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// Who asked; the daemon itself for what a signal asks.
    pub who: Who,
    /// Like `backend set`.
    pub action: String,
    /// To what, like `web/b1`.
    pub target: String,
    /// What it was before; null: nothing.
    pub before: Value,
    /// What it is from then on; null: nothing.
    pub after: Value,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// From 1.
    pub number: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// What was done.
    #[serde(flatten)]
    pub deed: Deed,
    /// Hash of the entry before.
    pub previous: String,
}

/// A line: the entry, and the hash over its very bytes.
#[derive(Serialize, Deserialize)]
struct Line {
    entry: Box<RawValue>,
    sha256: String,
}

/// A log that is written.
#[derive(Debug)]
pub struct Log {
    file: fs::File,
    head: Head,
}

/// The last entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its number; 0: there is none.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

impl Head {
    fn none() -> Self {
        Self { number: 0, hash: BEGINNING.to_owned() }
    }
}

/// Why a log is not believed.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// A line.
    #[error("{file}:{line}: {what}; restore the log from a copy, or find out who changed it")]
    Line {
        /// The log.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// The log ends too early.
    #[error(
        "{file}: entry {number} is missing, or is another: {store} was written after it; restore the log from a copy"
    )]
    Short {
        /// The log.
        file: String,
        /// The entry that the store knows.
        number: u64,
        /// The store's file.
        store: String,
    },
    /// The log cannot be read.
    #[error("cannot read {file}: {source}")]
    Io {
        /// The log.
        file: String,
        /// Why.
        source: io::Error,
    },
}

impl Log {
    /// Opens the log of a state directory, and makes it. The rest of an entry that a crash cut is taken off: nobody was told of it.
    ///
    /// # Errors
    /// When it cannot be read or written, or its last entry is damaged.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        let path = directory.join(FILE);
        let open = || -> io::Result<(fs::File, Option<String>)> {
            let mut file =
                fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
            let last = last_line(&mut file)?;
            fs::File::open(directory)?.sync_all()?;
            Ok((file, last))
        };
        let shown = path.display();
        let (file, last) =
            open().map_err(|error| anyhow::anyhow!("cannot write the audit log {shown}: {error}"))?;
        let head = match last {
            None => Head::none(),
            Some(line) => {
                let (entry, hash) = read_line(&line).map_err(|what| {
                    anyhow::anyhow!(
                        "{shown}: the last line: {what}; move it aside, the daemon begins a new one"
                    )
                })?;
                Head { number: entry.number, hash }
            }
        };
        Ok(Self { file, head })
    }

    /// The last entry.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Adds an entry. When this returns it is on the disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&mut self, deed: Deed, now: SystemTime) -> io::Result<()> {
        let entry = Entry {
            number: self.head.number + 1,
            time: humantime::format_rfc3339_millis(now).to_string(),
            deed,
            previous: self.head.hash.clone(),
        };
        let number = entry.number;
        let entry = serde_json::value::to_raw_value(&entry)?;
        let hash = sha256(entry.get().as_bytes());
        let mut line = serde_json::to_vec(&Line { entry, sha256: hash.clone() })?;
        line.push(b'\n');
        let end = self.file.seek(SeekFrom::End(0))?;
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half an entry would be in the way of the next one.
            let _ = self.file.set_len(end);
        }
        written?;
        self.head = Head { number, hash };
        Ok(())
    }
}

/// Follows the chain from its beginning; gives its last entry. `kept`: what the store says of the log.
///
/// # Errors
/// At the first place where it breaks.
pub fn verify(directory: &Path, kept: Option<&Contents>) -> Result<Head, Broken> {
    let path = directory.join(FILE);
    let file = path.display().to_string();
    let io = |source| Broken::Io { file: file.clone(), source };
    let mut head = Head::none();
    let known = kept.and_then(|kept| kept.audited.clone());
    let mut met = known.is_none();
    for (line, text) in (1..).zip(BufReader::new(fs::File::open(&path).map_err(io)?).lines()) {
        let broken = |what| Broken::Line { file: file.clone(), line, what };
        let (entry, hash) = read_line(&text.map_err(io)?).map_err(broken)?;
        if entry.previous != head.hash || entry.number != head.number + 1 {
            return Err(broken("it does not follow the entry before it".to_owned()));
        }
        head = Head { number: entry.number, hash };
        met |= known.as_ref().is_some_and(|(number, hash)| (*number, hash) == (head.number, &head.hash));
    }
    match known {
        Some((number, _)) if !met => {
            let store: PathBuf = directory.join(crate::state_dir::store::FILE);
            Err(Broken::Short { file, number, store: store.display().to_string() })
        }
        _ => Ok(head),
    }
}

/// An entry whose hash is right, and its hash.
fn read_line(text: &str) -> Result<(Entry, String), String> {
    let line: Line = serde_json::from_str(text).map_err(|error| format!("it is no entry ({error})"))?;
    if sha256(line.entry.get().as_bytes()) != line.sha256 {
        return Err("its hash is not that of the entry".to_owned());
    }
    let entry =
        serde_json::from_str(line.entry.get()).map_err(|error| format!("it is no entry ({error})"))?;
    Ok((entry, line.sha256))
}

/// The last whole line; what follows it is taken off.
fn last_line(file: &mut fs::File) -> io::Result<Option<String>> {
    const CHUNK: u64 = 1 << 16;
    let length = file.seek(SeekFrom::End(0))?;
    let (mut from, mut tail) = (length, Vec::new());
    // As far back as two line ends reach, or to the beginning.
    while from > 0 && tail.split(|&byte| byte == b'\n').count() < 3 {
        from = from.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(from))?;
        tail = vec![0; (length - from) as usize];
        file.read_exact(&mut tail)?;
    }
    let Some(end) = tail.iter().rposition(|&byte| byte == b'\n') else {
        file.set_len(0)?;
        return Ok(None);
    };
    if end + 1 < tail.len() {
        file.set_len(from + end as u64 + 1)?;
        tracing::warn!("the audit log ended in half an entry, as after a crash; it is taken off");
    }
    let begin = tail[..end].iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    Ok(Some(String::from_utf8_lossy(&tail[begin..end]).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Deed, FILE, Log, Who, verify};
    use crate::state_dir::store::Contents;
    use serde_json::json;
    use std::{fs, path::Path, time::SystemTime};

    fn deed(number: u32) -> Deed {
        Deed {
            who: Who::Process { uid: 1000, pid: 42 },
            action: "backend set".to_owned(),
            target: "web/b1".to_owned(),
            before: json!({ "weight": number }),
            after: json!({ "weight": number + 1 }),
        }
    }

    fn written(directory: &Path, entries: u32) -> Vec<String> {
        let mut log = Log::open(directory).unwrap();
        for number in 0..entries {
            log.add(deed(number), SystemTime::UNIX_EPOCH).unwrap();
        }
        fs::read_to_string(directory.join(FILE)).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_log_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        written(dir.path(), 3);
        let lines = written(dir.path(), 2);
        assert_eq!(lines.len(), 5);
        let head = verify(dir.path(), None).unwrap();
        assert_eq!(head.number, 5);
        assert_eq!(head, *Log::open(dir.path()).unwrap().head());
        assert!(lines[0].contains("1970-01-01T00:00:00.000Z"), "{}", lines[0]);
    }

    #[test]
    fn what_is_changed_taken_out_or_swapped_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let lines = written(dir.path(), 4);
        let mut changed = lines.clone();
        changed[1] = changed[1].replace("1000", "1001");
        let mut without = lines.clone();
        without.remove(1);
        let mut swapped = lines.clone();
        swapped.swap(1, 2);
        let mut first_gone = lines.clone();
        first_gone.remove(0);
        for (broken, line) in [(changed, 2), (without, 2), (swapped, 2), (first_gone, 1)] {
            fs::write(dir.path().join(FILE), broken.join("\n") + "\n").unwrap();
            let error = verify(dir.path(), None).unwrap_err().to_string();
            assert!(error.contains(&format!("{FILE}:{line}: ")), "{error}");
        }
    }

    #[test]
    fn an_end_that_is_taken_off_is_found_by_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let lines = written(dir.path(), 4);
        let head = verify(dir.path(), None).unwrap();
        let kept = Contents { audited: Some((head.number, head.hash)), ..Contents::default() };
        verify(dir.path(), Some(&kept)).unwrap();
        fs::write(dir.path().join(FILE), lines[..3].join("\n") + "\n").unwrap();
        verify(dir.path(), None).unwrap();
        let error = verify(dir.path(), Some(&kept)).unwrap_err().to_string();
        assert!(error.contains("entry 4 is missing"), "{error}");
    }

    #[test]
    fn half_an_entry_is_taken_off() {
        let dir = tempfile::tempdir().unwrap();
        let lines = written(dir.path(), 2);
        for half in ["{", &lines[1][..40]] {
            fs::write(dir.path().join(FILE), format!("{}\n{half}", lines[0])).unwrap();
            assert_eq!(written(dir.path(), 1).len(), 2);
            assert_eq!(verify(dir.path(), None).unwrap().number, 2);
        }
        fs::write(dir.path().join(FILE), "{\"entry").unwrap();
        assert_eq!(written(dir.path(), 1).len(), 1);
    }
}
