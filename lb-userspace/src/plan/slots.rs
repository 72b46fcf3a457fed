//! A service's slots in a plan: which may move, where to, and what their words become.

use super::{Phase, PlanError, Planner, life::Life, report::ServiceReport};
use crate::{
    config::Algorithm,
    dataplane::{InstalledService, Operation},
    distinct::distinct,
    state::DesiredService,
    table::{Changes, Member, changes_among, fill, maglev, towards},
};
use lb_common::{
    service::{Service, service_flags},
    slot::{BackendIndex, NO_BACKEND, Slot},
};

impl Planner<'_> {
    /// Plans the slots; gives the service's record.
    pub(super) fn slots(
        &mut self,
        existing: Option<&InstalledService>,
        desired: &DesiredService,
        id: u32,
        members: &[Member<'_>],
    ) -> Result<Service, PlanError> {
        let had = existing.map_or(0, |have| have.slots.len() as u32);
        // A table never shrinks: flows of several old slots would share one slot's previous backend.
        let slots = desired.slots.max(had);
        let place = existing.filter(|have| {
            had == slots && (is_per_client(&have.record) || !desired.algorithm.is_per_client())
        });
        let first_slot = match place {
            Some(have) => have.record.first_slot,
            None => self.allocator.slots(desired.algorithm.places(slots))?,
        };
        let before = words(existing, slots);
        let moves_place = existing.is_some() && place.is_none();
        let (after, mut report) = self.table(existing, desired, members, &before, moves_place);
        report.note = (slots > desired.slots).then(|| {
            format!("keeps its {slots} slots: fewer would take the flows of slots that become one along")
        });
        let mut writes: Vec<_> = (0..).zip(before.iter().zip(&after)).collect();
        writes.retain(|(_, (before, after))| place.is_none() || before != after);
        let mut writes: Vec<_> =
            writes.into_iter().map(|(slot, (_, &after)): (u32, _)| (first_slot + slot, after)).collect();
        let ring = ring(desired.algorithm, members);
        if place.is_none_or(|have| have.ring != ring) {
            let places = (first_slot + slots..).zip(&ring);
            writes.extend(places.map(|(place, &backend)| (place, Slot::stable(backend, self.now))));
        }
        if !writes.is_empty() {
            self.push(Phase::Slots, Operation::SetSlots { service: desired.name.clone(), slots: writes });
        }
        self.named.extend(distinct(after.iter().flat_map(|slot| [slot.backend, slot.previous])));
        self.report.services.push(report);
        let (slot_mask, ring) = (slots - 1, ring.len() as u32);
        Ok(Service { id, first_slot, slot_mask, mss: desired.mss, flags: desired.flags, ring })
    }

    /// The words of the table after the plan.
    fn table(
        &self,
        existing: Option<&InstalledService>,
        desired: &DesiredService,
        members: &[Member<'_>],
        before: &[Slot],
        moves_place: bool,
    ) -> (Vec<Slot>, ServiceReport) {
        let algorithm = desired.algorithm;
        let life = Life { now: self.now, down: &|index| self.is_down(index) };
        let tracked = existing.map(|have| have.record.flags & service_flags::TRACKS_ALL != 0);
        let mut after: Vec<_> = before.iter().map(|&slot| life.healed(slot)).collect();
        if moves_place {
            for slot in &mut after {
                *slot = life.relocated(*slot, tracked == Some(true));
            }
        }
        match (tracked, algorithm.tracks_all()) {
            (Some(false), true) => after.iter_mut().for_each(|slot| *slot = life.tracked(*slot)),
            (Some(true), false) => after.iter_mut().for_each(|slot| *slot = life.untracked(*slot)),
            _ => {}
        }
        let mut takes = vec![false; self.installed.generations.len().max(1)];
        for member in members.iter().filter(|member| member.weight > 0) {
            takes[usize::from(member.index)] = true;
        }
        let forced = |slot: u32| {
            let backend = usize::from(after[slot as usize].backend);
            !takes.get(backend).copied().unwrap_or_default()
        };
        let may_move = |slot: u32| algorithm.tracks_all() || after[slot as usize].is_stable() || forced(slot);
        let current: Vec<_> = after.iter().map(|slot| slot.backend).collect();
        let Changes { moves, waiting } = match algorithm {
            Algorithm::Hash | Algorithm::LeastConnections => changes_among(members, &current, may_move),
            Algorithm::Maglev => towards(&maglev::table(members, current.len() as u32), &current, may_move),
            Algorithm::RoundRobin { .. } => towards(&fill(members, current.len() as u32), &current, may_move),
        };
        let is_forced = |slot: u32| current[slot as usize] != NO_BACKEND && forced(slot);
        let forced = moves.iter().filter(|change| is_forced(change.slot)).count() as u32;
        for change in &moves {
            let slot = &mut after[change.slot as usize];
            *slot = life.moved(*slot, change.to);
        }
        let report = ServiceReport {
            service: desired.name.clone(),
            slots: after.len() as u32,
            moved: moves.len() as u32,
            forced,
            waiting,
            stable: after.iter().filter(|slot| slot.is_stable()).count() as u32,
            note: None,
            backends: self.backend_reports(before, &after),
        };
        (after, report)
    }
}

/// The words that the table starts from. One that grew starts as the old one repeated: slot = hash & mask, so every flow
/// finds the word that it had.
fn words(existing: Option<&InstalledService>, slots: u32) -> Vec<Slot> {
    let old = existing.map_or(&[][..], |have| &have.slots);
    if old.is_empty() {
        return vec![Slot::EMPTY; slots as usize];
    }
    old.iter().copied().cycle().take(slots as usize).collect()
}

/// The backends that each client walks: every one that takes new connections once, by name.
fn ring(algorithm: Algorithm, members: &[Member<'_>]) -> Vec<BackendIndex> {
    if !algorithm.is_per_client() {
        return Vec::new();
    }
    members.iter().filter(|member| member.weight > 0).map(|member| member.index).collect()
}

pub(super) const fn is_per_client(record: &Service) -> bool {
    record.flags & service_flags::PER_CLIENT != 0
}
