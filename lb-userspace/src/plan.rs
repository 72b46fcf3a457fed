//! From what the maps hold and what they should hold to an ordered list of operations: a pure function.
//!
//! The order makes every step harmless when the next one never follows: first what no packet can see (new
//! backends, names), then slots, then the services that point at them; what is no longer used goes last, and of that the way back of nat's answers.

mod allocate;
mod returns;
#[cfg(test)]
mod tests;

use crate::{
    dataplane::{Installed, InstalledBackend, InstalledService, Operation, Way},
    state::{DesiredBackend, DesiredService},
    table::{Member, changes},
};
use allocate::Allocator;
use lb_common::{
    backend::{Backend, Forwarding},
    service::{Service, address_bytes},
    slot::{BackendIndex, NO_BACKEND, Slot},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

pub use allocate::PlanError;

/// The operations that turn what is installed into what is desired. `now`: seconds of the boot clock,
/// recorded in the slots that move.
///
/// # Errors
/// When the maps are too small; nothing is planned then.
pub fn plan(
    installed: &Installed,
    desired: &[DesiredService],
    now: u32,
) -> Result<Vec<Operation>, PlanError> {
    let mut planner = Planner::new(installed, now);
    planner.forget_leftovers(desired);
    for service in desired {
        planner.service(service)?;
    }
    planner.vips(desired);
    planner.removals(desired);
    Ok(planner.phases.into_iter().flatten().collect())
}

/// Number of slots that an operation list moves.
#[must_use]
pub fn slots_moved(operations: &[Operation]) -> usize {
    let moved = operations.iter().map(|operation| match operation {
        Operation::SetSlots { slots, .. } => slots.len(),
        _ => 0,
    });
    moved.sum()
}

/// Which list of [`Planner::phases`] an operation belongs to; they are carried out in this order.
#[derive(Clone, Copy)]
enum Phase {
    Backends,
    Ways,
    Slots,
    Services,
    Removals,
}

struct Planner<'i> {
    installed: &'i Installed,
    now: u32,
    allocator: Allocator,
    /// Backends by service, name and address, so that 4,096 of them are found without 4,096 searches each.
    backends: HashMap<Identity<'i>, &'i InstalledBackend>,
    kept: BTreeSet<BackendIndex>,
    phases: [Vec<Operation>; 5],
}

/// What makes a backend the same one: none of it ever changes under an index. Name, and the record with its way and
/// generation left out.
type Identity<'i> = (&'i str, [u8; 64]);

impl<'i> Planner<'i> {
    fn new(installed: &'i Installed, now: u32) -> Self {
        let identity = |have: &'i InstalledBackend| (have.name.as_str(), fixed(&have.record));
        Self {
            installed,
            now,
            allocator: Allocator::new(installed),
            backends: installed.backends.iter().map(|have| (identity(have), have)).collect(),
            kept: BTreeSet::new(),
            phases: Default::default(),
        }
    }

    fn push(&mut self, phase: Phase, operation: Operation) {
        self.phases[phase as usize].push(operation);
    }

    fn service(&mut self, desired: &DesiredService) -> Result<(), PlanError> {
        let existing = self.installed.services.iter().find(|have| have.name == desired.name);
        let id = if let Some(have) = existing {
            have.record.id
        } else {
            let id = self.allocator.service()?;
            self.push(Phase::Backends, Operation::NameService { id, name: desired.name.clone() });
            id
        };
        let mut members = Vec::with_capacity(desired.backends.len());
        for backend in &desired.backends {
            members.push(self.backend(id, desired.forwarding, backend)?);
        }
        let record = self.slots(existing, desired, id, &members)?;
        if existing.is_none_or(|have| have.key != desired.key || have.record != record) {
            self.push(Phase::Services, Operation::PutService { key: desired.key, record });
        }
        for (backend, member) in desired.backends.iter().zip(&members) {
            self.answers(id, desired, backend, member.index);
        }
        Ok(())
    }

    /// Keeps or adds a backend; gives its place in the table. One that no packet could reach has no weight there.
    fn backend<'d>(
        &mut self,
        service: u32,
        forwarding: Forwarding,
        desired: &'d DesiredBackend,
    ) -> Result<Member<'d>, PlanError> {
        let record = record(service, forwarding, desired);
        // Also one whose way is not known any more: its record then lacks the source of its tunnel.
        let have = self.backends.get(&(desired.name.as_str(), fixed(&record))).copied();
        let index = match have {
            Some(have) => self.keep_backend(have, desired),
            None => self.add_backend(record, desired)?,
        };
        self.kept.insert(index);
        let reachable = desired.way.is_some() || have.is_some_and(|have| have.record.next_hop.is_resolved());
        Ok(Member { name: &desired.name, index, weight: if reachable { desired.weight } else { 0 } })
    }

    fn keep_backend(&mut self, have: &InstalledBackend, desired: &DesiredBackend) -> BackendIndex {
        let index = have.index;
        if let Some(way) = desired.way.filter(|way| *way != Way::of(&have.record)) {
            self.push(Phase::Ways, Operation::SetWay { index, way });
        }
        if have.weight != desired.weight {
            self.push(Phase::Backends, Operation::SetWeight { index, weight: desired.weight });
        }
        index
    }

    fn add_backend(&mut self, record: Backend, desired: &DesiredBackend) -> Result<BackendIndex, PlanError> {
        let (index, generation) = self.allocator.backend()?;
        let record = Backend { generation, ..record };
        let (name, weight) = (desired.name.clone(), desired.weight);
        self.push(Phase::Backends, Operation::AddBackend(InstalledBackend { index, name, weight, record }));
        Ok(index)
    }

    /// Plans the slots; gives the service's record.
    fn slots(
        &mut self,
        existing: Option<&InstalledService>,
        desired: &DesiredService,
        id: u32,
        members: &[Member<'_>],
    ) -> Result<Service, PlanError> {
        let same_size = existing.filter(|have| have.slots.len() == desired.slots as usize);
        let first_slot = match same_size {
            Some(have) => have.record.first_slot,
            None => self.allocator.slots(desired.slots)?,
        };
        // A table of another size starts as the old one repeated or cut: slot = hash & mask, so every flow that
        // can keep its backend does.
        let old = existing.map_or(&[][..], |have| &have.slots);
        let mut table: Vec<_> = (0..desired.slots as usize)
            .map(|slot| if old.is_empty() { NO_BACKEND } else { old[slot % old.len()].backend })
            .collect();
        let moves = changes(members, &table);
        for change in &moves {
            table[change.slot as usize] = change.to;
        }
        let write = |slot: u32, to| (first_slot + slot, Slot::stable(to, self.now));
        let slots: Vec<_> = if same_size.is_some() {
            moves.iter().map(|change| write(change.slot, change.to)).collect()
        } else {
            (0..).zip(&table).map(|(slot, &to)| write(slot, to)).collect()
        };
        if !slots.is_empty() {
            self.push(Phase::Slots, Operation::SetSlots { service: desired.name.clone(), slots });
        }
        Ok(Service {
            id,
            first_slot,
            slot_mask: desired.slots - 1,
            mss: desired.mss,
            flags: desired.flags,
            ring: 0,
        })
    }

    fn vips(&mut self, desired: &[DesiredService]) {
        let mut wanted: BTreeMap<IpAddr, u32> = BTreeMap::new();
        for service in desired {
            *wanted.entry(service.key.ip()).or_default() += 1;
        }
        let have: BTreeMap<IpAddr, u32> = self.installed.vips.iter().copied().collect();
        for (&address, &services) in &wanted {
            if have.get(&address) != Some(&services) {
                self.push(Phase::Services, Operation::PutVip { address, services });
            }
        }
        for &address in have.keys().filter(|address| !wanted.contains_key(address)) {
            self.push(Phase::Removals, Operation::RemoveVip { address });
        }
    }

    fn removals(&mut self, desired: &[DesiredService]) {
        let keys: BTreeSet<_> = desired.iter().map(|service| service.key).collect();
        let names: BTreeSet<_> = desired.iter().map(|service| service.name.as_str()).collect();
        let installed = self.installed;
        for have in installed.services.iter().filter(|have| !keys.contains(&have.key)) {
            self.push(Phase::Removals, Operation::RemoveService { key: have.key });
        }
        for have in &installed.backends {
            if !self.kept.contains(&have.index) {
                self.push(Phase::Removals, Operation::FreeBackend { index: have.index });
            }
        }
        self.forget_answers(desired);
        for have in installed.services.iter().filter(|have| !names.contains(have.name.as_str())) {
            self.push(Phase::Removals, Operation::FreeService { id: have.record.id });
        }
    }
}

/// The record of a backend, without a generation.
fn record(service: u32, forwarding: Forwarding, desired: &DesiredBackend) -> Backend {
    let source = desired.tunnel_source;
    let record = Backend {
        address: address_bytes(desired.address),
        tunnel_source: source.map_or([0; 16], |prefix| address_bytes(prefix.address)),
        source_bits: source.map_or(0, |prefix| prefix.host_bits().min(32)),
        service: service as u16,
        port: desired.port.to_be_bytes(),
        forwarding: forwarding as u8,
        ..bytemuck::Zeroable::zeroed()
    };
    desired.way.map_or(record, |way| way.on(record))
}

/// The record with what may change left out.
fn fixed(record: &Backend) -> [u8; 64] {
    let nowhere = Way::of(&bytemuck::Zeroable::zeroed());
    let up = record.next_hop.with_down(false);
    bytemuck::cast(nowhere.on(Backend { generation: 0, next_hop: up, ..*record }))
}
