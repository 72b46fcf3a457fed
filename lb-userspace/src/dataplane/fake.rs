//! The maps in memory, for tests: the same rules as the kernel's, and a failure to order.

use super::{Dataplane, Error, Installed, InstalledService, Operation, Sizes};
use lb_common::{
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
    backends: BTreeMap<BackendIndex, super::InstalledBackend>,
    generations: Vec<u32>,
    vips: BTreeMap<IpAddr, u32>,
    returns: BTreeMap<ReturnKey, ReturnEnd>,
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
            backends: BTreeMap::new(),
            generations: vec![0; sizes.backends as usize],
            vips: BTreeMap::new(),
            returns: BTreeMap::new(),
            fail_after: None,
        }
    }

    fn backend(&mut self, index: BackendIndex) -> Result<&mut super::InstalledBackend, Error> {
        self.backends.get_mut(&index).ok_or_else(|| refused("BACKENDS", "no such backend"))
    }

    fn perform(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::AddBackend(backend) => {
                let place = self.generations.get_mut(usize::from(backend.index));
                let place = place.ok_or_else(|| refused("BACKENDS", "an index past the end"))?;
                if self.backends.contains_key(&backend.index) || backend.record.generation <= *place {
                    return Err(refused("BACKENDS", "an index reused under a live generation"));
                }
                *place = backend.record.generation;
                self.backends.insert(backend.index, backend.clone());
            }
            Operation::SetWay { index, way } => {
                let record = &mut self.backend(*index)?.record;
                *record = way.on(*record);
            }
            Operation::SetWeight { index, weight } => self.backend(*index)?.weight = *weight,
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
                self.backends.remove(index).ok_or_else(|| refused("BACKENDS", "no such backend"))?;
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
}

impl Dataplane for Fake {
    fn installed(&self) -> Result<Installed, Error> {
        let services = self.services.iter().map(|(&key, &record)| {
            let range = record.first_slot as usize..=(record.first_slot + record.slot_mask) as usize;
            let slots =
                self.slots.get(range).ok_or_else(|| refused("SLOTS", "a range past the end"))?.to_vec();
            Ok(InstalledService {
                name: self.names.get(&record.id).cloned().unwrap_or_default(),
                key,
                record,
                slots,
            })
        });
        Ok(Installed {
            sizes: self.sizes,
            services: services.collect::<Result<_, Error>>()?,
            backends: self.backends.values().cloned().collect(),
            generations: self.generations.clone(),
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
