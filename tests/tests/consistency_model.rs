//! No flow changes its backend unless it must: thousands of traces on a model of the packet side, with the real planner
//! and the real sweep. docs/connection-consistency.md says what may break, and why the rest cannot.

#[path = "consistency_model/churn.rs"]
mod churn;
#[path = "consistency_model/found.rs"]
mod found;

use anyhow::{Context as _, Result};
use churn::churn;
use lb_common::service::{TCP, UDP};
use lb_tests::model::track::{
    packets::Model,
    run::{Outcome, run, sizes},
    trace::{Shape, Trace, generate},
};
use lb_userspace::config::Algorithm;
use std::time::Duration;

const SECRET: [u8; 16] = *b"a key of 16 byte";

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::Hash,
    Algorithm::Maglev,
    Algorithm::RoundRobin { per_client: false },
    Algorithm::RoundRobin { per_client: true },
    Algorithm::LeastConnections,
];

fn on_the_model(trace: &Trace) -> Result<Outcome> {
    let shape = &trace.shape;
    let mut model = Model::new(sizes(shape), SECRET);
    run(&mut model, trace, SECRET)
}

/// Runs many traces of a shape; none may break a flow.
fn many(shape: &Shape, seeds: std::ops::Range<u64>) -> Result<()> {
    let mut sum = Outcome::default();
    for seed in seeds {
        let trace = generate(shape, seed);
        let outcome = on_the_model(&trace).with_context(|| format!("seed {seed} of {shape:?}"))?;
        sum.checked += outcome.checked;
        sum.moved += outcome.moved;
        sum.freed += outcome.freed;
    }
    assert!(sum.checked > 1000 && sum.moved > 100 && sum.freed > 0, "{sum:?}");
    Ok(())
}

#[test]
fn no_flow_breaks_under_any_algorithm() -> Result<()> {
    for algorithm in ALGORITHMS {
        many(&Shape::small(algorithm), 0..250)?;
    }
    Ok(())
}

#[test]
fn no_flow_of_udp_breaks() -> Result<()> {
    for algorithm in ALGORITHMS {
        many(&Shape { protocol: UDP, ..Shape::small(algorithm) }, 0..120)?;
    }
    Ok(())
}

#[test]
fn no_flow_breaks_when_the_table_is_full() -> Result<()> {
    for algorithm in ALGORITHMS {
        for protocol in [TCP, UDP] {
            many(&Shape { room: 8, protocol, ..Shape::small(algorithm) }, 1000..1060)?;
        }
    }
    Ok(())
}

#[test]
fn no_flow_breaks_when_the_algorithm_changes() -> Result<()> {
    for protocol in [TCP, UDP] {
        for room in [12, 4096] {
            let shape = Shape { switches: true, protocol, room, ..Shape::small(Algorithm::Hash) };
            many(&shape, 2000..2150)?;
        }
    }
    Ok(())
}

#[test]
fn no_flow_breaks_while_a_pass_takes_many_steps() -> Result<()> {
    for algorithm in ALGORITHMS {
        many(&Shape { swept: 3, flows: 80, ..Shape::small(algorithm) }, 3000..3040)?;
    }
    Ok(())
}

#[test]
fn no_flow_breaks_with_long_and_short_times() -> Result<()> {
    for seconds in [2, 90] {
        let learn = Duration::from_secs(seconds);
        let shape = Shape { learn, lasts: learn * 5, calm: learn / 3, ..Shape::small(Algorithm::Hash) };
        many(&shape, 4000..4060)?;
    }
    Ok(())
}

/// How seldom flows are looked up: slots of 16,384 change their backends at 2 % a minute, connections last a minute.
#[test]
fn four_packets_in_five_need_no_flow_table() -> Result<()> {
    let (flows, minutes) = (1_500, 40);
    let shape = Shape {
        learn: Duration::from_mins(6),
        flows,
        lasts: Duration::from_mins(minutes),
        ..Shape::small(Algorithm::Hash)
    };
    let outcome = on_the_model(&churn(&shape, 16_384))?;
    let looked_up = outcome.lookups * 100 / outcome.packets;
    let moved = outcome.moved * 1000 / 16_384 / minutes;
    assert!((19..=21).contains(&moved), "{moved} per mille of the slots moved each minute");
    assert!(looked_up < 20, "{looked_up} % of the packets looked a flow up: {outcome:?}");
    Ok(())
}
