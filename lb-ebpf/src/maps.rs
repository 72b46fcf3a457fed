//! All maps and constants of the program, and their typed look-ups.
//!
//! The sizes here are what a loader that says nothing gets; the daemon sets them from the configuration.

pub mod flows;
pub mod samples;

use aya_ebpf::{
    Global,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
    helpers::bpf_ktime_get_coarse_ns,
    macros::btf_map,
};
use core::{mem::offset_of, ptr::from_ref};
use lb_common::{
    answer::Budget,
    backend::{Backend, Departure, LinkAddress},
    counters::{BackendStats, PacketCount, ServiceStats, VERDICT_COUNTERS},
    flow::{TICK_SHIFT, Tick},
    fragment::{Fragment, FragmentKey},
    hash::{KeyWords, WORDS_V6},
    label::{BackendLabel, ServiceLabel},
    meta::{Meta, features},
    nat::{ReturnEnd, ReturnKey},
    service::{KeyWords as ServiceWords, MAX_AT_PLACE, PLACES, Service, ServiceKey, ServiceLine, place},
    slot::Slot,
};

/// `BPF_F_MMAPABLE`: the daemon maps the array and stores words without a system call.
const MMAPABLE: usize = 1 << 10;

/// Where a service is found: at the place of its key the number of its line, 0 where there is none.
#[btf_map]
static SERVICE_INDEX: Array<u64, { PLACES as usize }, MMAPABLE> = Array::new();
#[btf_map]
static SERVICE_LINES: Array<ServiceLine, 2048, MMAPABLE> = Array::new();
#[btf_map]
static SLOTS: Array<Slot, 65_536, MMAPABLE> = Array::new();
#[btf_map]
static BACKENDS: Array<Backend, 1024, MMAPABLE> = Array::new();
#[btf_map]
static NAT_RETURN: HashMap<ReturnKey, ReturnEnd, 1024> = HashMap::new();
#[btf_map]
static SERVICE_STATS: PerCpuArray<ServiceStats, 1024> = PerCpuArray::new();
#[btf_map]
static BACKEND_STATS: PerCpuArray<BackendStats, 1024> = PerCpuArray::new();
#[btf_map]
static VERDICTS: PerCpuArray<PacketCount, { VERDICT_COUNTERS as usize }> = PerCpuArray::new();
/// Virtual addresses, each with the number of services that it has.
#[btf_map]
static VIPS: HashMap<[u8; 16], u32, 1024> = HashMap::new();
/// Bounded by forgetting the oldest: a fragment that is not found is dropped, and its datagram sent again.
#[btf_map]
static FRAGMENTS: LruHashMap<FragmentKey, Fragment, 16_384> = LruHashMap::new();
/// Answers that this CPU may still give.
#[btf_map]
static ANSWERS: PerCpuArray<Budget, 1> = PerCpuArray::new();

/// The time for tests, see [`features::TEST_CLOCK`].
#[btf_map]
static CLOCK: Array<u64, 1, MMAPABLE> = Array::new();

// Not for packets: what the maps above hold, for those who read them from outside.
#[btf_map]
static SERVICES: HashMap<ServiceKey, Service, 1024> = HashMap::new();
#[btf_map]
static META: Array<Meta, 1> = Array::new();
#[btf_map]
static SERVICE_LABELS: Array<ServiceLabel, 1024, MMAPABLE> = Array::new();
#[btf_map]
static BACKEND_LABELS: Array<BackendLabel, 1024, MMAPABLE> = Array::new();

// Set by the loader before the program is verified; the map that holds them is then frozen, so the verifier
// knows their values and removes what they switch off.
#[unsafe(no_mangle)]
static FEATURES: Global<u32> = Global::new(features::ALL);
#[unsafe(no_mangle)]
static HASH_KEY: KeyWords = [0; WORDS_V6];

/// Answers a second and CPU; `u32::MAX`: no limit.
#[unsafe(no_mangle)]
static ANSWER_RATE: Global<u32> = Global::new(1000);

/// Answers a second and CPU; `u32::MAX`: no limit.
#[inline(always)]
pub fn answer_rate() -> u32 {
    ANSWER_RATE.load()
}

/// This CPU's budget of answers.
#[inline(always)]
pub fn answers() -> Option<&'static mut Budget> {
    // SAFETY: the record is this CPU's own, and XDP does not nest.
    ANSWERS.get_ptr_mut(0).map(|budget| unsafe { &mut *budget })
}

/// Whether it is the address of a service.
#[inline(always)]
pub fn is_vip(address: &[u8; 16]) -> bool {
    VIPS.get_ptr(address).is_some()
}

/// What the first fragment of a datagram taught.
#[inline(always)]
pub fn fragment(key: &FragmentKey) -> Option<Fragment> {
    // SAFETY: copied at once; a value is replaced, never changed.
    unsafe { FRAGMENTS.get(key) }.copied()
}

/// Remembers a first fragment. A failure is told by the drop of those that follow.
#[inline(always)]
pub fn remember(key: &FragmentKey, fragment: Fragment) {
    let _ = FRAGMENTS.insert(key, fragment, 0);
}

/// Whether the configuration needs the feature; a constant to the verifier.
#[inline(always)]
pub fn enabled(feature: u32) -> bool {
    FEATURES.load() & feature != 0
}

/// One word of the hash key; `index` below [`WORDS_V6`].
#[inline(always)]
pub fn key_word(index: usize) -> u32 {
    let word = from_ref(&HASH_KEY).cast::<u32>();
    // SAFETY: every caller names a constant index below the key's length.
    let word = unsafe { word.add(index) };
    // SAFETY: volatile, because the loader replaces the zeros that the compiler sees.
    unsafe { word.read_volatile() }
}

/// The service of exactly this key.
#[inline(always)]
pub fn service(key: ServiceKey) -> Option<&'static Service> {
    let words: ServiceWords = bytemuck::cast(key);
    let line = line(first_line(words))?;
    if has_key(line, words) {
        return Some(&line.service);
    }
    if line.next == 0 { None } else { service_by_call(key) }
}

/// The same by a call, for those who are in no haste: it takes little room in the caller.
#[inline(always)]
pub fn service_by_call(key: ServiceKey) -> Option<&'static Service> {
    let [a, b, c, d, last]: ServiceWords = bytemuck::cast(key);
    let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let number = service_line(wide(a, b), wide(c, d), last.into());
    Some(&line(number)?.service)
}

/// Number of the line of a key in words; 0: there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn service_line(start: u64, end: u64, last: u64) -> u64 {
    let words = [start as u32, (start >> 32) as u32, end as u32, (end >> 32) as u32, last as u32];
    let mut number = first_line(words);
    for _ in 0..MAX_AT_PLACE {
        let Some(line) = line(number) else { break };
        if has_key(line, words) {
            return number;
        }
        number = line.next.into();
    }
    0
}

/// Number of the first line at the place of a key.
#[inline(always)]
fn first_line(words: ServiceWords) -> u64 {
    // SAFETY: an aligned word of the map; volatile, because the daemon stores to it at any time.
    SERVICE_INDEX.get_ptr(place(words)).map_or(0, |number| unsafe { number.read_volatile() })
}

/// The line of this number; number 0 is none.
#[inline(always)]
fn line(number: u64) -> Option<&'static ServiceLine> {
    if number == 0 { None } else { SERVICE_LINES.get(number as u32) }
}

/// Whether a line is that of a key: in words, and one branch for all of them.
#[inline(always)]
fn has_key(line: &ServiceLine, [a, b, c, d, last]: ServiceWords) -> bool {
    const KEY: usize = offset_of!(ServiceLine, key);
    const { assert!(KEY.is_multiple_of(8)) };
    let long: &[u64; size_of::<ServiceLine>() / 8] = bytemuck::cast_ref(line);
    let short: &[u32; size_of::<ServiceLine>() / 4] = bytemuck::cast_ref(line);
    let (address, rest) = ([long[KEY / 8], long[KEY / 8 + 1]], short[KEY / 4 + 4]);
    let wide = |low: u32, high: u32| bytemuck::cast::<[u32; 2], u64>([low, high]);
    (address[0] ^ wide(a, b)) | (address[1] ^ wide(c, d)) | u64::from(rest ^ last) == 0
}

/// What a backend's answer becomes, for the source of exactly this key.
#[inline(always)]
pub fn nat_return(key: &ReturnKey) -> Option<&'static ReturnEnd> {
    // SAFETY: as in `service`.
    unsafe { NAT_RETURN.get(key) }
}

/// The slot at `index`, in one 64-bit load.
#[inline(always)]
pub fn slot(index: u32) -> Option<Slot> {
    let slot = SLOTS.get_ptr(index)?;
    // SAFETY: the pointer comes from the map's own look-up.
    Some(Slot::from_word(unsafe { slot.cast::<u64>().read_volatile() }))
}

/// The backend at `index`.
#[inline(always)]
pub fn backend(index: u16) -> Option<&'static Backend> {
    BACKENDS.get(u32::from(index))
}

/// The backend's next hop and the interface that leads there, each in one load.
#[inline(always)]
pub fn way(backend: &Backend) -> (LinkAddress, Departure) {
    // SAFETY: aligned words of the record; volatile, because the daemon stores to them at any time.
    let load = |word: *const u64| unsafe { word.read_volatile() };
    let next_hop = LinkAddress::from_word(load(from_ref(&backend.next_hop).cast()));
    (next_hop, Departure::from_word(load(from_ref(&backend.departure).cast())))
}

/// This CPU's counters of a service.
#[inline(always)]
pub fn service_stats(id: u32) -> Option<&'static mut ServiceStats> {
    // SAFETY: the record is this CPU's own, and XDP does not nest.
    SERVICE_STATS.get_ptr_mut(id).map(|stats| unsafe { &mut *stats })
}

/// This CPU's counters of a backend.
#[inline(always)]
pub fn backend_stats(index: u32) -> Option<&'static mut BackendStats> {
    // SAFETY: the record is this CPU's own, and XDP does not nest.
    BACKEND_STATS.get_ptr_mut(index).map(|stats| unsafe { &mut *stats })
}

/// This CPU's counter of a verdict.
#[inline(always)]
pub fn verdict(counter: u32) -> Option<&'static mut PacketCount> {
    // SAFETY: the record is this CPU's own, and XDP does not nest.
    VERDICTS.get_ptr_mut(counter).map(|count| unsafe { &mut *count })
}

/// The time.
#[inline(always)]
pub fn now() -> Tick {
    if enabled(features::TEST_CLOCK) {
        return CLOCK.get(0).map_or(0, |ticks| *ticks as Tick);
    }
    // SAFETY: a helper without arguments.
    (unsafe { bpf_ktime_get_coarse_ns() } >> TICK_SHIFT) as Tick
}
