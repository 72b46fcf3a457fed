//! The recorded sizes: a change that makes the program larger says so in the same commit.
//!
//! Two kinds of numbers. What the compiler makes of each function is the same on every kernel. What the verifier leaves
//! of a specialisation, and what becomes of it as machine code, is the kernel's own: it puts look-ups in place of calls, and
//! another release does so in other ways. These are compared only on the kernel's series that they were recorded on.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    machine::Machine,
    size::{self, Size},
};

/// A size may grow by one part in so many before it has to be recorded: 5 %.
const TOLERANCE: u32 = 20;

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Instructions of each function of the object, as the compiler made them.
    pub functions: BTreeMap<String, u32>,
    /// Major and minor number of the kernel that the rest is of.
    pub kernel: String,
    /// Each specialisation on that kernel.
    pub specialisations: Vec<Size>,
}

impl Record {
    /// The file in the repository.
    #[must_use]
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("sizes.json")
    }

    /// What the file says.
    pub fn read() -> Result<Self> {
        let path = Self::path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no record", path.display()))
    }

    /// Writes the file.
    pub fn write(&self) -> Result<()> {
        let path = Self::path();
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// The sizes of the program as it was built, on this kernel.
    pub fn measured() -> Result<Self> {
        let specialisations =
            size::specialisations().into_iter().map(|features| Ok(size::once(features)?.size));
        Ok(Self {
            functions: size::functions()?.into_iter().collect(),
            kernel: Machine::read().series(),
            specialisations: specialisations.collect::<Result<_>>()?,
        })
    }

    /// What `now` has that grew by more than 5 %, or that the record does not know.
    #[must_use]
    pub fn outgrown(&self, now: &Self) -> Vec<String> {
        let mut all: Vec<_> = now
            .functions
            .iter()
            .filter_map(|(name, size)| {
                complaint(
                    &format!("instructions of the function {name}"),
                    self.functions.get(name).copied(),
                    *size,
                )
            })
            .collect();
        if self.kernel != now.kernel {
            return all;
        }
        for size in &now.specialisations {
            let known = self.specialisations.iter().find(|known| known.features == size.features);
            let numbers = [
                ("instructions", known.map(|known| known.translated), size.translated),
                ("bytes of machine code", known.map(|known| known.jited), size.jited),
            ];
            all.extend(numbers.into_iter().filter_map(|(what, known, now)| {
                complaint(&format!("{what} with the features {}", size.features), known, now)
            }));
        }
        all
    }
}

fn complaint(what: &str, known: Option<u32>, now: u32) -> Option<String> {
    match known {
        None => Some(format!("{what}: {now}, not recorded")),
        Some(known) if now > known + known / TOLERANCE => {
            Some(format!("{what}: {known} recorded, {now} now"))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Record;
    use crate::size::Size;

    fn record(kernel: &str, function: u32, translated: u32) -> Record {
        let size = Size { features: "none".to_owned(), translated, jited: 100 };
        Record {
            functions: [("balancer".to_owned(), function)].into(),
            kernel: kernel.to_owned(),
            specialisations: vec![size],
        }
    }

    #[test]
    fn growth_beyond_the_tolerance_is_told() {
        let known = record("6.18", 1000, 500);
        assert!(known.outgrown(&record("6.18", 1050, 525)).is_empty());
        assert!(known.outgrown(&record("6.18", 10, 5)).is_empty());
        assert_eq!(known.outgrown(&record("6.18", 1051, 526)).len(), 2);
    }

    #[test]
    fn what_the_kernel_makes_is_compared_on_that_kernel_alone() {
        let known = record("6.18", 1000, 500);
        assert!(known.outgrown(&record("6.1", 1000, 900)).is_empty());
        assert_eq!(known.outgrown(&record("6.1", 2000, 900)).len(), 1);
    }

    #[test]
    fn what_is_new_has_to_be_recorded() {
        let mut now = record("6.18", 1000, 500);
        now.functions.insert("sample".to_owned(), 3);
        now.specialisations.push(Size { features: "sampling".to_owned(), translated: 3, jited: 3 });
        assert_eq!(record("6.18", 1000, 500).outgrown(&now).len(), 3);
    }
}
