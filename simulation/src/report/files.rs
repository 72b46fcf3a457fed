//! CSV files: a line for each second and policy of a scenario, and a line for each phase of all.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::suite::Compared;

/// Writes `NAME.csv`: the first seed's run, second by second.
///
/// # Errors
/// What the file system says, with the file's name.
pub fn seconds(folder: &Path, compared: &Compared) -> Result<()> {
    let path = folder.join(format!("{}.csv", compared.scenario.name));
    let mut file =
        csv::Writer::from_path(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut header: Vec<String> =
        ["policy", "second", "requests", "mean_ms", "failed"].map(String::from).into();
    header.extend((1..=compared.scenario.backends.len()).map(|backend| format!("share_{backend:02}")));
    file.write_record(&header)?;
    for outcome in &compared.outcomes {
        for (second, seen) in outcome.example.seconds.iter().enumerate() {
            let mut row = vec![
                outcome.name.to_owned(),
                second.to_string(),
                seen.number.to_string(),
                seen.mean().map_or(String::new(), |mean| format!("{mean:.3}")),
                seen.errors.to_string(),
            ];
            row.extend(seen.shares.iter().map(|share| format!("{share:.6}")));
            file.write_record(&row)?;
        }
    }
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes `summary.csv`: every phase of every scenario with every policy, over all seeds.
///
/// # Errors
/// What the file system says, with the file's name.
pub fn summary(folder: &Path, all: &[Compared]) -> Result<()> {
    let path = folder.join("summary.csv");
    let mut file =
        csv::Writer::from_path(&path).with_context(|| format!("cannot write {}", path.display()))?;
    file.write_record([
        "scenario",
        "policy",
        "phase",
        "requests",
        "mean_ms",
        "mean_backend_ms",
        "p99_ms",
        "failed",
        "share_variation",
        "shifted_s",
        "moved_per_minute",
    ])?;
    for compared in all {
        for outcome in &compared.outcomes {
            for phase in &outcome.phases {
                file.write_record([
                    compared.scenario.name.clone(),
                    outcome.name.to_owned(),
                    phase.name.to_owned(),
                    phase.latencies.len().to_string(),
                    format!("{:.3}", phase.mean()),
                    format!("{:.3}", phase.backend_mean()),
                    format!("{:.3}", phase.p99()),
                    phase.errors.to_string(),
                    format!("{:.5}", outcome.share_variation),
                    outcome.shifted.map_or(String::new(), |seconds| seconds.to_string()),
                    format!("{:.5}", outcome.moved),
                ])?;
            }
        }
    }
    file.flush().with_context(|| format!("cannot write {}", path.display()))
}
