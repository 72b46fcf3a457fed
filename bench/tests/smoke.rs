//! Every kind of row runs, and each of its packets ends in the counter that it should ([`lb_bench::measure::row`] looks). How
//! long it takes is nobody's business here.

use anyhow::Result;
use lb_bench::{
    measure::{Effort, row},
    scenario::{Scenario, Tracking, quick},
};

const EFFORT: Effort = Effort { rounds: 3, packets: 2_000 };

#[test]
fn every_packet_of_each_kind_of_row_is_counted() -> Result<()> {
    for scenario in quick() {
        row(&Scenario { flows: 1 << 10, ..scenario }, EFFORT)?;
    }
    Ok(())
}

#[test]
fn a_flood_of_connections_is_counted() -> Result<()> {
    for tracking in [Tracking::Stable, Tracking::All] {
        let scenario = quick()[0];
        row(&Scenario { syn: true, tracking, flows: 1 << 24, ..scenario }, EFFORT)?;
    }
    Ok(())
}
