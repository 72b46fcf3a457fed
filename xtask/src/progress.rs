//! What the user sees of a command that takes its time.
#![expect(clippy::print_stderr, reason = "progress is for the terminal, the commands' own output is not")]

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// One step in progress: a spinner with the latest line on a terminal, plain lines elsewhere.
pub struct Progress {
    name: String,
    spinner: Option<ProgressBar>,
    started: Instant,
}

impl Progress {
    /// Shows that a step has begun that will do `what`.
    pub fn begin(name: &str, what: &str) -> Self {
        let spinner = io::stderr().is_terminal().then(|| spinner(name));
        let progress = Self { name: name.to_owned(), spinner, started: Instant::now() };
        match &progress.spinner {
            Some(spinner) => spinner.set_message(what.to_owned()),
            None => eprintln!("{name}: {what} ..."),
        }
        progress
    }

    /// Shows the latest of what the step does.
    pub fn line(&self, line: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.set_message(line.trim().to_owned());
        }
    }

    /// Leaves one line that says what came of it.
    pub fn end(self, outcome: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        eprintln!("{}: {outcome} (new, {} s)", self.name, self.started.elapsed().as_secs());
    }

    /// The same for a step that leaves nothing behind.
    pub fn done(self, outcome: &str) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
        eprintln!("{}: {outcome} ({} s)", self.name, self.started.elapsed().as_secs());
    }

    /// More about the line before.
    pub fn detail(what: &str) {
        eprintln!("  {what}");
    }

    /// A step that had nothing to do.
    pub fn present(name: &str, what: &str) {
        eprintln!("{name}: {what}");
    }

    /// A command of several parts begins another.
    pub fn heading(what: &str) {
        eprintln!("==> {what}");
    }

    /// Why the command ends here.
    pub fn failed(error: &anyhow::Error) {
        eprintln!("error: {error:#}");
    }
}

impl Drop for Progress {
    /// A step that fails leaves no spinner under the error.
    fn drop(&mut self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}

fn spinner(name: &str) -> ProgressBar {
    let spinner = ProgressBar::new_spinner().with_prefix(name.to_owned());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} [{elapsed}] {wide_msg}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(100));
    spinner
}
