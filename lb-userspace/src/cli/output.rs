//! Tables for people, JSON for programs.

use comfy_table::{CellAlignment, Table, TableStyle};
use serde::Serialize;
use std::{
    io::{self, Write as _},
    ops::Range,
};

/// Prints rows as a table under `header`; the columns `numbers` are aligned to the right.
pub fn table(
    header: &[&str],
    numbers: Range<usize>,
    rows: impl IntoIterator<Item = Vec<String>>,
) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(TableStyle::new()).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().take(numbers.end).skip(numbers.start) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    line(&table.trim_fmt())
}

/// So many of a thing, in words.
pub fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Prints a value as JSON on several lines.
pub fn json(value: &impl Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string_pretty(value)?)
}

/// Prints a line. A reader that went away, as `head` does, is no error.
pub fn line(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
