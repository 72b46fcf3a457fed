//! `xdp-lb check`: validates a configuration and prints what it would load. Needs no root and changes nothing.

use super::output;
use crate::{
    config,
    dataplane::{Dataplane as _, fake::Fake},
    neighbour::NextHop,
    plan,
    state::{Event, State, sizes_of},
    tracking::Census,
    view,
};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Serialize)]
struct Answer {
    interfaces: Vec<String>,
    pin_dir: PathBuf,
    services: Vec<view::ServiceRow>,
    backends: Vec<view::BackendRow>,
}

/// Prints what the configuration would load, from the same plan that the daemon would carry out.
pub fn run(file: &Path, pin_dir: Option<PathBuf>, json: bool) -> anyhow::Result<()> {
    let config = config::load(file)?;
    let (interfaces, sizes) =
        (config.daemon.interfaces.clone(), sizes_of(&config.services, config.daemon.tracking.flows));
    let pin_dir = pin_dir.unwrap_or_else(|| config.daemon.pin_dir.clone());
    let mut state = State::default();
    state.handle(Event::Configured(config));
    // As if every backend answered: what a configuration would load does not hang on the network of the moment.
    for address in state.addresses() {
        let mac = Some([0; 6]);
        let way = NextHop {
            address,
            port: 0,
            vlan: 0,
            local: Some(address),
            ifindex: 0,
            interface: String::new(),
            source: [0; 6],
            mac,
            gateway: None,
            mtu: 0,
        };
        state.handle(Event::NextHop(address, way));
    }
    let mut maps = Fake::new(sizes);
    for operation in plan::plan(&maps.installed()?, &state.desired(), &Census::default(), 0)?.operations {
        maps.apply(&operation)?;
    }
    let report = view::Report::without_counters(&maps.installed()?);
    let answer = Answer { interfaces, pin_dir, services: report.services, backends: report.backends };
    if json { output::json(&answer) } else { tables(file, &answer) }
}

fn tables(file: &Path, answer: &Answer) -> anyhow::Result<()> {
    let attach =
        if answer.interfaces.is_empty() { "no interface".to_owned() } else { answer.interfaces.join(", ") };
    output::line(&format!(
        "{}: {} with {}, for {attach}, pinned under {}\n",
        file.display(),
        output::count(answer.services.len(), "service"),
        output::count(answer.backends.len(), "backend"),
        answer.pin_dir.display()
    ))?;
    let header = ["SERVICE", "ADDRESS", "PROTOCOL", "FORWARDING", "SLOTS"];
    let rows = answer.services.iter().map(|row| {
        vec![
            row.service.clone(),
            row.address.clone(),
            row.protocol.to_owned(),
            row.forwarding.to_owned(),
            row.slots.to_string(),
        ]
    });
    output::table(&header, 4..5, rows)?;
    output::line("")?;
    let header = ["SERVICE", "BACKEND", "ADDRESS", "WEIGHT", "SLOTS", "SHARE"];
    let rows = answer.backends.iter().map(|row| {
        let share = format!("{:.2} %", row.share * 100.0);
        vec![
            row.service.clone(),
            row.backend.clone(),
            row.address.clone(),
            row.weight.to_string(),
            row.slots.to_string(),
            share,
        ]
    });
    output::table(&header, 3..6, rows)
}
