//! Services for which there is nothing to be done, so that a change of one of hundreds costs what that one costs.

use super::Plan;
use crate::state::DesiredService;
use std::collections::{BTreeSet, HashMap};

/// Services that are as desired: all that was planned for them was carried out, and nothing waits. Only what is desired of them
/// can change that: the sweep lets slots come to rest, and no plan follows from that where nothing waited.
#[derive(Clone, Debug, Default)]
pub struct Settled(HashMap<String, DesiredService>);

impl Settled {
    /// Whether the service is settled, and desired as it was then.
    fn has(&self, service: &DesiredService) -> bool {
        self.0.get(&service.name) == Some(service)
    }

    /// The names of those that are.
    #[must_use]
    pub fn names(&self, desired: &[DesiredService]) -> BTreeSet<String> {
        desired.iter().filter(|service| self.has(service)).map(|service| service.name.clone()).collect()
    }

    /// Takes in that a plan for these services was carried out whole.
    pub fn carried_out(&mut self, plan: &Plan, desired: Vec<DesiredService>) {
        let waits: BTreeSet<_> = plan
            .report
            .services
            .iter()
            .filter(|report| report.waiting > 0 || report.backends.iter().any(|backend| backend.leaving))
            .map(|report| report.service.as_str())
            .collect();
        let at_rest = desired.into_iter().filter(|service| {
            // What is to be dropped at once is desired otherwise from then on.
            !waits.contains(service.name.as_str()) && service.evict.is_empty()
        });
        self.0 = at_rest.map(|service| (service.name.clone(), service)).collect();
    }

    /// Nothing is known any more: a plan could not be carried out.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}
