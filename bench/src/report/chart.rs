//! A picture: what a packet costs against the number of flows.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::{
    measure::Row,
    scenario::{Tracking, Way},
};

/// Size in pixels.
const SIZE: (u32, u32) = (1_000, 560);
/// Lines: packets, slots, colour (those that can be told apart in print and by those who see no red).
const LINES: [(Way, Tracking, RGBColor); 7] = [
    (Way::NotOurs, Tracking::Stable, RGBColor(150, 150, 150)),
    (Way::L2Dsr, Tracking::Stable, RGBColor(0, 114, 178)),
    (Way::Ipip, Tracking::Stable, RGBColor(0, 158, 115)),
    (Way::Gue, Tracking::Stable, RGBColor(86, 180, 233)),
    (Way::Nat, Tracking::Stable, RGBColor(204, 121, 167)),
    (Way::L2Dsr, Tracking::Part, RGBColor(230, 159, 0)),
    (Way::L2Dsr, Tracking::All, RGBColor(213, 94, 0)),
];

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Writes the picture of the rows of IPv4.
pub fn draw(path: &Path, rows: &[Row]) -> Result<()> {
    drawn(path, rows).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

fn drawn(path: &Path, rows: &[Row]) -> Drawn {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled("What a packet costs over XDP_TX alone (IPv4, median)", ("sans-serif", 22))?;
    let lines = LINES.map(|(way, tracking, colour)| (way, tracking, colour, line(rows, way, tracking)));
    let most = lines.iter().flat_map(|line| &line.3).fold(50.0, |most: f64, (_, cost)| most.max(*cost));
    let mut chart = ChartBuilder::on(&root)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(36)
        .y_label_area_size(60)
        .build_cartesian_2d((0.8..2.5e7).log_scale(), 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("flows")
        .x_label_formatter(&|flows| format!("{flows:.0}"))
        .y_desc("ns")
        .y_label_formatter(&|ns| format!("{ns:.0}"))
        .label_style(("sans-serif", 15))
        .draw()?;
    for (way, tracking, colour, line) in lines.into_iter().filter(|line| !line.3.is_empty()) {
        let style = colour.stroke_width(2);
        let label = format!("{}, {}", way.name(), tracking.name());
        chart
            .draw_series(LineSeries::new(line.clone(), style))?
            .label(label)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style));
        chart.draw_series(line.into_iter().map(|at| Circle::new(at, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 15))
        .draw()?;
    root.present()?;
    Ok(())
}

fn line(rows: &[Row], way: Way, tracking: Tracking) -> Vec<(f64, f64)> {
    let of = |row: &&Row| {
        let scenario = row.scenario;
        (scenario.way, scenario.tracking) == (way, tracking)
            && !scenario.ipv6
            && !scenario.syn
            && scenario.features == 0
    };
    rows.iter().filter(of).map(|row| (f64::from(row.scenario.flows), row.cost.max(0.0))).collect()
}
