//! Rounds of a row and the zero line in turn, and what they come to.

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;

use crate::{
    harness::{Harness, Target},
    scenario::{MOST_TRACKED, Scenario, Tracking, Way},
    site::{INGRESS, Site, routed},
};

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effort {
    /// Rounds of each row.
    pub rounds: u32,
    /// Packets of a round, of the row and of the zero line.
    pub packets: u32,
}

/// A row and what it came to, in nanoseconds a packet.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured.
    pub scenario: Scenario,
    /// The zero line: median of the rounds.
    pub zero: f64,
    /// Cost over the zero line of the same round: median.
    pub cost: f64,
    /// The fastest round of the row less the fastest of the zero line.
    pub least: f64,
    /// Between the lower and the upper quartile of the rounds' costs.
    pub spread: f64,
}

/// Keeps this thread, and those that it starts, on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

/// Measures a row. Every packet is looked for in the balancer's counters afterwards.
pub fn row(scenario: &Scenario, effort: Effort) -> Result<Row> {
    if scenario.way == Way::NatAnswer {
        return routed(|ingress| row_on(scenario, effort, ingress));
    }
    row_on(scenario, effort, INGRESS)
}

fn row_on(scenario: &Scenario, effort: Effort, ingress: u32) -> Result<Row> {
    let site = Site::load(scenario, ingress)?;
    let mut harness = Harness::load()?;
    harness.test(site.balancer.program(), site.stream.clone())?;
    let mut sent = u64::from(warm(&mut harness, scenario)?);
    let (mut zeros, mut tested) = (Vec::new(), Vec::new());
    for _ in 0..effort.rounds {
        zeros.push(harness.run(Target::Zero, effort.packets)?.nanoseconds);
        tested.push(harness.run(Target::Tested, effort.packets)?.nanoseconds);
        sent += u64::from(effort.packets);
    }
    let counters = site.balancer.counters()?;
    let counted = counters.verdicts.iter().find(|(verdict, _)| *verdict == site.verdict);
    let counted = counted.map_or(0, |(_, count)| count.packets);
    ensure!(
        counted == sent,
        "{}: {sent} packets were sent, {counted} counted as {:?}",
        scenario.name(),
        site.verdict
    );
    let costs = tested.iter().zip(&zeros).map(|(tested, zero)| tested - zero).collect::<Vec<_>>();
    Ok(Row {
        scenario: *scenario,
        zero: quantile(&zeros, 0.5),
        cost: quantile(&costs, 0.5),
        least: quantile(&tested, 0.0) - quantile(&zeros, 0.0),
        spread: quantile(&costs, 0.75) - quantile(&costs, 0.25),
    })
}

/// Fills caches, and the flow table with the flows that it will be asked for. Gives the number of packets.
fn warm(harness: &mut Harness, scenario: &Scenario) -> Result<u32> {
    const FEW: u32 = 1 << 14;
    let packets = match scenario.tracking {
        // A flood's connections are new.
        _ if scenario.syn && scenario.flows <= MOST_TRACKED => FEW,
        Tracking::Stable => FEW,
        // So many fill the table in any case.
        _ => scenario.flows.clamp(FEW, MOST_TRACKED),
    };
    harness.run(Target::Zero, FEW)?;
    harness.run(Target::Tested, packets)?;
    Ok(packets)
}

/// The quantile at `place`, 0 to 1, between the two values next to it.
#[must_use]
pub fn quantile(values: &[f64], place: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = place * f64::from(sorted.len().saturating_sub(1) as u32);
    let pick = |index: f64| sorted.get(index as usize).copied().unwrap_or(f64::NAN);
    let (low, high) = (pick(at.floor()), pick(at.ceil()));
    low + (high - low) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_lie_between_their_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        let found = [0.0, 0.5, 0.75, 1.0].map(|place| quantile(&values, place));
        let expected = [1.0, 2.5, 3.25, 4.0];
        assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-9));
    }
}
