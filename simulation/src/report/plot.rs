//! A picture of a scenario: latency over time, and the share of the backend that something happens to.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{
    coord::{Shift, combinators::LogCoord, types::RangedCoordf64},
    prelude::*,
};

use crate::{
    record::Second,
    suite::{Compared, EQUAL, FIRST, LAW, NAIVE, ORACLE, Outcome},
};

/// Size in pixels.
const SIZE: (u32, u32) = (1_000, 760);
/// Seconds that one point of a line is the mean of.
const POINT: usize = 5;
/// Range of the latency's axis, in milliseconds.
const LATENCY: std::ops::Range<f64> = 8.0..3_000.0;

/// Writes `NAME.svg`: the first seed's run.
///
/// # Errors
/// What the drawing library or the file system says.
pub fn scenario(folder: &Path, compared: &Compared) -> Result<()> {
    let path = folder.join(format!("{}.svg", compared.scenario.name));
    draw(&path, compared).map_err(|error| anyhow!("cannot draw {}: {error}", path.display()))
}

/// Colours that can be told apart in print and by those who see no red.
fn colour(policy: &str) -> RGBColor {
    match policy {
        EQUAL => RGBColor(150, 150, 150),
        NAIVE => RGBColor(213, 94, 0),
        FIRST => RGBColor(230, 159, 0),
        LAW => RGBColor(0, 114, 178),
        _ => RGBColor(0, 0, 0),
    }
}

type Drawing<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type DrawingResult = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(path: &Path, compared: &Compared) -> DrawingResult {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let root = root.titled(&compared.scenario.title, ("sans-serif", 22))?;
    let (upper, lower) = root.split_vertically(390);
    let seconds = compared.outcomes.iter().map(|outcome| outcome.example.seconds.len()).max();
    let end = seconds.unwrap_or(1) as f64;
    latencies(&upper, compared, end)?;
    shares(&lower, compared, end)?;
    root.present()?;
    Ok(())
}

fn latencies(area: &Drawing, compared: &Compared, end: f64) -> DrawingResult {
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end, LATENCY.log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("seconds")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_desc("mean latency of a request, ms")
        .y_label_formatter(&|latency| format!("{latency:.0}"))
        .label_style(("sans-serif", 15))
        .draw()?;
    for outcome in drawn(compared) {
        let line = points(outcome, |seconds| {
            let (sum, number) =
                seconds.iter().fold((0.0, 0), |(sum, number), s| (sum + s.sum, number + s.number));
            (number > 0).then(|| (sum / number as f64).clamp(LATENCY.start, LATENCY.end))
        });
        series::<LogCoord<f64>>(&mut chart, outcome.name, line)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 15))
        .draw()?;
    Ok(())
}

fn shares(area: &Drawing, compared: &Compared, end: f64) -> DrawingResult {
    let count = compared.scenario.backends.len();
    let backend = compared.scenario.watched.unwrap_or(count - 1);
    let top = 200.0 / count as f64;
    let mut chart = ChartBuilder::on(area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(34)
        .y_label_area_size(70)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("seconds")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_desc(format!("share of backend {}, %", backend + 1))
        .y_label_formatter(&|share| format!("{share:.1}"))
        .label_style(("sans-serif", 15))
        .draw()?;
    for outcome in drawn(compared) {
        let line = points(outcome, |seconds| {
            let shares: Vec<f64> = seconds.iter().filter_map(|s| s.shares.get(backend).copied()).collect();
            let mean = shares.iter().sum::<f64>() / shares.len() as f64;
            (!shares.is_empty()).then(|| (mean * 100.0).min(top))
        });
        series::<RangedCoordf64>(&mut chart, outcome.name, line)?;
    }
    Ok(())
}

/// The outcomes, the oracle under the law and the law on top.
fn drawn(compared: &Compared) -> impl Iterator<Item = &Outcome> {
    [EQUAL, NAIVE, FIRST, ORACLE, LAW].into_iter().filter_map(|name| compared.outcome(name))
}

/// Means over a few seconds each.
fn points(outcome: &Outcome, value: impl Fn(&[Second]) -> Option<f64>) -> Vec<(f64, f64)> {
    let groups = outcome.example.seconds.chunks(POINT).enumerate();
    let points = groups.filter_map(|(group, seconds)| Some(((group * POINT) as f64, value(seconds)?)));
    points.collect()
}

fn series<Y>(
    chart: &mut ChartContext<SVGBackend, Cartesian2d<RangedCoordf64, Y>>,
    name: &str,
    line: Vec<(f64, f64)>,
) -> DrawingResult
where
    Y: Ranged<ValueType = f64>,
{
    let width = if name == LAW { 2 } else { 1 };
    let style = colour(name).stroke_width(width);
    chart
        .draw_series(LineSeries::new(line, style))?
        .label(name)
        .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], style.stroke_width(2)));
    Ok(())
}
