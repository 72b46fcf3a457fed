//! The maps in memory, for tests: the same rules as the kernel's, and a failure to order.

mod flows;

use super::{Dataplane, Error, Installed, InstalledBackend, InstalledService, Operation, Sizes, ring_range};
use flows::Flows;
use lb_common::{
    backend::Backend,
    nat::{ReturnEnd, ReturnKey},
    service::{Service, ServiceKey},
    slot::{BackendIndex, Slot},
};
use std::{collections::BTreeMap, io, net::IpAddr};

/// Maps in memory.
#[derive(Clone, Debug)]
pub struct Fake {
    sizes: Sizes,
    services: BTreeMap<ServiceKey, Service>,
    names: BTreeMap<u32, String>,
    slots: Vec<Slot>,
    labels: BTreeMap<BackendIndex, (String, u32)>,
    records: Vec<Backend>,
    vips: BTreeMap<IpAddr, u32>,
    returns: BTreeMap<ReturnKey, ReturnEnd>,
    flows: Flows,
    /// Operations that succeed before every further one fails; `None`: all succeed.
    pub fail_after: Option<usize>,
}

impl Fake {
    /// Empty maps.
    #[must_use]
    pub fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            services: BTreeMap::new(),
            names: BTreeMap::new(),
            slots: vec![Slot::EMPTY; sizes.slots as usize],
            labels: BTreeMap::new(),
            records: vec![bytemuck::Zeroable::zeroed(); sizes.backends as usize],
            vips: BTreeMap::new(),
            returns: BTreeMap::new(),
            flows: Flows::new(sizes),
            fail_after: None,
        }
    }

    /// The record of a service, as packets find it.
    #[must_use]
    pub fn service(&self, key: &ServiceKey) -> Option<&Service> {
        self.services.get(key)
    }

    /// A slot, by its index in SLOTS.
    #[must_use]
    pub fn slot(&self, index: u32) -> Option<Slot> {
        self.slots.get(index as usize).copied()
    }

    /// A record of BACKENDS, in use or not.
    #[must_use]
    pub fn backend(&self, index: BackendIndex) -> Option<&Backend> {
        self.records.get(usize::from(index))
    }

    fn record(&mut self, index: BackendIndex) -> Result<&mut Backend, Error> {
        let named = self.labels.contains_key(&index);
        let record = self.records.get_mut(usize::from(index)).filter(|_| named);
        record.ok_or_else(|| refused("BACKENDS", "no such backend"))
    }

    fn add_backend(&mut self, backend: &InstalledBackend) -> Result<(), Error> {
        let InstalledBackend { index, name, weight, record } = backend;
        let place = self.records.get_mut(usize::from(*index));
        let place = place.ok_or_else(|| refused("BACKENDS", "an index past the end"))?;
        if self.labels.contains_key(index) || record.generation <= place.generation {
            return Err(refused("BACKENDS", "an index reused under a live generation"));
        }
        *place = *record;
        self.labels.insert(*index, (name.clone(), *weight));
        self.flows.begin_load(*index, *weight);
        Ok(())
    }

    fn set_down(&mut self, index: BackendIndex, down: bool) -> Result<(), Error> {
        let record = self.record(index)?;
        record.next_hop = record.next_hop.with_down(down);
        Ok(())
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::AddBackend(backend) => self.add_backend(backend)?,
            Operation::SetWay { index, way } => {
                let record = self.record(*index)?;
                *record = way.on(*record);
            }
            Operation::SetWeight { index, weight } => {
                self.record(*index)?;
                self.labels.entry(*index).and_modify(|label| label.1 = *weight);
                self.flows.set_load_weight(*index, *weight);
            }
            Operation::SetDown { index, down } => self.set_down(*index, *down)?,
            Operation::SetSlots { slots, .. } => {
                for (index, slot) in slots {
                    let place = self.slots.get_mut(*index as usize);
                    *place.ok_or_else(|| refused("SLOTS", "an index past the end"))? = *slot;
                }
            }
            Operation::NameService { id, name } => {
                self.names.insert(*id, name.clone());
            }
            Operation::PutService { key, record } => {
                self.services.insert(*key, *record);
            }
            Operation::RemoveService { key } => {
                self.services.remove(key).ok_or_else(|| refused("SERVICES", "no such service"))?;
            }
            Operation::PutVip { address, services } => {
                self.vips.insert(*address, *services);
            }
            Operation::RemoveVip { address } => {
                self.vips.remove(address).ok_or_else(|| refused("VIPS", "no such address"))?;
            }
            Operation::FreeService { id } => {
                self.names.remove(id);
            }
            Operation::FreeBackend { index } => {
                self.set_down(*index, true)?;
                self.labels.remove(index);
            }
            Operation::PutReturn { key, end } => {
                self.returns.insert(*key, *end);
            }
            Operation::RemoveReturn { key } => {
                self.returns.remove(key).ok_or_else(|| refused("NAT_RETURN", "no such entry"))?;
            }
        }
        Ok(())
    }

    fn installed_service(&self, key: ServiceKey, record: Service) -> Result<InstalledService, Error> {
        let range = record.first_slot as usize..=(record.first_slot + record.slot_mask) as usize;
        let slots = self.slots.get(range).ok_or_else(|| refused("SLOTS", "a range past the end"))?.to_vec();
        let name = self.names.get(&record.id).cloned().unwrap_or_default();
        let ring = ring_range(&record).filter_map(|index| Some(self.slot(index)?.backend)).collect();
        Ok(InstalledService { name, key, record, slots, ring })
    }
}

impl Dataplane for Fake {
    fn installed(&self) -> Result<Installed, Error> {
        let services = self.services.iter().map(|(&key, &record)| self.installed_service(key, record));
        let backends = self.labels.iter().map(|(&index, (name, weight))| {
            let record = self.records[usize::from(index)];
            InstalledBackend { index, name: name.clone(), weight: *weight, record }
        });
        Ok(Installed {
            sizes: self.sizes,
            services: services.collect::<Result<_, Error>>()?,
            backends: backends.collect(),
            generations: self.records.iter().map(|record| record.generation).collect(),
            vips: self.vips.iter().map(|(&address, &services)| (address, services)).collect(),
            returns: self.returns.clone(),
        })
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        match &mut self.fail_after {
            Some(0) => return Err(refused("SLOTS", "a failure to order")),
            Some(left) => *left -= 1,
            None => {}
        }
        self.perform(operation)
    }
}

fn refused(map: &'static str, why: &'static str) -> Error {
    Error::map("write", map)(io::Error::other(why))
}
