//! The flow tables in memory, in buckets like the kernel's, so that deleting while reading skips nothing.

use super::{Fake, Sizes};
use crate::dataplane::{Error, FlowBatch, FlowCursor, FlowKey, FlowTable};
use lb_common::{
    flow::{FlowEntry, Load, Overflow, Tick},
    slot::BackendIndex,
};
use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash as _, Hasher as _},
};

const BUCKETS: usize = 256;

/// Both tables, and what packets leave beside them.
#[derive(Clone, Debug)]
pub(super) struct Flows {
    room: usize,
    v4: Table,
    v6: Table,
    overflows: Vec<Overflow>,
    loads: Vec<Load>,
}

#[derive(Clone, Debug)]
struct Table {
    count: usize,
    buckets: Vec<Vec<(FlowKey, FlowEntry)>>,
}

impl Flows {
    pub(super) fn new(sizes: Sizes) -> Self {
        let table = Table { count: 0, buckets: vec![Vec::new(); BUCKETS] };
        Self {
            room: sizes.flows as usize,
            v4: table.clone(),
            v6: table,
            overflows: vec![Overflow::default(); sizes.slots as usize],
            loads: vec![Load::default(); sizes.backends as usize],
        }
    }

    pub(super) fn begin_load(&mut self, index: BackendIndex, weight: u32) {
        self.loads[usize::from(index)] = Load { live: 0, weight: weight.into() };
    }

    pub(super) fn set_load_weight(&mut self, index: BackendIndex, weight: u32) {
        self.loads[usize::from(index)].weight = weight.into();
    }

    fn table(&mut self, ipv6: bool) -> &mut Table {
        if ipv6 { &mut self.v6 } else { &mut self.v4 }
    }
}

impl Table {
    fn bucket(&mut self, key: &FlowKey) -> &mut Vec<(FlowKey, FlowEntry)> {
        // With fixed keys, so that a run can be repeated.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        &mut self.buckets[hasher.finish() as usize % BUCKETS]
    }
}

const fn is_v6(key: &FlowKey) -> bool {
    matches!(key, FlowKey::V6(_))
}

/// What the XDP program does with its maps, one thing a function.
impl Fake {
    /// The entry of a flow, to be changed in place.
    pub fn flow_mut(&mut self, key: &FlowKey) -> Option<&mut FlowEntry> {
        let bucket = self.flows.table(is_v6(key)).bucket(key);
        bucket.iter_mut().find(|(at, _)| at == key).map(|(_, entry)| entry)
    }

    /// Remembers a flow that is not there yet; says whether there was room.
    pub fn remember(&mut self, key: FlowKey, entry: FlowEntry) -> bool {
        let room = self.flows.room;
        let table = self.flows.table(is_v6(&key));
        if table.count >= room {
            return false;
        }
        table.bucket(&key).push((key, entry));
        table.count += 1;
        true
    }

    /// Marks a slot, by its index in SLOTS, as one with a flow that found no room.
    pub fn mark_overflow(&mut self, slot: u32, at: Tick) {
        if let Some(mark) = self.flows.overflows.get_mut(slot as usize) {
            *mark = Overflow { at, count: mark.count.saturating_add(1) };
        }
    }

    /// A record of LOADS.
    #[must_use]
    pub fn load(&self, backend: BackendIndex) -> Option<&Load> {
        self.flows.loads.get(usize::from(backend))
    }

    /// Entries of both tables.
    #[must_use]
    pub const fn flow_count(&self) -> usize {
        self.flows.v4.count + self.flows.v6.count
    }
}

impl FlowTable for Fake {
    fn flows(&mut self, from: Option<FlowCursor>, at_most: usize) -> Result<FlowBatch, Error> {
        let FlowCursor { ipv6, position } = from.unwrap_or(FlowCursor { ipv6: false, position: 0 });
        let mut entries = Vec::new();
        let mut at = position as usize;
        let table = self.flows.table(ipv6);
        while at < BUCKETS && (entries.is_empty() || entries.len() + table.buckets[at].len() <= at_most) {
            entries.extend_from_slice(&table.buckets[at]);
            at += 1;
        }
        let next = match (at < BUCKETS, ipv6) {
            (true, _) => Some(FlowCursor { ipv6, position: at as u64 }),
            (false, false) => Some(FlowCursor { ipv6: true, position: 0 }),
            (false, true) => None,
        };
        Ok(FlowBatch { entries, next })
    }

    fn forget(&mut self, keys: &[FlowKey]) -> Result<(), Error> {
        for key in keys {
            let table = self.flows.table(is_v6(key));
            let bucket = table.bucket(key);
            if let Some(at) = bucket.iter().position(|(have, _)| have == key) {
                bucket.swap_remove(at);
                table.count -= 1;
            }
        }
        Ok(())
    }

    fn overflow(&self, slot: u32) -> Result<Overflow, Error> {
        Ok(self.flows.overflows.get(slot as usize).copied().unwrap_or_default())
    }

    fn live(&self, backend: BackendIndex) -> Result<u64, Error> {
        Ok(self.load(backend).map_or(0, |load| load.live))
    }

    fn add_live(&mut self, backend: BackendIndex, by: i64) -> Result<(), Error> {
        if let Some(load) = self.flows.loads.get_mut(usize::from(backend)) {
            load.live = load.live.saturating_add_signed(by);
        }
        Ok(())
    }
}
