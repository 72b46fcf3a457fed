//! Tests of the controller, and what they share.

mod decisions;
mod health;
mod law;
mod missing;
mod parts;
mod properties;
mod steering;

use std::time::Duration;

use lb_common::slot::BackendIndex;

use super::{BackendWeight, Controller, Law, Member, Sample, Standing, Weights};

/// A moment, in seconds.
const fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// As many backends of weight 100, from index 1.
fn members(count: u16) -> Vec<Member> {
    (1..=count).map(|index| Member { index, name: format!("web-{index}"), weight: 100 }).collect()
}

fn controller(law: Law, count: u16) -> Controller {
    Controller::new(law, Duration::ZERO, members(count)).expect("the law is valid")
}

/// A service whose backends answer evenly, stepped once a second.
struct Bench {
    controller: Controller,
    now: Duration,
    /// Answers in a second, and the latency of each; by backend from index 1.
    answers: Vec<(u32, Duration)>,
}

impl Bench {
    fn new(law: Law, latencies: &[u64]) -> Self {
        Self {
            controller: controller(law, latencies.len() as u16),
            now: Duration::ZERO,
            answers: latencies.iter().map(|&latency| (20, ms(latency))).collect(),
        }
    }

    /// One second with its answers, and a step.
    fn second(&mut self) -> Weights {
        for (index, &(count, latency)) in (1..).zip(&self.answers) {
            for _ in 0..count {
                self.controller.observe(self.now, index, Sample::success(latency));
            }
        }
        self.now += at(1);
        self.controller.step(self.now)
    }

    fn seconds(&mut self, count: u32) -> Weights {
        for _ in 1..count {
            self.second();
        }
        self.second()
    }

    fn set(&mut self, index: BackendIndex, count: u32, latency: u64) {
        self.answers[usize::from(index) - 1] = (count, ms(latency));
    }
}

fn of(weights: &Weights, index: BackendIndex) -> BackendWeight {
    *weights.backends.iter().find(|backend| backend.index == index).expect("it is a member")
}

fn factors(weights: &Weights) -> Vec<f64> {
    weights.backends.iter().map(|backend| backend.factor).collect()
}

fn standings(weights: &Weights) -> Vec<Standing> {
    weights.backends.iter().map(|backend| backend.standing).collect()
}

fn close(a: f64, b: f64) -> bool {
    (a - b).abs() < 1e-9
}
