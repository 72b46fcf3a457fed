//! The traces of the model test on the real program, which must agree with the model at every packet, entry, mark and count.

use anyhow::{Context as _, Result};
use lb_common::service::{TCP, UDP};
use lb_tests::{
    fixture::balancer::HASH_KEY,
    model::track::{
        both::Both,
        run::{Outcome, run, sizes},
        trace::{Shape, generate},
    },
};
use lb_userspace::config::Algorithm;

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Hash,
    Algorithm::Maglev,
    Algorithm::RoundRobin { per_client: false },
    Algorithm::RoundRobin { per_client: true },
    Algorithm::LeastConnections,
];

fn agree(shapes: impl IntoIterator<Item = Shape>, seeds: std::ops::Range<u64>) -> Result<()> {
    let mut sum = Outcome::default();
    for shape in shapes {
        for seed in seeds.clone() {
            let trace = generate(&shape, seed);
            let outcome = run(&mut Both::new(sizes(&shape))?, &trace, HASH_KEY);
            let outcome = outcome.with_context(|| format!("seed {seed} of {shape:?}"))?;
            sum.packets += outcome.packets;
            sum.lookups += outcome.lookups;
            sum.moved += outcome.moved;
        }
    }
    assert!(sum.packets > 10_000 && sum.lookups > 1_000 && sum.moved > 100, "{sum:?}");
    Ok(())
}

#[test]
fn the_program_follows_flows_as_the_model_does() -> Result<()> {
    let small = |protocol| ALGORITHMS.map(|algorithm| Shape { protocol, ..Shape::small(algorithm) });
    agree(small(TCP).into_iter().chain(small(UDP)), 5000..5004)
}

#[test]
fn the_program_does_without_room_as_the_model_does() -> Result<()> {
    let full = |protocol| ALGORITHMS.map(|algorithm| Shape { room: 8, protocol, ..Shape::small(algorithm) });
    agree(full(TCP).into_iter().chain(full(UDP)), 6000..6004)
}

#[test]
fn the_program_changes_algorithms_as_the_model_does() -> Result<()> {
    let switching = |protocol| Shape { switches: true, protocol, ..Shape::small(Algorithm::Hash) };
    agree([switching(TCP), switching(UDP)], 7000..7008)
}
