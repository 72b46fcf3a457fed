//! Queueing theory: what fixed shares can reach at best, and what the simulation must agree with.
//!
//! A backend with c workers and exponential work is the queue M/M/c; its mean latency is by Erlang's C formula.

use crate::scenario::{Machine, Scenario};

/// Halvings of an interval: more than an f64 has digits.
const HALVINGS: u32 = 80;

/// Mean latency, in seconds, of a backend at an arrival rate in requests a second; infinite when it is overloaded.
#[must_use]
pub fn latency(machine: &Machine, rate: f64) -> f64 {
    let workers = machine.workers as f64;
    let service = machine.capacity() / workers;
    let offered = rate / service;
    if offered >= workers {
        return f64::INFINITY;
    }
    // Erlang's B by its recursion, then C from it.
    let blocked = (1..=machine.workers).fold(1.0, |b, k| offered * b / offered.mul_add(b, k as f64));
    let waits = workers * blocked / offered.mul_add(blocked - 1.0, workers);
    waits / (machine.capacity() - rate) + 1.0 / service
}

/// Mean latency of a request, in milliseconds, with shares in proportion to capacity: the oracle's.
#[must_use]
pub fn proportional(scenario: &Scenario, load: f64) -> f64 {
    let parts = scenario.backends.iter().map(|machine| {
        let rate = load * machine.capacity();
        rate * latency(machine, rate)
    });
    parts.sum::<f64>() / (load * scenario.capacity()) * 1e3
}

/// The least mean latency of a request, in milliseconds, that any fixed shares give: those at which one more request
/// costs the same everywhere.
#[must_use]
pub fn best(scenario: &Scenario, load: f64) -> f64 {
    let wanted = load * scenario.capacity();
    let rates = |cost: f64| scenario.backends.iter().map(move |machine| (machine, rate_at(machine, cost)));
    let total = |cost: f64| rates(cost).map(|(_, rate)| rate).sum::<f64>();
    let cost = halve(0.0, 100.0, |cost| total(cost) < wanted);
    let sum: f64 = rates(cost).map(|(machine, rate)| rate * latency(machine, rate)).sum();
    sum / total(cost) * 1e3
}

/// The rate at which one more request a second costs this much latency in all.
fn rate_at(machine: &Machine, cost: f64) -> f64 {
    let full = machine.capacity() * 0.999_9;
    halve(0.0, full, |rate| marginal(machine, rate) < cost)
}

/// Derivative of rate × latency.
fn marginal(machine: &Machine, rate: f64) -> f64 {
    let step = machine.capacity() * 1e-6;
    let all = |rate: f64| rate * latency(machine, rate);
    (all(rate + step) - all(rate)) / step
}

/// Where `below` turns from true to false.
fn halve(low: f64, high: f64, below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (low, high);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if below(middle) { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenarios::standard;

    #[test]
    fn one_worker_is_the_queue_that_everyone_knows() {
        let machine = Machine { workers: 1, speed: 1.0 };
        // 1 / (mu - lambda) = 1 / (100 - 80).
        assert!((latency(&machine, 80.0) - 0.05).abs() < 1e-12);
        assert!(latency(&machine, 100.0).is_infinite());
    }

    #[test]
    fn four_workers_wait_as_erlangs_tables_say() {
        // C(4, 3.2) = 0.5964: 0.5964 / (400 - 320) + 0.01.
        let machine = Machine { workers: 4, speed: 1.0 };
        assert!((latency(&machine, 320.0) - 0.017_455).abs() < 1e-5);
    }

    #[test]
    fn the_best_shares_are_a_little_better_than_proportional_ones() {
        for (load, expected) in [(0.55, 12.24), (0.7, 14.90), (0.8, 19.19), (0.9, 32.66)] {
            let scenario = standard(load);
            let best = best(&scenario, load);
            assert!((best - expected).abs() < 0.01, "{load}: {best}");
            assert!(best < proportional(&scenario, load));
        }
    }
}
