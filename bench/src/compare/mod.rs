//! The balancer beside others on the same machine, in one run: connections and requests through namespaces, with every
//! contestant's bed there all the time and its turns in between those of the others; and frames a second without a network stack.

pub mod contestant;
pub mod load;
pub mod rate;

use anyhow::{Context as _, Result};
use serde::Serialize;

use self::{
    contestant::{Contestant, Kind},
    load::{Effort, Percentiles},
};
use crate::measure::quantile;

/// One turn of a contestant, or the medians of its turns.
#[derive(Clone, Debug, Serialize)]
pub struct Turn {
    /// Requests a second over connections that stay open.
    pub requests: f64,
    /// From a request to its answer.
    pub latency: Percentiles,
    /// CPU seconds of the balancer's own program or process for a million requests; not a number: it has none, the kernel does
    /// all.
    pub own: f64,
    /// CPU seconds of client, servers and balancer together for a million requests.
    pub all: f64,
    /// Connections a second, each with one request.
    pub connections: f64,
    /// From the client to a backend, in 10^9 bits a second.
    pub upload: f64,
}

/// What a contestant came to.
#[derive(Clone, Debug, Serialize)]
pub struct Compared {
    /// Its name.
    pub name: &'static str,
    /// Each number's median.
    pub median: Turn,
    /// Its turns.
    pub turns: Vec<Turn>,
}

/// Lets all contestants take turns. `told` hears whose turn it is.
pub fn run(rounds: u32, effort: Effort, told: impl Fn(&str)) -> Result<Vec<Compared>> {
    let mut contestants = Vec::new();
    for kind in Kind::ALL {
        told(&format!("preparing {}", kind.name()));
        contestants.push((Contestant::prepare(*kind).with_context(|| kind.name())?, Vec::new()));
    }
    for round in 0..rounds {
        for (contestant, turns) in &mut contestants {
            told(&format!("round {} of {rounds}: {}", round + 1, contestant.name()));
            turns.push(contestant.turn(effort).with_context(|| contestant.name())?);
        }
    }
    let compared = contestants.into_iter().map(|(contestant, turns)| Compared {
        name: contestant.name(),
        median: median(&turns),
        turns,
    });
    Ok(compared.collect())
}

fn median(turns: &[Turn]) -> Turn {
    let of = |number: fn(&Turn) -> f64| quantile(&turns.iter().map(number).collect::<Vec<_>>(), 0.5);
    Turn {
        requests: of(|turn| turn.requests),
        latency: Percentiles {
            half: of(|turn| turn.latency.half),
            most: of(|turn| turn.latency.most),
            nearly_all: of(|turn| turn.latency.nearly_all),
        },
        own: of(|turn| turn.own),
        all: of(|turn| turn.all),
        connections: of(|turn| turn.connections),
        upload: of(|turn| turn.upload),
    }
}
