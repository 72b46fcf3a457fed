//! Progress: a bar on a terminal, a line for each tenth elsewhere.

use std::{
    io::IsTerminal as _,
    sync::atomic::{AtomicUsize, Ordering},
};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

/// The progress of one load.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    done: AtomicUsize,
    total: usize,
}

impl Progress {
    /// Announces `what`, of `total` steps.
    pub(crate) fn new(what: &str, total: usize) -> Self {
        println!("{what}");
        // The bar is drawn on standard error.
        let bar = std::io::stderr().is_terminal().then(|| bar(total).ok()).flatten();
        Self { bar, done: AtomicUsize::new(0), total }
    }

    /// One more step is begun.
    pub(crate) fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if done > self.total {
            return;
        }
        match &self.bar {
            Some(bar) => bar.inc(1),
            None if done.is_multiple_of((self.total / 10).max(1)) => println!("  {done} of {}", self.total),
            None => {}
        }
    }

    /// Ends with a word on the outcome.
    pub(crate) fn finish(self, outcome: &str) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        println!("  {outcome}\n");
    }
}

fn bar(total: usize) -> Result<ProgressBar> {
    let style = ProgressStyle::with_template("  {bar:40} {pos}/{len} {elapsed}")?;
    Ok(ProgressBar::new(total as u64).with_style(style))
}
