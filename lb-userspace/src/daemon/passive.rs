//! Latencies of nat's backends from their clients' requests, as the program counts them, on their way to the governors.

use super::balancer::Balancer;
use crate::{
    config::{HashOn, Service},
    dataplane::{Installed, LatencyTable as _},
    weight::{Passive, Waiting},
};
use lb_common::latency::Sampling;
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};
use tracing::warn;

/// What was told to the program, and what it counted so far.
#[derive(Default)]
pub(super) struct Samples {
    counted: Passive,
    /// By the service's name, as it was written for its identifier.
    sampling: BTreeMap<String, (u32, Sampling)>,
}

/// Which flows of a service are to be sampled.
fn sampling_of(service: Option<&Service>) -> Sampling {
    let one_of = service.and_then(|service| Some((service, service.weights.sampled()?)));
    one_of.map_or(Sampling::NONE, |(service, one_of)| {
        Sampling::one_of(one_of, service.hash_on == HashOn::Addresses)
    })
}

impl Balancer {
    /// Tells the program which flows to sample, where that has changed.
    pub(super) fn set_sampling(&mut self, installed: &Installed) -> anyhow::Result<()> {
        let services = self.state.services();
        let wanted = installed.services.iter().map(|there| {
            let sampling = sampling_of(services.iter().find(|have| have.name == there.name));
            (there.name.clone(), (there.record.id, sampling))
        });
        let wanted: BTreeMap<_, _> = wanted.collect();
        for (name, &(id, sampling)) in &wanted {
            if self.samples.sampling.get(name) != Some(&(id, sampling)) {
                self.loaded.kernel.set_sampling(id, sampling)?;
            }
        }
        self.samples.sampling = wanted;
        let there: HashSet<_> = installed.backends.iter().map(|backend| backend.index).collect();
        self.samples.counted.retain(|index| there.contains(&index));
        Ok(())
    }

    /// Gives the governors of these services what the program counted since the last time.
    pub(super) fn take_samples(&mut self, due: &[String], installed: &Installed, now: Duration) {
        let sampled = |name: &str| {
            let service = self.state.services().iter().find(|have| have.name == name);
            service.is_some_and(|service| service.weights.sampled().is_some())
        };
        let passive: Vec<_> = installed
            .services
            .iter()
            .filter(|there| due.contains(&there.name) && sampled(&there.name))
            .collect();
        if passive.is_empty() {
            return;
        }
        let waiting = self.waiting(now).unwrap_or_else(|error| {
            warn!("{error:#}; requests without an answer are not noticed until this works");
            Waiting::default()
        });
        for there in passive {
            for backend in installed.backends.iter().filter(|have| have.service() == there.record.id) {
                let counted = match self.loaded.kernel.latency(backend.index) {
                    Ok(counted) => counted,
                    Err(error) => return warn!("{error}; weights stay as they are until this works"),
                };
                let counted = self.samples.counted.read(backend.index, &counted);
                let ages = waiting.ages.get(&backend.index).cloned().unwrap_or_default();
                self.governors.seen(&there.name, backend.index, counted, ages, now);
            }
        }
    }

    /// What waits for an answer; forgets what will never get one.
    fn waiting(&mut self, now: Duration) -> anyhow::Result<Waiting> {
        let flows = self.loaded.kernel.sampled()?;
        let waiting = Waiting::of(&flows, now);
        self.loaded.kernel.forget_sampled(&waiting.given_up)?;
        Ok(waiting)
    }
}
