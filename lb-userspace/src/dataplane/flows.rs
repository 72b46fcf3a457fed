//! The pinned flow tables, and what packets write beside them.

use super::{
    Error, FlowBatch, FlowCursor, FlowKey, FlowTable,
    batch::{self, Batch},
    kernel::{Kernel, Record, hash, mapped, open, per_cpu, pinned, read, total},
    mapped::MappedArray,
};
use aya::maps::{HashMap, MapData, MapError, MapInfo, PerCpuArray};
use bytemuck::Pod;
use lb_common::{
    flow::{FlowEntry, FlowKeyV4, FlowKeyV6, Load, Overflow, TrackStats},
    slot::BackendIndex,
};
use std::{mem::offset_of, path::Path};

const V4: &str = "FLOWS_V4";
const V6: &str = "FLOWS_V6";

/// The maps of flow tracking.
pub(super) struct Flows {
    v4: MapData,
    v6: MapData,
    entries: u32,
    overflows: MappedArray<Overflow>,
    loads: MappedArray<Load>,
    turns: MappedArray<u64>,
    tracking: PerCpuArray<MapData, Record<TrackStats>>,
}

impl Flows {
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            v4: pinned(pin_dir, V4)?,
            v6: pinned(pin_dir, V6)?,
            entries: MapInfo::from_pin(pin_dir.join(V4)).map_err(open(V4))?.max_entries(),
            overflows: mapped(pin_dir, "OVERFLOWS")?,
            loads: mapped(pin_dir, "LOADS")?,
            turns: mapped(pin_dir, "CURSORS")?,
            tracking: per_cpu(pin_dir, "TRACKING")?,
        })
    }

    /// Entries of each family's table.
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// What least-connections knows of a backend, as it begins.
    pub fn set_load(&self, index: BackendIndex, load: &Load) -> Result<(), Error> {
        self.loads.set(index.into(), load).map_err(Error::map("write", "LOADS"))
    }

    /// The weight alone: packets count connections beside it.
    pub fn set_load_weight(&self, index: BackendIndex, weight: u32) -> Result<(), Error> {
        let offset = offset_of!(Load, weight);
        self.loads.set_word(index.into(), offset, weight.into()).map_err(Error::map("write", "LOADS"))
    }

    /// A new service takes its first turn, and has counted nothing.
    pub fn clear_service(&mut self, id: u32) -> Result<(), Error> {
        self.turns.set_word(id, 0, 0).map_err(Error::map("write", "CURSORS"))?;
        self.tracking.set(id, super::kernel::zeros()?, 0).map_err(super::kernel::write("TRACKING"))
    }

    fn batch<K: Pod>(
        map: &MapData,
        name: &'static str,
        from: Option<&FlowCursor>,
        at_most: usize,
    ) -> Result<Batch<K, FlowEntry>, Error> {
        let position =
            from.map(|cursor| cursor.position as u32).filter(|_| from.is_some_and(|at| at.position > 0));
        batch::lookup(map.fd(), position, at_most).map_err(Error::map("read", name))
    }
}

fn find<K: Pod>(pin_dir: &Path, name: &'static str, key: K) -> Result<Option<FlowEntry>, Error> {
    let map: HashMap<MapData, Record<K>, Record<FlowEntry>> = hash(pin_dir, name)?;
    match map.get(&Record(key), 0) {
        Ok(Record(entry)) => Ok(Some(entry)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(read(name)(error)),
    }
}

impl FlowTable for Kernel {
    fn flows(&mut self, from: Option<FlowCursor>, at_most: usize) -> Result<FlowBatch, Error> {
        let flows = &self.flows;
        if from.is_none_or(|cursor| !cursor.ipv6) {
            let Batch { keys, values, next } = Flows::batch(&flows.v4, V4, from.as_ref(), at_most)?;
            let entries = keys.into_iter().map(FlowKey::V4).zip(values).collect();
            let next = match next {
                Some(position) => FlowCursor { ipv6: false, position: position.into() },
                None => FlowCursor { ipv6: true, position: 0 },
            };
            return Ok(FlowBatch { entries, next: Some(next) });
        }
        let Batch { keys, values, next } = Flows::batch(&flows.v6, V6, from.as_ref(), at_most)?;
        let entries = keys.into_iter().map(FlowKey::V6).zip(values).collect();
        Ok(FlowBatch {
            entries,
            next: next.map(|position| FlowCursor { ipv6: true, position: position.into() }),
        })
    }

    fn forget(&mut self, keys: &[FlowKey]) -> Result<(), Error> {
        let v4: Vec<FlowKeyV4> = keys
            .iter()
            .filter_map(|key| if let FlowKey::V4(key) = key { Some(*key) } else { None })
            .collect();
        let v6: Vec<FlowKeyV6> = keys
            .iter()
            .filter_map(|key| if let FlowKey::V6(key) = key { Some(*key) } else { None })
            .collect();
        batch::delete(self.flows.v4.fd(), &v4).map_err(Error::map("write", V4))?;
        batch::delete(self.flows.v6.fd(), &v6).map_err(Error::map("write", V6))
    }

    fn overflow(&self, slot: u32) -> Result<Overflow, Error> {
        Ok(self.flows.overflows.get(slot).unwrap_or_default())
    }

    fn live(&self, backend: BackendIndex) -> Result<u64, Error> {
        Ok(self.flows.loads.get(backend.into()).unwrap_or_default().live)
    }

    fn add_live(&mut self, backend: BackendIndex, by: i64) -> Result<(), Error> {
        let add = |live: u64| live.saturating_add_signed(by);
        self.flows
            .loads
            .update_word(backend.into(), offset_of!(Load, live), add)
            .map_err(Error::map("write", "LOADS"))
    }
}

impl Kernel {
    /// What the flow table did for a service.
    pub fn track_stats(&self, service: u32) -> Result<TrackStats, Error> {
        total(&self.flows.tracking, service, "TRACKING")
    }

    /// What the flow table pinned under `pin_dir` has of a flow.
    pub fn flow(pin_dir: &Path, key: &FlowKey) -> Result<Option<FlowEntry>, Error> {
        match key {
            FlowKey::V4(key) => find(pin_dir, V4, *key),
            FlowKey::V6(key) => find(pin_dir, V6, *key),
        }
    }

    /// Entries of each flow table.
    #[must_use]
    pub const fn flow_entries(&self) -> u32 {
        self.flows.entries()
    }
}
