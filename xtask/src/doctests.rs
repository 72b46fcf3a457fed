//! Examples in documentation, which nextest does not run.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{process, progress::Progress, workspace::Workspace};

/// The libraries that may have examples; rustdoc tests libraries only.
const LIBRARIES: &[&str] = &["lb-common", "lb-ebpf", "lb-userspace", "simulation", "tests"];
/// What marks a fenced block as an example to compile: nothing at all, or one of these first.
const EXAMPLE_MARKS: &[&str] = &["rust", "no_run", "should_panic", "compile_fail", "edition"];

/// Runs them with `cargo test --doc`. While no library has one this is skipped, because rustdoc would build every
/// library only to find none.
pub fn run(workspace: &Workspace) -> Result<()> {
    if !any(workspace)? {
        return Ok(());
    }
    Progress::heading("examples in the documentation");
    process::run(workspace.cargo().args(["test", "--workspace", "--doc", "--quiet"]))
}

fn any(workspace: &Workspace) -> Result<bool> {
    for library in LIBRARIES {
        for file in rust_files(&workspace.root().join(library).join("src"))? {
            let source =
                fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
            if has_example(&source) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn rust_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(files)
}

/// Whether a fenced block in a documentation comment is Rust. Every second fence closes a block.
fn has_example(source: &str) -> bool {
    let comments = source.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
    });
    let fences = comments.filter_map(|line| line.trim_start().strip_prefix("```"));
    fences.step_by(2).any(|info| {
        let info = info.trim();
        info.is_empty() || EXAMPLE_MARKS.iter().any(|mark| info.starts_with(mark))
    })
}

#[cfg(test)]
mod tests {
    use super::has_example;

    #[test]
    fn a_bare_fence_is_an_example() {
        assert!(has_example("/// Adds.\n///\n/// ```\n/// assert!(true);\n/// ```\nfn f() {}\n"));
        assert!(has_example("//! ```no_run\n//! loop {}\n//! ```\n"));
    }

    #[test]
    fn other_languages_are_not() {
        assert!(!has_example("/// ```text\n/// a -> b\n/// ```\nfn f() {}\n"));
        assert!(!has_example("// ```\n// a plain comment\n// ```\n"));
    }

    #[test]
    fn a_closing_fence_opens_nothing() {
        assert!(has_example("/// ```toml\n/// a = 1\n/// ```\n/// ```\n/// f();\n/// ```\n"));
        assert!(!has_example("/// ```toml\n/// a = 1\n/// ```\n/// ```text\n/// f\n/// ```\n"));
    }
}
