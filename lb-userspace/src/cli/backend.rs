//! `xdp-lb backend list`: reads the pinned maps, with or without a daemon; one that answers tells which backends drain or leave.

use super::{Global, output, told};
use crate::view;

/// Lists backends.
pub fn list(global: &Global, service: Option<&str>) -> anyhow::Result<()> {
    let mut report = view::read(global.pin_dir())?.of_service(service)?;
    told::tell(&mut report, global.client().as_ref());
    if global.json {
        return output::json(&report.backends);
    }
    let header = [
        "SERVICE", "BACKEND", "ADDRESS", "STATE", "HEALTH", "VIA", "MAC", "WEIGHT", "IN FORCE", "SLOTS",
        "SHARE",
    ];
    let rows = report.backends.iter().map(|row| {
        let share = format!("{:.2} %", row.share * 100.0);
        vec![
            row.service.clone(),
            row.backend.clone(),
            row.address.clone(),
            row.state.to_string(),
            told::health(row.health.as_ref()),
            row.interface.clone(),
            row.mac.clone(),
            row.weight.to_string(),
            told::weight(row.effective_weight),
            row.slots.to_string(),
            share,
        ]
    });
    output::table(&header, 7..11, rows)
}
