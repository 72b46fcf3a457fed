//! From what the maps hold and what they should hold to an ordered list of operations: a pure function.
//!
//! The order makes every step harmless when the next one never follows: first what no packet can see (new
//! backends, names), then slots, then the services that point at them; what is no longer used goes last.

mod allocate;
#[cfg(test)]
mod tests;

use crate::{
    dataplane::{Installed, InstalledBackend, InstalledService, Operation},
    state::{DesiredBackend, DesiredService},
    table::{Member, changes},
};
use allocate::{Allocator, PlanError};
use lb_common::{
    backend::{Backend, Forwarding},
    service::{Service, address_bytes},
    slot::{BackendIndex, NO_BACKEND, Slot},
};
use std::collections::BTreeSet;

pub use allocate::PlanError as Error;

/// The operations, in the order of their phases.
#[derive(Default)]
struct Phases {
    backends: Vec<Operation>,
    ways: Vec<Operation>,
    slots: Vec<Operation>,
    services: Vec<Operation>,
}

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
    let mut allocator = Allocator::new(installed);
    let mut phases = Phases::default();
    let mut kept = BTreeSet::new();
    for service in desired {
        let existing = installed.services.iter().find(|have| have.name == service.name);
        plan_service(installed, existing, service, now, &mut allocator, &mut kept, &mut phases)?;
    }
    let mut operations = phases.backends;
    operations.append(&mut phases.ways);
    operations.append(&mut phases.slots);
    operations.append(&mut phases.services);
    operations.extend(removals(installed, desired, &kept));
    Ok(operations)
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

fn plan_service(
    installed: &Installed,
    existing: Option<&InstalledService>,
    desired: &DesiredService,
    now: u32,
    allocator: &mut Allocator,
    kept: &mut BTreeSet<BackendIndex>,
    phases: &mut Phases,
) -> Result<(), PlanError> {
    let id = match existing {
        Some(have) => have.record.id,
        None => {
            let id = allocator.service()?;
            phases.backends.push(Operation::NameService { id, name: desired.name.clone() });
            id
        }
    };
    let mut members = Vec::with_capacity(desired.backends.len());
    for backend in &desired.backends {
        let have = if existing.is_some() { find(installed, id, desired.forwarding, backend) } else { None };
        let (index, usable) = match have {
            Some(have) => (keep_backend(have, backend, phases), have.record.next_hop.is_resolved()),
            None => (add_backend(id, desired.forwarding, backend, allocator, phases)?, false),
        };
        kept.insert(index);
        let weight = if usable || backend.way.is_some() { backend.weight } else { 0 };
        members.push(Member { name: &backend.name, index, weight });
    }
    let record = plan_slots(existing, desired, id, &members, now, allocator, phases)?;
    if existing.is_none_or(|have| have.key != desired.key || have.record != record) {
        phases.services.push(Operation::PutService { key: desired.key, record });
    }
    Ok(())
}

/// The index of the backend as it stands, if the same backend stands at all: an address never changes under an index.
fn find<'i>(
    installed: &'i Installed,
    service: u32,
    forwarding: Forwarding,
    desired: &DesiredBackend,
) -> Option<&'i InstalledBackend> {
    installed.backends.iter().find(|have| {
        have.record.service == service
            && have.name == desired.name
            && have.record.address == address_bytes(desired.address)
            && have.record.forwarding == forwarding as u8
    })
}

fn keep_backend(have: &InstalledBackend, desired: &DesiredBackend, phases: &mut Phases) -> BackendIndex {
    let index = have.index;
    if let Some(way) = desired.way {
        let stands = (have.record.next_hop, have.record.source, have.record.ifindex);
        if stands != (way.next_hop, way.source, way.ifindex) {
            let (next_hop, source, ifindex) = (way.next_hop, way.source, way.ifindex);
            phases.ways.push(Operation::SetNextHop { index, next_hop, source, ifindex });
        }
    }
    if have.weight != desired.weight {
        phases.backends.push(Operation::SetWeight { index, weight: desired.weight });
    }
    index
}

fn add_backend(
    service: u32,
    forwarding: Forwarding,
    desired: &DesiredBackend,
    allocator: &mut Allocator,
    phases: &mut Phases,
) -> Result<BackendIndex, PlanError> {
    let (index, generation) = allocator.backend()?;
    let mut record = Backend {
        generation,
        address: address_bytes(desired.address),
        service,
        forwarding: forwarding as u8,
        ..bytemuck::Zeroable::zeroed()
    };
    if let Some(way) = desired.way {
        record = Backend { next_hop: way.next_hop, source: way.source, ifindex: way.ifindex, ..record };
    }
    let (name, weight) = (desired.name.clone(), desired.weight);
    phases.backends.push(Operation::AddBackend(InstalledBackend { index, name, weight, record }));
    Ok(index)
}

/// Plans the slots; gives the service's record.
fn plan_slots(
    existing: Option<&InstalledService>,
    desired: &DesiredService,
    id: u32,
    members: &[Member<'_>],
    now: u32,
    allocator: &mut Allocator,
    phases: &mut Phases,
) -> Result<Service, PlanError> {
    let same_size = existing.filter(|have| have.slots.len() == desired.slots as usize);
    let first_slot = match same_size {
        Some(have) => have.record.first_slot,
        None => allocator.slots(desired.slots)?,
    };
    // A table of another size starts as the old one repeated or cut: slot = hash & mask, so every flow that can
    // keep its backend does.
    let old = existing.map_or(&[][..], |have| &have.slots);
    let mut table: Vec<_> = (0..desired.slots as usize)
        .map(|slot| if old.is_empty() { NO_BACKEND } else { old[slot % old.len()].backend })
        .collect();
    let moves = changes(members, &table);
    for change in &moves {
        table[change.slot as usize] = change.to;
    }
    let write = |slot: u32, to| (first_slot + slot, Slot::stable(to, now));
    let slots: Vec<_> = if same_size.is_some() {
        moves.iter().map(|change| write(change.slot, change.to)).collect()
    } else {
        (0..).zip(&table).map(|(slot, &to)| write(slot, to)).collect()
    };
    if !slots.is_empty() {
        phases.slots.push(Operation::SetSlots { service: desired.name.clone(), slots });
    }
    Ok(Service { id, first_slot, slot_mask: desired.slots - 1, reserved: 0 })
}

fn removals<'a>(
    installed: &'a Installed,
    desired: &'a [DesiredService],
    kept: &'a BTreeSet<BackendIndex>,
) -> impl Iterator<Item = Operation> + 'a {
    let keys: BTreeSet<_> = desired.iter().map(|service| service.key).collect();
    let keys = installed.services.iter().map(|have| have.key).filter(move |key| !keys.contains(key));
    let names: BTreeSet<_> = desired.iter().map(|service| service.name.as_str()).collect();
    let services = installed.services.iter().filter(move |have| !names.contains(have.name.as_str()));
    let backends = installed.backends.iter().map(|have| have.index).filter(|index| !kept.contains(index));
    keys.map(|key| Operation::RemoveService { key })
        .chain(backends.map(|index| Operation::FreeBackend { index }))
        .chain(services.map(|have| Operation::FreeService { id: have.record.id }))
}
