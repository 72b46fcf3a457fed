//! What runs on the other kernel: the tests as static programs, and the system's commands with their libraries.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{process, workspace::Workspace};

/// The tests: those of `cargo xtask test` in these files of tests/tests, as far as their names begin like this.
const TESTS: [(&str, &[&str]); 3] =
    [("specialisations", &[]), ("fixtures", &[]), ("decap", &["formats::", "reasons::"])];
/// Named although it is this machine's own: only then do the flags leave build scripts and macros alone.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// What the tests start.
const COMMANDS: [&str; 4] = ["ip", "ethtool", "nsenter", "setpriv"];

/// A test program.
pub struct Test {
    /// Its file in tests/tests.
    pub name: &'static str,
    /// Which of its tests run: those with one of these in their names, or all.
    pub only: &'static [&'static str],
    /// The program.
    pub program: PathBuf,
}

/// Builds the tests so that they need no libraries.
pub fn tests(workspace: &Workspace) -> Result<Vec<Test>> {
    let mut cargo = workspace.cargo();
    cargo.args(["test", "--package", "lb-tests", "--no-run", "--target", TARGET]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    cargo.args(TESTS.iter().flat_map(|(test, _)| ["--test", test]));
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-C target-feature=+crt-static");
    let messages = process::output(&mut cargo)?;
    let program = |(name, only)| {
        let program = messages.lines().find_map(|message| executable(message, name));
        Ok(Test { name, only, program: program.with_context(|| format!("cargo built no test {name}"))? })
    };
    TESTS.into_iter().map(program).collect()
}

/// The program that a message of cargo's tells of, when it is the test of this name.
fn executable(message: &str, test: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    let target = &message["target"];
    let ours = target["name"] == test && target["kind"][0] == "test";
    ours.then(|| message["executable"].as_str().map(PathBuf::from))?
}

/// The files of the commands and of the libraries that they load.
pub fn commands(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for command in COMMANDS {
        let program = workspace.which(command).with_context(|| format!("{command} is missing"))?;
        files.extend(libraries(&program)?);
        files.push(program);
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let said = process::output(Command::new("ldd").arg(program).env("LC_ALL", "C"))?;
    if said.contains("not found") {
        bail!("{} lacks a library:\n{said}", program.display());
    }
    // `libc.so.6 => /lib/... (0x...)`, `/lib64/ld-linux... (0x...)`; the kernel's own has no file.
    let words = said.lines().filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    Ok(words.map(OsStr::new).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_known_by_its_name_and_kind() {
        let message = |kind| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"a"}},"executable":"/x/a-1"}}"#
            )
        };
        assert_eq!(executable(&message("test"), "a"), Some("/x/a-1".into()));
        assert_eq!(executable(&message("test"), "b"), None);
        assert_eq!(executable(&message("bin"), "a"), None);
        assert_eq!(executable("no message", "a"), None);
    }
}
