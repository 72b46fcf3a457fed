//! `xdp-lb backend list`: reads the pinned maps, with or without a daemon; one that answers tells which backends drain or leave.

use super::{Global, output};
use crate::view;
use serde::Deserialize;
use std::borrow::Cow;

/// What the daemon tells of all rows.
#[derive(Deserialize)]
struct Told {
    backends: Vec<ToldBackend>,
}

#[derive(Deserialize)]
struct ToldBackend {
    index: u16,
    state: String,
    effective_weight: u32,
}

/// Lists backends.
pub fn list(global: &Global, service: Option<&str>) -> anyhow::Result<()> {
    let mut report = view::read(global.pin_dir())?.of_service(service)?;
    let told = global.client().and_then(|client| client.get::<Told>("/v1/stats").ok());
    for told in told.into_iter().flat_map(|told| told.backends) {
        if let Some(row) = report.backends.iter_mut().find(|row| row.index == told.index) {
            (row.state, row.effective_weight) = (Cow::Owned(told.state), told.effective_weight);
        }
    }
    if global.json {
        return output::json(&report.backends);
    }
    let header = ["SERVICE", "BACKEND", "ADDRESS", "STATE", "VIA", "MAC", "WEIGHT", "SLOTS", "SHARE"];
    let rows = report.backends.iter().map(|row| {
        let share = format!("{:.2} %", row.share * 100.0);
        vec![
            row.service.clone(),
            row.backend.clone(),
            row.address.clone(),
            row.state.to_string(),
            row.interface.clone(),
            row.mac.clone(),
            row.weight.to_string(),
            row.slots.to_string(),
            share,
        ]
    });
    output::table(&header, 6..9, rows)
}
