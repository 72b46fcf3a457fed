//! `xdp-lb stats`: reads the pinned maps, with or without a daemon.

use super::output;
use crate::view::{self, Report, VerdictRow};
use std::path::Path;

/// Prints the counters.
pub fn run(pin_dir: &Path, service: Option<&str>, json: bool) -> anyhow::Result<()> {
    let report = view::read(pin_dir)?.of_service(service)?;
    if json { output::json(&report) } else { tables(&report, service.is_none()) }
}

fn tables(report: &Report, verdicts: bool) -> anyhow::Result<()> {
    let header = ["SERVICE", "ADDRESS", "PROTOCOL", "PACKETS", "BYTES", "DROPPED"];
    let rows = report.services.iter().map(|row| {
        let numbers = [row.packets, row.bytes, row.dropped].map(|number| number.to_string());
        [row.service.clone(), row.address.clone(), row.protocol.to_owned()]
            .into_iter()
            .chain(numbers)
            .collect()
    });
    output::table(&header, 3..6, rows)?;
    output::line("")?;
    let header = [
        "SERVICE",
        "BACKEND",
        "ADDRESS",
        "STATE",
        "WEIGHT",
        "SLOTS",
        "PACKETS",
        "BYTES",
        "CONNECTIONS",
        "RETURNED",
    ];
    let rows = report.backends.iter().map(|row| {
        let numbers = [
            row.weight.into(),
            row.slots.into(),
            row.packets,
            row.bytes,
            row.connections,
            row.return_packets,
        ];
        [row.service.clone(), row.backend.clone(), row.address.clone(), row.state.to_owned()]
            .into_iter()
            .chain(numbers.map(|number: u64| number.to_string()))
            .collect()
    });
    output::table(&header, 4..9, rows)?;
    if !verdicts {
        return Ok(());
    }
    output::line("")?;
    verdict_table(&report.verdicts)
}

/// The verdicts that any packet had.
pub(super) fn verdict_table(verdicts: &[VerdictRow]) -> anyhow::Result<()> {
    let rows = verdicts.iter().filter(|row| row.packets > 0).map(|row| {
        vec![
            row.action.to_owned(),
            row.reason.to_owned(),
            row.packets.to_string(),
            row.bytes.to_string(),
            row.meaning.to_owned(),
        ]
    });
    output::table(&["VERDICT", "REASON", "PACKETS", "BYTES", "MEANING"], 2..4, rows)
}
