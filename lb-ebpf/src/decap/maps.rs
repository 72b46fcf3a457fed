//! All maps and constants of the program, and their typed look-ups.

use aya_ebpf::{
    Global,
    btf_maps::{Array, HashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    counters::PacketCount,
    decap::{self, AddressKey, DECAP_ADDRESS_ENTRIES, DECAP_COUNTERS, DecapMeta},
};

const ADDRESSES: usize = DECAP_ADDRESS_ENTRIES as usize;

#[btf_map]
static DECAP_VIPS: HashMap<AddressKey, u8, ADDRESSES> = HashMap::new();
#[btf_map]
static DECAP_LOCAL: HashMap<AddressKey, u8, ADDRESSES> = HashMap::new();
#[btf_map]
static DECAP_STATS: PerCpuArray<PacketCount, { DECAP_COUNTERS as usize }> = PerCpuArray::new();
// Not for packets: who wrote the maps above, for those who read them from outside.
#[btf_map]
static DECAP_META: Array<DecapMeta, 1> = Array::new();

// Set by the loader before the program is verified, which makes it a constant.
#[unsafe(no_mangle)]
static GUE_PORT: Global<u16> = Global::new(decap::GUE_PORT);

/// The destination port of GUE, in host byte order.
#[inline(always)]
pub fn gue_port() -> u16 {
    GUE_PORT.load()
}

/// Whether the address is the interface's own.
#[inline(always)]
pub fn is_local(address: &AddressKey) -> bool {
    DECAP_LOCAL.get_ptr(address).is_some()
}

/// Whether the address is one of the VIPs.
#[inline(always)]
pub fn is_vip(address: &AddressKey) -> bool {
    DECAP_VIPS.get_ptr(address).is_some()
}

/// This CPU's counter of a verdict.
#[inline(always)]
pub fn counter(index: u32) -> Option<&'static mut PacketCount> {
    // SAFETY: the record is this CPU's own, and XDP does not nest.
    DECAP_STATS.get_ptr_mut(index).map(|count| unsafe { &mut *count })
}
