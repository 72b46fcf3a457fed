//! Backends that are not desired any more: they keep their flows until those end, then their index is freed.

use super::{Phase, Planner, report::BackendReport};
use crate::{
    dataplane::{InstalledBackend, Operation},
    distinct::distinct,
    state::DesiredService,
};
use lb_common::slot::{BackendIndex, Slot};
use std::collections::BTreeSet;

impl Planner<'_> {
    /// Finds the backends of a service that leave, once those that stay are known: they take no new connections, and one
    /// that is to be dropped at once is marked as dead before any slot moves.
    pub(super) fn leave(&mut self, id: u32, desired: &DesiredService) {
        let installed = self.installed;
        let own = installed.backends.iter().filter(|have| have.service() == id);
        for have in own.filter(|have| !self.kept.contains(&have.index)).collect::<Vec<_>>() {
            let index = have.index;
            self.leaving.push(have);
            if have.weight != 0 {
                self.push(Phase::Backends, Operation::SetWeight { index, weight: 0 });
            }
            let dead = have.record.next_hop.is_down();
            if dead || desired.evict.contains(&have.name) {
                self.down.insert(index);
                if !dead {
                    self.push(Phase::Backends, Operation::SetDown { index, down: true });
                }
            }
        }
    }

    /// Whether no flow may be led to the backend once the plan is carried out.
    pub(super) fn is_down(&self, index: BackendIndex) -> bool {
        self.down.contains(&index) || !self.there.contains(&index)
    }

    /// Those of the leaving that nothing leads to any more, once every slot is planned.
    pub(super) fn free(&self) -> BTreeSet<BackendIndex> {
        let named_before = self.named_before();
        let gone = |have: &&&InstalledBackend| {
            let unnamed = !self.named.contains(&have.index);
            let empty = self.census.is_empty_of(have.index, have.record.generation);
            unnamed && (self.down.contains(&have.index) || empty && !named_before.contains(&have.index))
        };
        self.leaving.iter().filter(gone).map(|have| have.index).collect()
    }

    /// The backends that slots name before the plan.
    fn named_before(&self) -> BTreeSet<BackendIndex> {
        // Nobody asks where none leaves.
        let services = self.installed.services.iter().filter(|_| !self.leaving.is_empty());
        let slots = services.flat_map(|service| &service.slots);
        distinct(slots.flat_map(|slot| [slot.backend, slot.previous])).into_iter().collect()
    }

    /// How many slots name each backend of a service before and after.
    pub(super) fn backend_reports(&self, before: &[Slot], after: &[Slot]) -> Vec<BackendReport> {
        let (before, after) = (count(before), count(after));
        let mut reports: Vec<_> = self
            .own
            .iter()
            .map(|(index, name, leaving)| BackendReport {
                backend: name.clone(),
                index: *index,
                before: before.get(usize::from(*index)).copied().unwrap_or_default(),
                after: after.get(usize::from(*index)).copied().unwrap_or_default(),
                leaving: *leaving,
            })
            .collect();
        reports.sort_by(|a, b| (&a.backend, a.index).cmp(&(&b.backend, b.index)));
        reports
    }
}

/// Slots of each backend, by its index.
fn count(slots: &[Slot]) -> Vec<u32> {
    let most = slots.iter().map(|slot| slot.backend).max().unwrap_or_default();
    let mut counts = vec![0; usize::from(most) + 1];
    for slot in slots {
        counts[usize::from(slot.backend)] += 1;
    }
    counts
}
