//! Fragments: the first one decides and teaches, later ones follow it.

use crate::maps;
use aya_ebpf::helpers::bpf_ktime_get_boot_ns;
use lb_common::fragment::{FRAGMENT_SECONDS, Fragment, FragmentKey};
use lb_ebpf::select::Ends;

const SECOND: u64 = 1_000_000_000;

/// Remembers the ports of a first fragment.
#[inline(always)]
pub fn teach(ends: &impl Ends, identification: u32, protocol: u8, ports: u32) {
    maps::remember(&key(ends, identification, protocol), Fragment { ports, seen: now() });
}

/// The ports of the datagram that a later fragment belongs to.
#[inline(always)]
pub fn recall(ends: &impl Ends, identification: u32, protocol: u8) -> Option<u32> {
    let fragment = maps::fragment(&key(ends, identification, protocol))?;
    (now().wrapping_sub(fragment.seen) <= FRAGMENT_SECONDS).then_some(fragment.ports)
}

#[inline(always)]
fn key(ends: &impl Ends, identification: u32, protocol: u8) -> FragmentKey {
    let destination = ends.service_key([0, 0], protocol).address;
    FragmentKey { source: ends.source(), destination, identification, protocol: protocol.into() }
}

/// Seconds of the boot clock.
#[inline(always)]
fn now() -> u32 {
    // SAFETY: a helper without arguments.
    (unsafe { bpf_ktime_get_boot_ns() } / SECOND) as u32
}
