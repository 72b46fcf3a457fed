//! `xdp-lb backend list`: reads the pinned maps, with or without a daemon.

use super::output;
use crate::view;
use std::path::Path;

/// Lists backends.
pub fn list(pin_dir: &Path, service: Option<&str>, json: bool) -> anyhow::Result<()> {
    let report = view::read(pin_dir)?.of_service(service)?;
    if json {
        return output::json(&report.backends);
    }
    let header = ["SERVICE", "BACKEND", "ADDRESS", "STATE", "VIA", "MAC", "WEIGHT", "SLOTS", "SHARE"];
    let rows = report.backends.iter().map(|row| {
        let share = format!("{:.2} %", row.share * 100.0);
        vec![
            row.service.clone(),
            row.backend.clone(),
            row.address.clone(),
            row.state.to_owned(),
            row.interface.clone(),
            row.mac.clone(),
            row.weight.to_string(),
            row.slots.to_string(),
            share,
        ]
    });
    output::table(&header, 6..9, rows)
}
