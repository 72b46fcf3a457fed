//! Free places in the maps. Only what was free before the plan is given out, so that no packet under way
//! finds another's backend or slots.

use super::slots::is_per_client;
use crate::dataplane::{Installed, InstalledBackend};
use lb_common::{service::Service, slot::BackendIndex};
use std::collections::BTreeSet;

/// The maps have no room for what is desired.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pinned maps have room for {room} {what}, and the configuration needs more; `xdp-lb detach --all` and a new \
     start of the daemon make larger ones (packets reach the kernel in between)"
)]
pub struct PlanError {
    /// `services`, `backends` or `slots`.
    pub what: &'static str,
    /// Entries of that map.
    pub room: u32,
}

/// Gives out identifiers, indices and slot ranges.
pub struct Allocator {
    services: std::vec::IntoIter<u32>,
    backends: std::vec::IntoIter<(u32, BackendIndex)>,
    /// Free ranges of SLOTS as (first, length).
    ranges: Vec<(u32, u32)>,
    installed: crate::dataplane::Sizes,
}

impl Allocator {
    /// What is free beside `installed`.
    pub fn new(installed: &Installed) -> Self {
        let sizes = installed.sizes;
        let mut used: BTreeSet<u32> = installed.services.iter().map(|service| service.record.id).collect();
        // After a crash: backends of a service that packets do not find.
        used.extend(installed.backends.iter().map(InstalledBackend::service));
        let services: Vec<_> = (0..sizes.services).filter(|id| !used.contains(id)).collect();
        let used: BTreeSet<_> = installed.backends.iter().map(|backend| backend.index).collect();
        let generations = installed.generations.iter().zip(0..=BackendIndex::MAX).skip(1);
        let mut backends: Vec<_> =
            generations.filter(|(_, index)| !used.contains(index)).map(|(&g, index)| (g, index)).collect();
        // The index that was used least often: as long as possible before one names another backend.
        backends.sort_unstable();
        Self {
            services: services.into_iter(),
            backends: backends.into_iter(),
            ranges: free_ranges(installed),
            installed: sizes,
        }
    }

    /// A service's identifier.
    pub fn service(&mut self) -> Result<u32, PlanError> {
        self.services.next().ok_or(PlanError { what: "services", room: self.installed.services })
    }

    /// A backend's index and the generation to use it under.
    pub fn backend(&mut self) -> Result<(BackendIndex, u32), PlanError> {
        let (generation, index) = self
            .backends
            .next()
            .ok_or(PlanError { what: "backends", room: self.installed.backends.saturating_sub(1) })?;
        Ok((index, generation + 1))
    }

    /// The first of `count` slots in a row: first fit.
    pub fn slots(&mut self, count: u32) -> Result<u32, PlanError> {
        let range = self.ranges.iter_mut().find(|(_, length)| *length >= count);
        let (first, length) = range.ok_or(PlanError { what: "slots", room: self.installed.slots })?;
        let given = *first;
        *first += count;
        *length -= count;
        Ok(given)
    }
}

/// Places in SLOTS that a service has: its table, and as many again for the ring of clients.
const fn places(record: &Service) -> u32 {
    let slots = record.slot_mask + 1;
    if is_per_client(record) { 2 * slots } else { slots }
}

fn free_ranges(installed: &Installed) -> Vec<(u32, u32)> {
    let mut used: Vec<_> = installed
        .services
        .iter()
        .map(|service| (service.record.first_slot, places(&service.record)))
        .collect();
    used.sort_unstable();
    used.push((installed.sizes.slots, 0));
    let mut free = Vec::new();
    let mut next = 0;
    for (first, length) in used {
        if first > next {
            free.push((next, first - next));
        }
        next = next.max(first + length);
    }
    free
}
