//! Who had slots moved: counted by service and cause. Pure.

use crate::plan::Report;
use std::collections::BTreeMap;

/// Why slots move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// An operator's change, a deadline that an operator set, or the configuration at the start.
    Operator,
    /// Health checks, or slow start after them.
    Health,
    /// The latency controller.
    Latency,
    /// A way to a backend that was not known before, or changed.
    Network,
}

/// Slots that moved since the daemon began.
#[derive(Clone, Debug, Default)]
pub struct Moves {
    counts: BTreeMap<(String, Cause), u64>,
    /// Who had slots moved last that wait until they are stable, by service.
    waiting: BTreeMap<String, Cause>,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Operator, Self::Health, Self::Latency, Self::Network];

    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Health => "health",
            Self::Latency => "latency",
            Self::Network => "network",
        }
    }
}

impl Moves {
    /// Takes in what a plan did. `None`: it moved what waited.
    pub fn record(&mut self, report: &Report, cause: Option<Cause>) {
        for service in &report.services {
            let name = &service.service;
            let of = cause.or_else(|| self.waiting.get(name).copied()).unwrap_or(Cause::Operator);
            if service.moved > 0 {
                *self.counts.entry((name.clone(), of)).or_default() += u64::from(service.moved);
            }
            match (service.waiting, cause) {
                (0, _) => drop(self.waiting.remove(name)),
                (_, Some(cause)) if service.moved > 0 => drop(self.waiting.insert(name.clone(), cause)),
                _ => drop(self.waiting.entry(name.clone()).or_insert(of)),
            }
        }
        let there = |name: &String| report.services.iter().any(|service| service.service == *name);
        self.counts.retain(|(name, _), _| there(name));
        self.waiting.retain(|name, _| there(name));
    }

    /// Slots by service and cause; of each service all causes.
    #[must_use]
    pub fn counts(&self, service: &str) -> [(Cause, u64); 4] {
        Cause::ALL.map(|cause| (cause, self.counts.get(&(service.to_owned(), cause)).copied().unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, Moves};
    use crate::plan::{Report, ServiceReport};

    fn report(moved: u32, waiting: u32) -> Report {
        let service = ServiceReport { service: "web".to_owned(), moved, waiting, ..ServiceReport::default() };
        Report { services: vec![service] }
    }

    #[test]
    fn what_waited_counts_for_who_had_it_moved() {
        let mut moves = Moves::default();
        moves.record(&report(256, 0), Some(Cause::Operator));
        moves.record(&report(10, 5), Some(Cause::Health));
        // Somebody else's plan that moves nothing changes nothing about what waits.
        moves.record(&report(0, 5), Some(Cause::Network));
        moves.record(&report(5, 0), None);
        moves.record(&report(1, 0), None);
        let [operator, health, latency, network] = moves.counts("web").map(|(_, count)| count);
        assert_eq!((operator, health, latency, network), (257, 15, 0, 0));
        moves.record(&Report::default(), None);
        assert_eq!(moves.counts("web").map(|(_, count)| count), [0; 4]);
    }
}
