//! Counterexamples that were found while the rules were made, each as the steps that broke a flow then.

use super::on_the_model;
use anyhow::Result;
use lb_common::service::UDP;
use lb_tests::model::track::{
    Signal,
    trace::{Shape, Step, Trace, Wish},
};
use lb_userspace::{config::Algorithm, state::Standing};
use std::time::Duration;

/// Steps that every flow of a shape takes together.
struct Story {
    shape: Shape,
    steps: Vec<Step>,
}

impl Story {
    fn of(shape: Shape) -> Self {
        Self { shape, steps: Vec::new() }
    }

    fn all(mut self, signal: Signal) -> Self {
        self.steps.extend((0..self.shape.flows).map(|flow| Step::Packet(flow, signal)));
        self
    }

    fn plan(mut self, wish: Wish) -> Self {
        self.steps.push(Step::Plan(wish));
        self
    }

    fn after(mut self, milliseconds: u64) -> Self {
        self.steps.push(Step::Advance(Duration::from_millis(milliseconds)));
        self
    }

    /// A whole pass: a step for each family.
    fn sweep(mut self) -> Self {
        self.steps.extend([Step::Sweep, Step::Sweep]);
        self
    }

    /// Time in which everything that can settle does, while the flows go on.
    fn settle(mut self) -> Self {
        for _ in 0..24 {
            self = self.after(1_000).all(Signal::Data).sweep();
        }
        self
    }

    fn holds(self) -> Result<()> {
        let flows = self.shape.flows as u64;
        let outcome = on_the_model(&Trace::of(self.shape, self.steps))?;
        assert!(outcome.checked >= flows, "{outcome:?}");
        Ok(())
    }
}

const ROUND_ROBIN: Algorithm = Algorithm::RoundRobin { per_client: false };

/// A slot's time and the clock were both rounded down, so that a slot could stop learning up to a second early.
#[test]
fn a_slot_learns_for_its_whole_time() -> Result<()> {
    Story::of(Shape::small(Algorithm::Hash))
        .after(800)
        .all(Signal::Opens)
        .after(100)
        .plan(Wish::Weight(0, 0))
        .after(7_200)
        .sweep()
        .after(200)
        .all(Signal::Data)
        .holds()
}

/// The time of an entry lags behind its flow's last packet, because it is not written for each.
#[test]
fn an_entry_outlives_the_longest_gap_whatever_was_written() -> Result<()> {
    Story::of(Shape::small(Algorithm::Hash))
        .plan(Wish::Weight(0, 0))
        .after(100)
        .all(Signal::Opens)
        .after(200)
        .all(Signal::Data)
        .after(7_850)
        .sweep()
        .after(50)
        .all(Signal::Data)
        .holds()
}

/// An opening that took longer than 10 s (its packets were lost) was forgotten, and the slot's previous backend reset it.
#[test]
fn a_slow_opening_is_remembered() -> Result<()> {
    Story::of(Shape { learn: Duration::from_secs(90), ..Shape::small(Algorithm::Hash) })
        .plan(Wish::Weight(0, 0))
        .after(100)
        .all(Signal::Opens)
        .after(12_000)
        .sweep()
        .after(10_000)
        .all(Signal::Data)
        .holds()
}

/// Slots of a service that remembers all flows are stable while any backend has flows of them.
#[test]
fn flows_outlive_the_end_of_round_robin() -> Result<()> {
    for algorithm in [Algorithm::Hash, Algorithm::Maglev] {
        Story::of(Shape::small(ROUND_ROBIN))
            .all(Signal::Opens)
            .after(100)
            .plan(Wish::Algorithm(algorithm))
            .after(100)
            .all(Signal::Data)
            .settle()
            .holds()?;
    }
    Ok(())
}

/// Flows of UDP in stable slots are in no table, and look like new ones to round-robin.
#[test]
fn flows_of_udp_outlive_the_beginning_of_round_robin() -> Result<()> {
    Story::of(Shape { protocol: UDP, ..Shape::small(Algorithm::Hash) })
        .all(Signal::Data)
        .after(100)
        .plan(Wish::Algorithm(ROUND_ROBIN))
        .after(100)
        .all(Signal::Data)
        .settle()
        .holds()
}

/// A larger table lies elsewhere in SLOTS, where no mark told of flows that had found no room.
#[test]
fn flows_without_room_outlive_a_larger_table() -> Result<()> {
    for algorithm in [Algorithm::Hash, ROUND_ROBIN] {
        Story::of(Shape { room: 4, ..Shape::small(algorithm) })
            .all(Signal::Opens)
            .plan(Wish::Weight(0, 0))
            .after(4_000)
            .all(Signal::Data)
            .plan(Wish::Grow)
            .after(5_000)
            .sweep()
            .all(Signal::Data)
            .settle()
            .holds()?;
    }
    Ok(())
}

/// Everything drains: new connections find nobody, and those that are there go on.
#[test]
fn flows_outlive_a_service_without_new_connections() -> Result<()> {
    for algorithm in [Algorithm::Hash, Algorithm::Maglev, ROUND_ROBIN, Algorithm::LeastConnections] {
        Story::of(Shape::small(algorithm))
            .all(Signal::Opens)
            .plan(Wish::Stand(0, Standing::Draining))
            .plan(Wish::Stand(1, Standing::Draining))
            .settle()
            .plan(Wish::Stand(0, Standing::Serving))
            .settle()
            .holds()?;
    }
    Ok(())
}
