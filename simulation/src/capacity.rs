//! Capacity gained: the throughput at which the target for the 99th percentile still holds, with and without the law.

use anyhow::Result;
use lb_userspace::weight::{CapacityGain, Law};
use rayon::prelude::*;

use crate::{
    balancer::Policy,
    engine,
    scenario::{Phase, Scenario},
    scenarios::{STEADY, standard},
    time::{SECOND, milliseconds},
};

/// What a policy carries.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Requests a second at which the target still holds.
    pub throughput: f64,
    /// The same as a part of what all backends can do.
    pub load: f64,
    /// What the law's own figures said at that load.
    pub told: Option<CapacityGain>,
}

/// Loads are found to this.
const PRECISION: f64 = 0.005;

/// Finds what each policy carries in the standard pool, without the step.
///
/// # Errors
/// Constants of a law that break its rules.
pub fn find(policies: &[Policy]) -> Result<Vec<Capacity>> {
    policies.par_iter().map(|&policy| search(policy)).collect()
}

fn search(policy: Policy) -> Result<Capacity> {
    let target = Law::default().p99_target.as_nanos() as u64;
    let (mut holds, mut fails) = (0.3, 1.0);
    let mut told = None;
    while fails - holds > PRECISION {
        let load = f64::midpoint(holds, fails);
        let record = engine::run(&steady(load), policy, 1)?;
        let p99 = record.phases.iter().map(crate::record::PhaseRecord::p99).fold(0.0, f64::max);
        if p99 <= milliseconds(target) {
            holds = load;
            told = record.figures.and_then(|figures| figures.capacity);
        } else {
            fails = load;
        }
    }
    Ok(Capacity { throughput: holds * standard(holds).capacity(), load: holds, told })
}

fn steady(load: f64) -> Scenario {
    Scenario {
        events: Vec::new(),
        end: 300 * SECOND,
        phases: vec![Phase { name: STEADY, from: 100 * SECOND, to: 300 * SECOND }],
        ..standard(load)
    }
}
