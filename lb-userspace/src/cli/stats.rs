//! `xdp-lb stats`: reads the pinned maps, with or without a daemon; what the daemon alone knows is added when it answers.

use super::{client::Client, output, told};
use crate::{
    api::{Stats, Tracking},
    view::{self, Report, VerdictRow},
};
use std::path::Path;

/// Prints the counters.
pub fn run(pin_dir: &Path, client: Option<&Client>, service: Option<&str>, json: bool) -> anyhow::Result<()> {
    let mut report = view::read(pin_dir)?.of_service(service)?;
    let tracking = told::tell(&mut report, client).and_then(|told| told.tracking);
    if json {
        return output::json(&Stats { report, tracking, daemon: None });
    }
    tables(&report, service.is_none())?;
    output::line("")?;
    flow_table(&report, tracking.as_ref())
}

/// What is remembered of flows.
fn flow_table(report: &Report, tracking: Option<&Tracking>) -> anyhow::Result<()> {
    let header = [
        "SERVICE",
        "STABLE",
        "LEARNING",
        "HOLDING",
        "LOOKED UP",
        "KNOWN",
        "OPENED",
        "LEARNED",
        "REUSED",
        "ORPHANED",
        "NO ROOM",
    ];
    let rows = report.services.iter().map(|row| {
        let slots = [row.stable, row.learning, row.holding].map(u64::from);
        let flows = [row.lookups, row.hits, row.opened, row.learned, row.reused, row.orphaned, row.overflows];
        let numbers = slots.into_iter().chain(flows).map(|number| number.to_string());
        std::iter::once(row.service.clone()).chain(numbers).collect()
    });
    output::table(&header, 1..11, rows)?;
    let Some(Tracking { opening, open, closing, services, .. }) = tracking else {
        return output::line("No daemon answers, so nothing is known of the flows that are remembered");
    };
    let oldest = services.iter().map(|service| service.oldest_learn_seconds).max().unwrap_or_default();
    let again: u32 = services.iter().map(|service| service.not_advancing).sum();
    output::line(&format!(
        "Flows remembered: {opening} opening, {open} open, {closing} closing; the oldest slot has learned for {oldest} s, {again} slots \
         learn once more for want of room"
    ))
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
        "HEALTH",
        "WEIGHT",
        "IN FORCE",
        "SLOTS",
        "PACKETS",
        "BYTES",
        "CONNECTIONS",
        "RETURNED",
    ];
    let rows = report.backends.iter().map(|row| {
        let numbers = [row.slots.into(), row.packets, row.bytes, row.connections, row.return_packets];
        let health = told::health(row.health.as_ref());
        let weights = [row.weight.to_string(), told::weight(row.effective_weight)];
        [row.service.clone(), row.backend.clone(), row.address.clone(), row.state.to_string(), health]
            .into_iter()
            .chain(weights)
            .chain(numbers.map(|number: u64| number.to_string()))
            .collect()
    });
    output::table(&header, 5..12, rows)?;
    latency_tables(report)?;
    for row in report.services.iter().filter(|row| row.panic) {
        output::line(&format!(
            "service {} PANICS: too few backends are up, so health is ignored",
            row.service
        ))?;
    }
    if !verdicts {
        return Ok(());
    }
    output::line("")?;
    verdict_table(&report.verdicts)
}

/// Services whose weights follow latency, if there are any.
fn latency_tables(report: &Report) -> anyhow::Result<()> {
    let ms =
        |seconds: Option<f64>| seconds.map_or("-".to_owned(), |seconds| format!("{:.1} ms", seconds * 1e3));
    let own: Vec<_> = report.services.iter().filter_map(|row| Some((row, row.weights.as_ref()?))).collect();
    if own.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let header = ["SERVICE", "WEIGHTS", "D", "P99", "CAPACITY", "GAINED"];
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0}/s"));
    let rows = own.iter().map(|(row, weights)| {
        vec![
            row.service.clone(),
            weights.reason.clone(),
            ms(weights.mean_backend_latency_seconds),
            ms(weights.p99_seconds),
            number(weights.capacity),
            number(weights.capacity_gained),
        ]
    });
    output::table(&header, 2..6, rows)?;
    output::line("")?;
    let header = ["SERVICE", "BACKEND", "LATENCY", "P50", "P99", "SAMPLES", "FACTOR", "WHY"];
    let rows = report.backends.iter().filter_map(|row| {
        let latency = row.latency.as_ref()?;
        Some(vec![
            row.service.clone(),
            row.backend.clone(),
            ms(latency.smoothed_seconds),
            ms(latency.p50_seconds),
            ms(latency.p99_seconds),
            latency.samples.to_string(),
            format!("{:.3}", latency.factor),
            latency.reason.clone(),
        ])
    });
    output::table(&header, 2..7, rows)
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
