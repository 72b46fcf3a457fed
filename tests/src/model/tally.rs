//! What the counters should say.

use std::collections::BTreeMap;

use lb_common::counters::{BackendStats, PacketCount, PassReason, ServiceStats, Verdict};
use lb_userspace::dataplane::{Installed, stats::Sum};

use super::Answer;
use crate::fixture::balancer::Counters;

/// Counters that the model keeps.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    verdicts: BTreeMap<u32, PacketCount>,
    services: BTreeMap<u32, ServiceStats>,
    backends: BTreeMap<u16, BackendStats>,
}

impl Tally {
    /// Counts a frame of `bytes` bytes.
    pub fn count(&mut self, answer: &Answer, bytes: usize) {
        let bytes = bytes as u64;
        let verdict = self.verdicts.entry(answer.verdict.counter()).or_default();
        verdict.packets += 1;
        verdict.bytes += bytes;
        if let Some(service) = answer.service {
            let stats = self.services.entry(service).or_default();
            stats.packets += 1;
            stats.bytes += bytes;
            // Answered or dropped: no backend got it.
            stats.dropped += u64::from(answer.backend.is_none());
        }
        if let Some(backend) = answer.backend {
            let stats = self.backends.entry(backend).or_default();
            stats.resets += u64::from(answer.resets);
            if matches!(answer.verdict, Verdict::Return | Verdict::Pass(PassReason::Returned)) {
                stats.return_packets += 1;
                stats.return_bytes += bytes;
            } else {
                stats.packets += 1;
                stats.bytes += bytes;
                stats.connections += u64::from(answer.opens);
            }
        }
    }

    /// Packets that ended in the verdict.
    #[must_use]
    pub fn packets(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict.counter()).map_or(0, |count| count.packets)
    }

    /// Answers of a backend that were sent on.
    #[must_use]
    pub fn returned(&self, backend: u16) -> u64 {
        self.backends.get(&backend).map_or(0, |stats| stats.return_packets)
    }

    /// Adds another's counts, of a balancer with the same maps.
    pub fn merge(&mut self, other: &Self) {
        fn add<K: Ord + Copy, S: Sum>(all: &mut BTreeMap<K, S>, more: &BTreeMap<K, S>) {
            for (key, stats) in more {
                all.entry(*key).or_default().add(stats);
            }
        }
        add(&mut self.verdicts, &other.verdicts);
        add(&mut self.services, &other.services);
        add(&mut self.backends, &other.backends);
    }

    /// Packets that a backend got.
    #[must_use]
    pub fn forwarded(&self, backend: u16) -> u64 {
        self.backends.get(&backend).map_or(0, |stats| stats.packets)
    }

    /// The counters of a balancer with these maps that counted from nothing, in the order and with the names of
    /// `shape`.
    #[must_use]
    pub fn counters(&self, installed: &Installed, shape: &Counters) -> Counters {
        let mut counters = shape.clone();
        for (verdict, count) in &mut counters.verdicts {
            *count = self.verdicts.get(&verdict.counter()).copied().unwrap_or_default();
        }
        counters.services.values_mut().for_each(|stats| *stats = ServiceStats::default());
        counters.backends.values_mut().for_each(|stats| *stats = BackendStats::default());
        for service in &installed.services {
            let stats = self.services.get(&service.record.id).copied().unwrap_or_default();
            counters.services.insert(service.name.clone(), stats);
            for backend in installed.backends.iter().filter(|backend| backend.service() == service.record.id)
            {
                let stats = self.backends.get(&backend.index).copied().unwrap_or_default();
                counters.backends.insert((service.name.clone(), backend.name.clone()), stats);
            }
        }
        counters
    }
}
