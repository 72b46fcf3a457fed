//! From what the maps hold and what they should hold to an ordered list of operations: a pure function.
//!
//! The order makes every step harmless when the next one never follows: first what no packet can see (new
//! backends, names) and which backends are dead, then slots, then the services that point at them; what is no longer used
//! goes last, and of that the way back of nat's answers.

mod allocate;
mod leaving;
mod life;
mod report;
mod returns;
mod settled;
mod slots;
#[cfg(test)]
mod tests;

use crate::{
    dataplane::{Installed, InstalledBackend, InstalledService, Operation, Way},
    state::{DesiredBackend, DesiredService, Standing},
    table::Member,
    tracking::Census,
};
use allocate::Allocator;
use lb_common::{
    backend::{Backend, Forwarding},
    service::address_bytes,
    slot::BackendIndex,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

pub use allocate::PlanError;
pub use report::{BackendReport, Report, ServiceReport};
pub use settled::Settled;

/// What is to be done, and what that means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The operations, in order.
    pub operations: Vec<Operation>,
    /// What they do.
    pub report: Report,
}

/// The operations that turn what is installed into what is desired, as far as slots may move now. `census`: what the
/// last whole pass of the sweep saw; backends that are not desired any more are freed by it. `now`: seconds of
/// `CLOCK_MONOTONIC`, recorded in the slots that move.
///
/// # Errors
/// When the maps are too small; nothing is planned then.
pub fn plan(
    installed: &Installed,
    desired: &[DesiredService],
    census: &Census,
    now: u32,
) -> Result<Plan, PlanError> {
    plan_beside(installed, desired, &BTreeSet::new(), census, now)
}

/// As [`plan`], with nothing to be done for services that are settled ([`Settled::names`]): their slots are neither looked at
/// nor needed in `installed`, and the report leaves them out.
///
/// # Errors
/// When the maps are too small; nothing is planned then.
pub fn plan_beside(
    installed: &Installed,
    desired: &[DesiredService],
    settled: &BTreeSet<String>,
    census: &Census,
    now: u32,
) -> Result<Plan, PlanError> {
    let mut planner = Planner::new(installed, census, now);
    planner.forget_leftovers(desired);
    let (rest, changed): (Vec<_>, Vec<_>) =
        desired.iter().partition(|service| settled.contains(&service.name));
    planner.keep(&rest);
    for service in changed {
        planner.service(service)?;
    }
    planner.vips(desired);
    planner.removals(desired);
    let operations = planner.phases.into_iter().flatten().collect();
    Ok(Plan { operations, report: planner.report })
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
    census: &'i Census,
    now: u32,
    allocator: Allocator,
    /// Backends by service, name and address, so that 4,096 of them are found without 4,096 searches each.
    backends: HashMap<Identity<'i>, &'i InstalledBackend>,
    kept: BTreeSet<BackendIndex>,
    /// Those of services that stay and are not desired themselves.
    leaving: Vec<&'i InstalledBackend>,
    /// Those that no flow may be led to.
    down: BTreeSet<BackendIndex>,
    /// Every one that has a record, once the plan is carried out as far as its slots.
    there: HashSet<BackendIndex>,
    /// Those that a slot names after the plan.
    named: HashSet<BackendIndex>,
    /// Index, name and whether it leaves, of the backends of the service that is being planned.
    own: Vec<(BackendIndex, String, bool)>,
    phases: [Vec<Operation>; 5],
    report: Report,
}

/// What makes a backend the same one: none of it ever changes under an index. Name, and the record with its way and
/// generation left out.
type Identity<'i> = (&'i str, [u8; 64]);

impl<'i> Planner<'i> {
    fn new(installed: &'i Installed, census: &'i Census, now: u32) -> Self {
        let identity = |have: &'i InstalledBackend| (have.name.as_str(), fixed(&have.record));
        Self {
            installed,
            census,
            now,
            allocator: Allocator::new(installed),
            backends: installed.backends.iter().map(|have| (identity(have), have)).collect(),
            kept: BTreeSet::new(),
            leaving: Vec::new(),
            down: BTreeSet::new(),
            there: installed.backends.iter().map(|have| have.index).collect(),
            named: HashSet::new(),
            own: Vec::new(),
            phases: Default::default(),
            report: Report::default(),
        }
    }

    fn push(&mut self, phase: Phase, operation: Operation) {
        self.phases[phase as usize].push(operation);
    }

    fn service(&mut self, desired: &DesiredService) -> Result<(), PlanError> {
        let existing = self.existing(desired);
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
        self.leave(id, desired);
        let leaving = self.leaving.iter().filter(|have| have.service() == id);
        self.own = leaving.map(|have| (have.index, have.name.clone(), true)).collect();
        self.own.extend(members.iter().map(|member| (member.index, member.name.to_owned(), false)));
        let record = self.slots(existing, desired, id, &members)?;
        if existing.is_none_or(|have| have.key != desired.key || have.record != record) {
            self.push(Phase::Services, Operation::PutService { key: desired.key, record });
        }
        for (backend, member) in desired.backends.iter().zip(&members) {
            self.answers(id, desired, backend, member.index);
        }
        Ok(())
    }

    /// Keeps the backends of settled services, all of which are desired.
    fn keep(&mut self, settled: &[&DesiredService]) {
        let names: HashSet<_> = settled.iter().map(|service| service.name.as_str()).collect();
        let services = self.installed.services.iter().filter(|have| names.contains(have.name.as_str()));
        let ids: HashSet<_> = services.map(|have| have.record.id).collect();
        let own = self.installed.backends.iter().filter(|have| ids.contains(&have.service()));
        self.kept.extend(own.map(|have| have.index));
    }

    /// The service as it is. After a crash between the two there may be one of its name at its new address and one at its
    /// old.
    fn existing(&self, desired: &DesiredService) -> Option<&'i InstalledService> {
        let mut named = self.installed.services.iter().filter(|have| have.name == desired.name);
        let first = named.next()?;
        Some(std::iter::once(first).chain(named).find(|have| have.key == desired.key).unwrap_or(first))
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
        self.there.insert(index);
        if desired.standing == Standing::Down {
            self.down.insert(index);
        }
        let reachable = desired.way.is_some() || have.is_some_and(|have| have.record.next_hop.is_resolved());
        let takes = reachable && desired.standing == Standing::Serving;
        Ok(Member { name: &desired.name, index, weight: if takes { desired.share } else { 0 } })
    }

    fn keep_backend(&mut self, have: &InstalledBackend, desired: &DesiredBackend) -> BackendIndex {
        let index = have.index;
        if let Some(way) = desired.way.filter(|way| *way != Way::of(&have.record)) {
            self.push(Phase::Ways, Operation::SetWay { index, way });
        }
        if have.weight != desired.weight {
            self.push(Phase::Backends, Operation::SetWeight { index, weight: desired.weight });
        }
        let down = desired.standing == Standing::Down;
        if have.record.next_hop.is_down() != down {
            self.push(Phase::Backends, Operation::SetDown { index, down });
        }
        index
    }

    fn add_backend(&mut self, record: Backend, desired: &DesiredBackend) -> Result<BackendIndex, PlanError> {
        let (index, generation) = self.allocator.backend()?;
        let next_hop = record.next_hop.with_down(desired.standing == Standing::Down);
        let record = Backend { generation, next_hop, ..record };
        let (name, weight) = (desired.name.clone(), desired.weight);
        self.push(Phase::Backends, Operation::AddBackend(InstalledBackend { index, name, weight, record }));
        Ok(index)
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
        let mut freed = self.free();
        // Those of a service that goes as a whole, or went before a crash, go with it.
        let leaving: BTreeSet<_> = self.leaving.iter().map(|have| have.index).collect();
        let stays = |index: &BackendIndex| self.kept.contains(index) || leaving.contains(index);
        freed.extend(installed.backends.iter().map(|have| have.index).filter(|index| !stays(index)));
        for &index in &freed {
            self.push(Phase::Removals, Operation::FreeBackend { index });
        }
        self.forget_answers(desired, &freed);
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
