//! What a daemon tells of the rows that are read from the maps: state, health, weight in force. Without a daemon the rows stay as they are.

use super::client::Client;
use crate::{
    api::Tracking,
    health::ledger::HealthRow,
    view::Report,
    weight::{LatencyRow, WeightsRow},
};
use serde::Deserialize;
use std::borrow::Cow;

/// What a daemon tells of all rows.
#[derive(Debug, Deserialize)]
pub(super) struct Told {
    services: Vec<ToldService>,
    backends: Vec<ToldBackend>,
    /// What is remembered of flows.
    pub tracking: Option<Tracking>,
}

#[derive(Debug, Deserialize)]
struct ToldService {
    service: String,
    panic: bool,
    weights: Option<WeightsRow>,
}

#[derive(Debug, Deserialize)]
struct ToldBackend {
    index: u16,
    state: String,
    effective_weight: f64,
    health: Option<HealthRow>,
    latency: Option<LatencyRow>,
}

/// Asks the daemon, and puts what it tells into the rows. `None`: it does not answer.
pub(super) fn tell(report: &mut Report, client: Option<&Client>) -> Option<Told> {
    let mut told = client?.get::<Told>("/v1/stats").ok()?;
    for told in told.services.drain(..) {
        if let Some(row) = report.services.iter_mut().find(|row| row.service == told.service) {
            row.panic = told.panic;
            row.weights = told.weights;
        }
    }
    for told in told.backends.drain(..) {
        if let Some(row) = report.backends.iter_mut().find(|row| row.index == told.index) {
            row.state = Cow::Owned(told.state);
            row.effective_weight = told.effective_weight;
            row.health = told.health;
            row.latency = told.latency;
        }
    }
    Some(told)
}

/// A weight in a table: without a point where it is whole.
pub(super) fn weight(weight: f64) -> String {
    if weight.fract() == 0.0 { format!("{weight:.0}") } else { format!("{weight:.1}") }
}

/// What the last check said, in a table.
pub(super) fn health(row: Option<&HealthRow>) -> String {
    let Some(row) = row else { return "-".to_owned() };
    match (&row.result, row.latency_seconds) {
        (Some(result), Some(latency)) => format!("{}, {result} {:.1} ms", row.state, latency * 1e3),
        _ => row.state.clone(),
    }
}
