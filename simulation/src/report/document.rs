//! The part of docs/latency-control.md that the simulation writes.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

use super::{tables, targets};
use crate::{balancer::Policy, capacity::Capacity, suite::Compared};

/// The line before the written part.
pub const BEGIN: &str = "<!-- cargo xtask simulate: begin -->";
/// The line after it.
pub const END: &str = "<!-- cargo xtask simulate: end -->";

/// All tables, with a line about each.
#[must_use]
pub fn text(all: &[Compared], parts: &[Compared], found: &[(Policy, Capacity)], seeds: u64) -> String {
    let mut text = String::new();
    let mut part = |heading: &str, table: &comfy_table::Table| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{heading}\n\n{table}\n");
    };
    part("**Targets.** Of times to shift, the worst seed counts.", &targets::table(&targets::all(all)));
    part(
        "**The standard pool**, d and 99th percentile in ms, before and during the step.",
        &tables::standard(all),
    );
    part(
        "**Other scenarios**, d in ms (and part of the requests that failed), before and after something happens.",
        &tables::others(all),
    );
    part("**Shares**: coefficient of variation, time to shift, and slots moved.", &tables::shares(all));
    part(
        "**What each part is worth**: d in ms with the law, and with the law but for it.",
        &tables::variants(parts),
    );
    part(
        "**Capacity** of the standard pool with a 99th percentile of at most 100 ms.",
        &tables::capacity(found),
    );
    if let Some(naive) = targets::negative_control(all) {
        let _ = writeln!(text, "Negative control: the naive policy at load 0.75 has d = {naive:.0} ms.");
    }
    if let Some(apart) = targets::apart(all) {
        let percent = apart * 100.0;
        let _ = writeln!(
            text,
            "Two balancers' weights of a backend were never further than {percent:.1} % from their mean."
        );
    }
    let _ = writeln!(text, "Seeds: 1 to {seeds}, pooled.");
    text
}

/// Puts a text between the marks of a document.
///
/// # Errors
/// A file that cannot be read or written, or that lacks a mark.
pub fn put(path: &Path, text: &str) -> Result<()> {
    let shown = path.display();
    let document = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let (before, rest) =
        document.split_once(BEGIN).with_context(|| format!("{shown} has no line \"{BEGIN}\""))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{shown} has no line \"{END}\""))?;
    let document = format!("{before}{BEGIN}\n\n{text}\n{END}{after}");
    fs::write(path, document).with_context(|| format!("cannot write {shown}"))
}
