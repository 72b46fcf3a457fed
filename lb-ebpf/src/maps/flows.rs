//! The flow table and what is kept beside it.

use super::{MMAPABLE, enabled};
use crate::atomic::Word;
use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use core::mem::offset_of;
use lb_common::{
    flow::{ClientKey, FlowEntry, FlowKeyV4, FlowKeyV6, Load, Overflow, Owner, Tick, TrackStats},
    meta::features,
    slot::BackendIndex,
};
use lb_ebpf::select::Question;

/// Backends of flows, by family; swept by the daemon, never evicted by the kernel: an evicted flow is a broken connection.
#[btf_map]
static FLOWS_V4: HashMap<FlowKeyV4, FlowEntry, 262_144> = HashMap::new();
#[btf_map]
static FLOWS_V6: HashMap<FlowKeyV6, FlowEntry, 262_144> = HashMap::new();
/// Beside SLOTS: flows of the slot that the flow table had no room for.
#[btf_map]
static OVERFLOWS: Array<Overflow, 65_536, MMAPABLE> = Array::new();
/// Beside SERVICES, for round-robin: connections so far.
#[btf_map]
static CURSORS: Array<u64, 1024, MMAPABLE> = Array::new();
/// For round-robin of each client: its next place in the ring of backends. Forgetting the oldest costs no connection.
#[btf_map]
static CLIENTS: LruHashMap<ClientKey, u64, 65_536> = LruHashMap::new();
/// Beside BACKENDS, for least-connections.
#[btf_map]
static LOADS: Array<Load, 1024, MMAPABLE> = Array::new();
#[btf_map]
static TRACKING: PerCpuArray<TrackStats, 1024> = PerCpuArray::new();

/// An entry of the flow table, which other processors may change at any time.
pub struct Entry(*mut FlowEntry);

impl Entry {
    #[inline(always)]
    fn owner_word(&self) -> Word {
        const { assert!(offset_of!(FlowEntry, owner) == 0) };
        // SAFETY: the value's first, aligned word.
        unsafe { Word::at(self.0.cast()) }
    }

    /// Whose the flow is.
    #[inline(always)]
    pub fn owner(&self) -> Owner {
        Owner::from_word(self.owner_word().load())
    }

    /// Gives the flow to another owner, if it still has this one. Says whose it is otherwise.
    #[inline(always)]
    pub fn exchange(&self, from: Owner, to: Owner) -> Result<(), Owner> {
        self.owner_word().exchange(from.to_word(), to.to_word()).map_err(Owner::from_word)
    }

    /// When its last packet came.
    #[inline(always)]
    pub fn seen(&self) -> Tick {
        // SAFETY: inside the value.
        let seen = unsafe { &raw const (*self.0).seen };
        // SAFETY: as in `owner_word`.
        unsafe { seen.read_volatile() }
    }

    /// A packet came.
    #[inline(always)]
    pub fn see(&self, now: Tick) {
        // SAFETY: inside the value.
        let seen = unsafe { &raw mut (*self.0).seen };
        // SAFETY: as in `owner_word`.
        unsafe { seen.write_volatile(now) }
    }
}

/// A key of one of the flow tables. That of IPv4 is the end of that of IPv6, where the address is a mapped one: one key on
/// the stack serves both.
pub struct Key {
    key: FlowKeyV6,
    v4: bool,
}

const _: () =
    assert!(offset_of!(FlowKeyV6, ports) - 4 == V4 && size_of::<FlowKeyV6>() - V4 == size_of::<FlowKeyV4>());

/// Where the key of IPv4 starts.
const V4: usize = size_of::<FlowKeyV6>() - size_of::<FlowKeyV4>();

impl Key {
    /// The flow's.
    #[inline(always)]
    pub fn of(question: &Question) -> Self {
        let (source, ports, service) = (question.source(), question.ports(), question.service());
        Self { key: FlowKeyV6 { source, ports, service }, v4: question.is_v4() }
    }

    /// The client's address, IPv4 mapped into IPv6.
    #[inline(always)]
    pub const fn client(&self) -> [u8; 16] {
        self.key.source
    }

    #[inline(always)]
    fn v4(&self) -> &FlowKeyV4 {
        let bytes: &[u8; size_of::<FlowKeyV6>()] = bytemuck::cast_ref(&self.key);
        let end = bytes.as_ptr().wrapping_add(V4).cast();
        // SAFETY: as the assertion above says: the last bytes of the key are a key too, at an aligned place.
        unsafe { &*end }
    }

    /// The flow's entry.
    #[inline(always)]
    pub fn find(&self) -> Option<Entry> {
        let Self { key, v4 } = self;
        let entry = if *v4 {
            FLOWS_V4.get_ptr_mut(self.v4())
        } else if enabled(features::IPV6) {
            FLOWS_V6.get_ptr_mut(key)
        } else {
            None
        };
        entry.map(Entry)
    }

    /// Remembers the flow; an error is the kernel's. An entry that another processor made a moment ago stays.
    #[inline(always)]
    pub fn insert(&self, entry: &FlowEntry) -> Result<(), i32> {
        const BPF_NOEXIST: u64 = 1;
        let Self { key, v4 } = self;
        if *v4 {
            FLOWS_V4.insert(self.v4(), entry, BPF_NOEXIST)
        } else if enabled(features::IPV6) {
            FLOWS_V6.insert(key, entry, BPF_NOEXIST)
        } else {
            Ok(())
        }
    }
}

/// What a slot's flows found no room in the flow table.
#[inline(always)]
pub fn overflow(slot: u32) -> Option<&'static mut Overflow> {
    // SAFETY: processors may lose one another's counts, which are to be about right.
    OVERFLOWS.get_ptr_mut(slot).map(|overflow| unsafe { &mut *overflow })
}

/// This CPU's counters of what the flow table did for a service.
#[inline(always)]
pub fn tracking(service: u32) -> Option<&'static mut TrackStats> {
    // SAFETY: the record is this CPU's own, and XDP does not nest.
    TRACKING.get_ptr_mut(service).map(|stats| unsafe { &mut *stats })
}

/// Connections of a service so far, this one not among them.
#[inline(always)]
pub fn next_turn(service: u32) -> u64 {
    // SAFETY: an aligned word of the map.
    CURSORS.get_ptr_mut(service).map_or(0, |turn| unsafe { Word::at(turn) }.fetch_add(1))
}

/// A client's place in the ring, which is moved on by one; `None`: it has none yet.
#[inline(always)]
pub fn next_place(client: &ClientKey) -> Option<u64> {
    let place = CLIENTS.get_ptr_mut(client)?;
    // SAFETY: an aligned word of the map.
    Some(unsafe { Word::at(place) }.fetch_add(1))
}

/// Gives a client the place after `place` as its next.
#[inline(always)]
pub fn start_client(client: &ClientKey, place: u64) {
    let _ = CLIENTS.insert(client, place + 1, 0);
}

/// A backend's load: live flows and weight.
#[inline(always)]
pub fn load(backend: BackendIndex) -> Option<(u64, u64)> {
    let load = LOADS.get(backend.into())?;
    Some((load.live, load.weight))
}

/// Changes the number of a backend's live flows.
#[inline(always)]
pub fn add_live(backend: BackendIndex, by: i64) {
    if let Some(load) = LOADS.get_ptr_mut(backend.into()) {
        const { assert!(offset_of!(Load, live) == 0) };
        // SAFETY: the value's first, aligned word.
        unsafe { Word::at(load.cast()) }.add(by as u64);
    }
}
