//! What is wrong with a configuration, where, and how to mend it.

use std::fmt;
use std::io::{self, ErrorKind};
use std::string::FromUtf8Error;

/// Why a configuration is refused. Shown as one line a problem.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read; the text says why and what to do.
    // The cause is part of the text and not a `source`: a chain of causes would repeat it.
    #[error("{0}")]
    Unreadable(String),
    /// The text was read and is not a valid configuration; at least one problem, in the order of the file.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// One thing that is wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// What is wrong and how to mend it.
    pub message: String,
    /// Name of the file.
    pub file: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

impl ConfigError {
    pub(super) fn unreadable(file: &str, cause: &io::Error) -> Self {
        let mend = match cause.kind() {
            ErrorKind::NotFound => "create it or name another with -c FILE",
            ErrorKind::PermissionDenied => "run as a user who may read it",
            ErrorKind::IsADirectory => "name a file in it",
            _ => "mend that or name another file with -c FILE",
        };
        Self::Unreadable(format!("{file}: cannot be read ({cause}); {mend}"))
    }

    pub(super) fn not_utf8(file: &str, error: &FromUtf8Error) -> Self {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(&error.as_bytes()[..valid]);
        let at = Source::new(file, &text).problem(valid, "not UTF-8; save the file as UTF-8".into());
        Self::Invalid(vec![at])
    }
}

/// The text of a configuration, which turns byte offsets into lines and columns.
pub(super) struct Source<'a> {
    file: &'a str,
    text: &'a str,
    /// Byte offset of each line's start.
    lines: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        let after_newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { file, text, lines: std::iter::once(0).chain(after_newlines).collect() }
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at)
    }

    pub(super) fn problem(&self, at: usize, message: String) -> Problem {
        let line = self.line(at);
        let before = self.text.get(self.lines[line - 1]..at).unwrap_or_default();
        Problem { line, column: before.chars().count() + 1, message, file: self.file.to_owned() }
    }
}
