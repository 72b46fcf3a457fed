//! What is remembered of sampled flows, and the latencies that came of it.

use super::{MMAPABLE, enabled};
use aya_ebpf::{
    btf_maps::{Array, LruHashMap, PerCpuArray},
    helpers::bpf_ktime_get_ns,
    macros::btf_map,
};
use lb_common::{
    flow::TICK_SHIFT,
    latency::{LatencyStats, SampledFlow, Sampling},
    meta::features,
    slot::BackendIndex,
};

/// Bounded by forgetting the oldest: that costs a sample.
#[btf_map]
static SAMPLES: LruHashMap<u64, SampledFlow, 16_384> = LruHashMap::new();
/// Beside SERVICES: which of a service's flows are sampled.
#[btf_map]
static SAMPLING: Array<Sampling, 1024, MMAPABLE> = Array::new();
/// Beside BACKENDS.
#[btf_map]
static LATENCY: PerCpuArray<LatencyStats, 1024> = PerCpuArray::new();

/// Which flows of a service are sampled.
#[inline(always)]
pub fn sampling(service: u32) -> Sampling {
    SAMPLING.get(service).copied().unwrap_or(Sampling::NONE)
}

/// What is remembered of a flow.
#[inline(always)]
pub fn sampled(key: u64) -> Option<&'static mut SampledFlow> {
    // SAFETY: inside the value. Processors that have packets of one flow at the same time may spoil each other's sample,
    // which is one of many.
    SAMPLES.get_ptr_mut(key).map(|flow| unsafe { &mut *flow })
}

/// Remembers a flow.
#[inline(always)]
pub fn remember(key: u64, flow: &SampledFlow) {
    let _ = SAMPLES.insert(key, flow, 0);
}

/// Forgets a flow.
#[inline(always)]
pub fn forget(key: u64) {
    let _ = SAMPLES.remove(key);
}

/// This CPU's latencies of a backend.
#[inline(always)]
pub fn latency(backend: BackendIndex) -> Option<&'static mut LatencyStats> {
    // SAFETY: the record is this CPU's own, and XDP does not nest.
    LATENCY.get_ptr_mut(backend.into()).map(|stats| unsafe { &mut *stats })
}

/// The time in nanoseconds: of sampled packets alone, because the exact clock costs more than all else that they do.
#[inline(always)]
pub fn exact_now() -> u64 {
    if enabled(features::TEST_CLOCK) {
        return u64::from(super::now()) << TICK_SHIFT;
    }
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}
