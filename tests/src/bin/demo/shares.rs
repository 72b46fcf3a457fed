//! Who got how much, beside who should have.

use anyhow::{Result, ensure};
use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use lb_tests::load::Report;

use crate::{
    WEIGHTS, backend_name,
    stats::{Counts, Stats},
};

/// How far a share may be off, in percentage points: above four standard deviations of 3,000 hashed connections.
const TOLERANCE: f64 = 4.0;

const HEADER: [&str; 8] =
    ["backend", "weight", "expected", "share", "answered", "connections", "packets", "bytes"];

/// The outcome, backend by backend.
pub(crate) struct Shares(Vec<Row>);

struct Row {
    backend: String,
    weight: u32,
    /// In percent.
    expected: f64,
    /// In percent.
    seen: f64,
    answered: u64,
    counts: Result<Counts>,
}

impl Shares {
    /// Puts what the client saw and what the balancer counted side by side.
    pub(crate) fn new(report: &Report, stats: &Stats) -> Self {
        let weights: u32 = WEIGHTS.iter().sum();
        let row = |(number, weight): (usize, u32)| {
            let backend = backend_name(number);
            let answered = report.of(&backend);
            Row {
                weight,
                expected: percent(weight.into(), weights.into()),
                seen: percent(answered, report.answered()),
                answered,
                counts: stats.of(&backend),
                backend,
            }
        };
        Self((1..).zip(WEIGHTS).map(row).collect())
    }

    /// The table to show.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header(HEADER);
        for row in &self.0 {
            let counts = |number: fn(&Counts) -> u64| {
                row.counts.as_ref().map_or_else(|_| "?".to_owned(), |counts| number(counts).to_string())
            };
            table.add_row([
                row.backend.clone(),
                row.weight.to_string(),
                format!("{:.1} %", row.expected),
                format!("{:.1} %", row.seen),
                row.answered.to_string(),
                counts(|c| c.connections),
                counts(|c| c.packets),
                counts(|c| c.bytes),
            ]);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    /// Fails unless every connection was answered, shares are as the weights say, and the balancer counted them.
    pub(crate) fn check(self, report: &Report) -> Result<String> {
        report.require_all()?;
        let mut worst: f64 = 0.0;
        for row in self.0 {
            let counts = row.counts?;
            let off = (row.seen - row.expected).abs();
            worst = worst.max(off);
            ensure!(
                off <= TOLERANCE,
                "{} got {:.1} % of the connections, expected {:.1} % within {TOLERANCE} points",
                row.backend,
                row.seen,
                row.expected
            );
            // A SYN that was sent twice may count twice.
            ensure!(
                counts.connections.abs_diff(row.answered) <= row.answered / 100,
                "the balancer counted {} connections of {}, which answered {}",
                counts.connections,
                row.backend,
                row.answered
            );
            // SYN, ACK, request and FIN at the least.
            ensure!(
                counts.packets >= 4 * row.answered,
                "the balancer counted only {} packets in {} connections of {}",
                counts.packets,
                row.answered,
                row.backend
            );
        }
        Ok(format!(
            "All {} connections were answered; the shares are within {worst:.1} points of the weights.",
            report.answered()
        ))
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage to show, of counts far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}
