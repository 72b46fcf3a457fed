//! Tables, as a terminal and Markdown show them.

use comfy_table::{CellAlignment, Table, presets};

use crate::{
    compare::{Compared, rate::Rate},
    measure::Row,
    size::{Load, Memory},
};

/// What a packet costs.
#[must_use]
pub fn rows(rows: &[Row]) -> Table {
    let mut table = empty(&["packets", "slots", "flows", "ns over zero", "least", "spread", "zero line"], 2);
    for Row { scenario, zero, cost, least, spread } in rows {
        let number = |ns: &f64| format!("{ns:.1}");
        table.add_row(vec![
            scenario.name(),
            scenario.tracking.name().to_owned(),
            scenario.flows_name(),
            number(cost),
            number(least),
            number(spread),
            number(zero),
        ]);
    }
    table
}

/// How large each specialisation is.
#[must_use]
pub fn sizes(loads: &[Load]) -> Table {
    let mut table =
        empty(&["features", "instructions", "bytes of machine code", "verified instructions", "load, ms"], 1);
    for Load { size, verified, milliseconds } in loads {
        table.add_row(vec![
            size.features.clone(),
            size.translated.to_string(),
            size.jited.to_string(),
            verified.to_string(),
            format!("{milliseconds:.0}"),
        ]);
    }
    table
}

/// What the maps take.
#[must_use]
pub fn memory(maps: &[Memory]) -> Table {
    let mut table = empty(&["map", "usual, KiB", "largest, KiB"], 1);
    let kib = |bytes: u64| bytes.div_ceil(1024).to_string();
    for map in maps {
        table.add_row(vec![map.map.to_owned(), kib(map.usual), kib(map.largest)]);
    }
    let sum = |of: fn(&Memory) -> u64| kib(maps.iter().map(of).sum());
    table.add_row(vec!["all".to_owned(), sum(|map| map.usual), sum(|map| map.largest)]);
    table
}

/// The balancer beside others.
#[must_use]
pub fn compared(all: &[Compared]) -> Table {
    let heading = [
        "balancer",
        "requests/s",
        "p50, µs",
        "p99, µs",
        "p99.9, µs",
        "own CPU, s/M",
        "all CPU, s/M",
        "connections/s",
        "upload, Gbit/s",
    ];
    let mut table = empty(&heading, 1);
    for Compared { name, median, .. } in all {
        let own = if median.own.is_nan() { "-".to_owned() } else { format!("{:.2}", median.own) };
        table.add_row(vec![
            (*name).to_owned(),
            format!("{:.0}", median.requests),
            format!("{:.0}", median.latency.half),
            format!("{:.0}", median.latency.most),
            format!("{:.0}", median.latency.nearly_all),
            own,
            format!("{:.1}", median.all),
            format!("{:.0}", median.connections),
            format!("{:.2}", median.upload),
        ]);
    }
    table
}

/// Frames a second.
#[must_use]
pub fn rates(all: &[Rate]) -> Table {
    let mut table = empty(&["frames", "million/s", "most"], 1);
    for Rate { name, median, most } in all {
        table.add_row(vec![name.clone(), format!("{median:.2}"), format!("{most:.2}")]);
    }
    table
}

/// A table in Markdown whose columns from `numbers` on are numbers.
fn empty(heading: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(heading.to_vec());
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
