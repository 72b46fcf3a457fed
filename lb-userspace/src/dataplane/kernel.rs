//! The pinned maps: typed reading, and the operations of a plan as writes.

use super::{
    Dataplane, Error, Installed, InstalledBackend, InstalledService, Operation, Sizes, Way,
    flows::Flows,
    mapped::MappedArray,
    ring_range,
    samples::Samples,
    service_index::ServiceIndex,
    stats::{Sum, VerdictCounts},
};
use aya::{
    maps::{Array, HashMap, Map, MapData, MapError, MapInfo, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use bytemuck::Pod;
use lb_common::{
    backend::Backend,
    counters::{BackendStats, PacketCount, ServiceStats, Verdict},
    flow::Load,
    label::{BackendLabel, Name, ServiceLabel},
    latency::Sampling,
    meta::Meta,
    nat::{ReturnEnd, ReturnKey},
    service::{Service, ServiceKey, address_bytes, address_from_bytes},
    slot::{BackendIndex, Slot},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    mem::offset_of,
    path::Path,
};

/// Name of the map that tells who wrote the others.
pub const META: &str = "META";

/// Every map that is pinned, by its name.
pub const PINNED: [&str; 26] = [
    META,
    "SERVICES",
    "SERVICE_INDEX",
    "SERVICE_LINES",
    "SLOTS",
    "BACKENDS",
    "NAT_RETURN",
    "SERVICE_STATS",
    "BACKEND_STATS",
    "VERDICTS",
    "VIPS",
    "FRAGMENTS",
    "ANSWERS",
    "FLOWS_V4",
    "FLOWS_V6",
    "OVERFLOWS",
    "CURSORS",
    "CLIENTS",
    "LOADS",
    "TRACKING",
    "SAMPLES",
    "SAMPLING",
    "LATENCY",
    "CLOCK",
    "SERVICE_LABELS",
    "BACKEND_LABELS",
];

/// A record of ours as aya takes it.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Record<T>(pub(super) T);

#[expect(unsafe_code, reason = "aya has a marker trait of its own for what bytemuck proves")]
// SAFETY: `Pod` of bytemuck asks for more than `Pod` of aya: plain bytes, and no padding.
unsafe impl<T: Pod> aya::Pod for Record<T> {}

/// The maps of one pin directory.
pub struct Kernel {
    services: HashMap<MapData, Record<ServiceKey>, Record<Service>>,
    index: ServiceIndex,
    vips: HashMap<MapData, [u8; 16], u32>,
    slots: MappedArray<Slot>,
    backends: MappedArray<Backend>,
    returns: HashMap<MapData, Record<ReturnKey>, Record<ReturnEnd>>,
    service_labels: MappedArray<ServiceLabel>,
    backend_labels: MappedArray<BackendLabel>,
    pub(super) flows: Flows,
    pub(super) samples: Samples,
    service_stats: PerCpuArray<MapData, Record<ServiceStats>>,
    backend_stats: PerCpuArray<MapData, Record<BackendStats>>,
    verdicts: PerCpuArray<MapData, Record<PacketCount>>,
    meta: Array<MapData, Record<Meta>>,
}

impl Kernel {
    /// Opens the maps pinned under `pin_dir`.
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        if !pin_dir.join(META).exists() {
            return Err(Error::NothingPinned(pin_dir.to_owned()));
        }
        Ok(Self {
            vips: HashMap::try_from(Map::HashMap(pinned(pin_dir, "VIPS")?)).map_err(open("VIPS"))?,
            services: hash(pin_dir, "SERVICES")?,
            index: ServiceIndex::open(pin_dir)?,
            returns: hash(pin_dir, "NAT_RETURN")?,
            slots: mapped(pin_dir, "SLOTS")?,
            backends: mapped(pin_dir, "BACKENDS")?,
            service_labels: mapped(pin_dir, "SERVICE_LABELS")?,
            backend_labels: mapped(pin_dir, "BACKEND_LABELS")?,
            flows: Flows::open(pin_dir)?,
            samples: Samples::open(pin_dir)?,
            service_stats: per_cpu(pin_dir, "SERVICE_STATS")?,
            backend_stats: per_cpu(pin_dir, "BACKEND_STATS")?,
            verdicts: per_cpu(pin_dir, "VERDICTS")?,
            meta: Array::try_from(Map::Array(pinned(pin_dir, META)?)).map_err(open(META))?,
        })
    }

    /// The record of META under `pin_dir`, before anything else is believed.
    pub fn meta_of(pin_dir: &Path) -> Result<Meta, Error> {
        let map: Array<MapData, Record<Meta>> =
            Array::try_from(Map::Array(pinned(pin_dir, META)?)).map_err(open(META))?;
        Ok(map.get(&0, 0).map_err(read(META))?.0)
    }

    pub(super) fn write_meta(&mut self, meta: &Meta) -> Result<(), Error> {
        self.meta.set(0, Record(*meta), 0).map_err(write(META))
    }

    /// Entries of each map.
    #[must_use]
    pub const fn sizes(&self) -> Sizes {
        Sizes {
            services: self.service_labels.len(),
            backends: self.backends.len(),
            slots: self.slots.len(),
            flows: self.flows.entries(),
        }
    }

    /// Counters of a backend.
    pub fn backend_stats(&self, index: BackendIndex) -> Result<BackendStats, Error> {
        total(&self.backend_stats, index.into(), "BACKEND_STATS")
    }

    /// Counters of a service.
    pub fn service_stats(&self, id: u32) -> Result<ServiceStats, Error> {
        total(&self.service_stats, id, "SERVICE_STATS")
    }

    /// Counters of every verdict.
    pub fn verdicts(&self) -> Result<VerdictCounts, Error> {
        Verdict::all()
            .map(|verdict| Ok((verdict, total(&self.verdicts, verdict.counter(), "VERDICTS")?)))
            .collect()
    }

    fn installed_service(
        &self,
        key: ServiceKey,
        record: Service,
        skip: &BTreeSet<String>,
    ) -> Option<InstalledService> {
        let name = self.service_labels.get(record.id)?.name.as_str().to_owned();
        if skip.contains(&name) {
            return Some(InstalledService { name, key, record, slots: Vec::new(), ring: Vec::new() });
        }
        let end = record.first_slot.checked_add(record.slot_mask)?;
        let slots =
            (record.first_slot..=end).map(|index| self.slots.get(index)).collect::<Option<Vec<_>>>()?;
        record.ring.checked_add(end)?;
        let ring = ring_range(&record).map(|index| Some(self.slots.get(index)?.backend));
        let ring = ring.collect::<Option<_>>()?;
        Some(InstalledService { name, key, record, slots, ring })
    }

    fn installed_backends(&self) -> Vec<InstalledBackend> {
        let labels = self.backend_labels.iter().zip(self.backends.iter()).enumerate();
        labels
            .filter(|(_, (label, _))| !label.name.as_str().is_empty())
            .map(|(index, (label, record))| InstalledBackend {
                index: index as BackendIndex,
                name: label.name.as_str().to_owned(),
                weight: label.weight,
                record,
            })
            .collect()
    }

    fn installed_returns(&self) -> Result<BTreeMap<ReturnKey, ReturnEnd>, Error> {
        let entries = self.returns.iter().map(|entry| {
            let (Record(key), Record(end)) = entry.map_err(read("NAT_RETURN"))?;
            Ok((key, end))
        });
        entries.collect()
    }

    fn add_backend(&mut self, backend: &InstalledBackend) -> Result<(), Error> {
        let index = backend.index.into();
        self.backend_stats.set(index, zeros()?, 0).map_err(write("BACKEND_STATS"))?;
        self.samples.clear_backend(backend.index)?;
        self.flows.set_load(backend.index, &Load { live: 0, weight: backend.weight.into() })?;
        self.backends.set(index, &backend.record).map_err(Error::map("write", "BACKENDS"))?;
        let name = Name::new(&backend.name).unwrap_or(bytemuck::Zeroable::zeroed());
        let label = BackendLabel { name, weight: backend.weight, service: backend.service() };
        self.backend_labels.set(index, &label).map_err(Error::map("write", "BACKEND_LABELS"))
    }

    /// Writes the words of a record that its way is in, the next hop's last.
    fn set_way(&self, index: u32, way: Way) -> Result<(), Error> {
        let record = self.backends.get(index).unwrap_or(bytemuck::Zeroable::zeroed());
        let record = way.on(record);
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(&record));
        let fields = [
            offset_of!(Backend, service),
            offset_of!(Backend, ifindex),
            offset_of!(Backend, departure),
            offset_of!(Backend, next_hop),
        ];
        fields.into_iter().try_for_each(|offset| {
            self.backends.set_word(index, offset, words[offset / 8]).map_err(Error::map("write", "BACKENDS"))
        })
    }

    /// One store of the word that the MAC address is in, which nobody else writes.
    fn set_down(&self, index: u32, down: bool) -> Result<(), Error> {
        let record = self.backends.get(index).unwrap_or(bytemuck::Zeroable::zeroed());
        let word = record.next_hop.with_down(down).to_word();
        let offset = offset_of!(Backend, next_hop);
        self.backends.set_word(index, offset, word).map_err(Error::map("write", "BACKENDS"))
    }

    fn set_weight(&mut self, index: BackendIndex, weight: u32) -> Result<(), Error> {
        self.flows.set_load_weight(index, weight)?;
        let index = index.into();
        let label = self.backend_labels.get(index).unwrap_or(bytemuck::Zeroable::zeroed());
        let label = BackendLabel { weight, ..label };
        self.backend_labels.set(index, &label).map_err(Error::map("write", "BACKEND_LABELS"))
    }

    fn name_service(&mut self, id: u32, name: &str) -> Result<(), Error> {
        self.service_stats.set(id, zeros()?, 0).map_err(write("SERVICE_STATS"))?;
        self.flows.clear_service(id)?;
        self.samples.set_sampling(id, Sampling::NONE)?;
        let name = Name::new(name).unwrap_or(bytemuck::Zeroable::zeroed());
        self.service_labels.set(id, &ServiceLabel { name }).map_err(Error::map("write", "SERVICE_LABELS"))
    }

    /// Makes sure that packets find what SERVICES holds: whoever wrote it may have died before they did.
    pub(super) fn adopt_services(&mut self) -> Result<(), Error> {
        if self.index.is_adopted() {
            return Ok(());
        }
        let services = self.services.iter().map(|entry| {
            let (Record(key), Record(record)) = entry.map_err(read("SERVICES"))?;
            Ok((key, record))
        });
        self.index.adopt(services.collect::<Result<Vec<_>, Error>>()?)
    }

    fn put_service(&mut self, key: ServiceKey, record: Service) -> Result<(), Error> {
        self.adopt_services()?;
        self.services.insert(Record(key), Record(record), 0).map_err(write("SERVICES"))?;
        self.index.put(key, record)
    }

    fn remove_service(&mut self, key: &ServiceKey) -> Result<(), Error> {
        self.adopt_services()?;
        self.index.remove(key)?;
        self.services.remove(&Record(*key)).map_err(write("SERVICES"))
    }

    fn free_backend(&mut self, index: BackendIndex) -> Result<(), Error> {
        self.set_down(index.into(), true)?;
        let label = bytemuck::Zeroable::zeroed();
        // The record stays: a packet that chose the backend a moment ago still reaches it.
        self.backend_labels.set(index.into(), &label).map_err(Error::map("write", "BACKEND_LABELS"))
    }
}

impl Kernel {
    /// As [`Dataplane::installed`], without the slots of these services: there may be millions.
    pub fn installed_without(&self, skip: &BTreeSet<String>) -> Result<Installed, Error> {
        let mut services = Vec::new();
        for entry in &self.services {
            let (Record(key), Record(record)) = entry.map_err(read("SERVICES"))?;
            let bad = || io::Error::new(io::ErrorKind::InvalidData, "a service outside of its maps");
            let service = self.installed_service(key, record, skip).ok_or_else(bad);
            services.push(service.map_err(Error::map("read", "SERVICES"))?);
        }
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let vips = self.vips.iter().map(|entry| {
            let (address, services) = entry.map_err(read("VIPS"))?;
            Ok((address_from_bytes(address), services))
        });
        let mut vips = vips.collect::<Result<Vec<_>, Error>>()?;
        vips.sort_unstable();
        let generations = self.backends.iter().map(|backend| backend.generation).collect();
        Ok(Installed {
            sizes: self.sizes(),
            services,
            backends: self.installed_backends(),
            generations,
            vips,
            returns: self.installed_returns()?,
        })
    }
}

impl Dataplane for Kernel {
    fn installed(&self) -> Result<Installed, Error> {
        self.installed_without(&BTreeSet::new())
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        match operation {
            Operation::AddBackend(backend) => self.add_backend(backend),
            Operation::SetWay { index, way } => self.set_way((*index).into(), *way),
            Operation::SetWeight { index, weight } => self.set_weight(*index, *weight),
            Operation::SetDown { index, down } => self.set_down((*index).into(), *down),
            Operation::SetSlots { slots, .. } => slots.iter().try_for_each(|(index, slot)| {
                self.slots.set_word(*index, 0, slot.to_word()).map_err(Error::map("write", "SLOTS"))
            }),
            Operation::NameService { id, name } => self.name_service(*id, name),
            Operation::PutService { key, record } => self.put_service(*key, *record),
            Operation::RemoveService { key } => self.remove_service(key),
            Operation::PutVip { address, services } => {
                self.vips.insert(address_bytes(*address), services, 0).map_err(write("VIPS"))
            }
            Operation::RemoveVip { address } => {
                self.vips.remove(&address_bytes(*address)).map_err(write("VIPS"))
            }
            Operation::FreeService { id } => {
                let label = bytemuck::Zeroable::zeroed();
                self.service_labels.set(*id, &label).map_err(Error::map("write", "SERVICE_LABELS"))
            }
            Operation::FreeBackend { index } => self.free_backend(*index),
            Operation::PutReturn { key, end } => {
                self.returns.insert(Record(*key), Record(*end), 0).map_err(write("NAT_RETURN"))
            }
            Operation::RemoveReturn { key } => {
                self.returns.remove(&Record(*key)).map_err(write("NAT_RETURN"))
            }
        }
    }
}

pub(super) fn pinned(pin_dir: &Path, name: &'static str) -> Result<MapData, Error> {
    MapData::from_pin(pin_dir.join(name)).map_err(open(name))
}

pub(super) fn mapped<T: Pod>(pin_dir: &Path, name: &'static str) -> Result<MappedArray<T>, Error> {
    let info = MapInfo::from_pin(pin_dir.join(name)).map_err(open(name))?;
    if info.value_size() as usize != size_of::<T>() {
        return Err(Error::map("read", name)(io::Error::new(
            io::ErrorKind::InvalidData,
            "values of another size",
        )));
    }
    let map = pinned(pin_dir, name)?;
    MappedArray::new(map.fd(), info.max_entries(), true).map_err(Error::map("map", name))
}

pub(super) fn hash<K: Pod, V: Pod>(
    pin_dir: &Path,
    name: &'static str,
) -> Result<HashMap<MapData, Record<K>, Record<V>>, Error> {
    HashMap::try_from(Map::HashMap(pinned(pin_dir, name)?)).map_err(open(name))
}

pub(super) fn per_cpu<T: Pod>(
    pin_dir: &Path,
    name: &'static str,
) -> Result<PerCpuArray<MapData, Record<T>>, Error> {
    PerCpuArray::try_from(Map::PerCpuArray(pinned(pin_dir, name)?)).map_err(open(name))
}

pub(super) fn total<T: Pod + Sum>(
    map: &PerCpuArray<MapData, Record<T>>,
    index: u32,
    name: &'static str,
) -> Result<T, Error> {
    let values = map.get(&index, 0).map_err(read(name))?;
    Ok(T::total(values.iter().map(|Record(value)| value)))
}

pub(super) fn zeros<T: Pod>() -> Result<PerCpuValues<Record<T>>, Error> {
    let cpus = nr_cpus().map_err(|(file, error)| Error::Machine(format!("cannot read {file}: {error}")))?;
    PerCpuValues::try_from(vec![Record(T::zeroed()); cpus]).map_err(|error| Error::Machine(error.to_string()))
}

pub(super) fn open(map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |error| Error::map("open", map)(io_error(error))
}

pub(super) fn read(map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |error| Error::map("read", map)(io_error(error))
}

pub(super) fn write(map: &'static str) -> impl FnOnce(MapError) -> Error {
    move |error| Error::map("write", map)(io_error(error))
}

fn io_error(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        error => io::Error::other(error),
    }
}
