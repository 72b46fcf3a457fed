//! Holds the maps' layout to [`ABI_VERSION`]: a daemon adopts pinned maps of its own version without looking
//! at them.

use bytemuck::Zeroable;
use lb_common::answer::Budget;
use lb_common::backend::{Backend, Departure, Forwarding, LinkAddress, link_flags};
use lb_common::counters::{BackendStats, PacketCount, ServiceStats, VERDICT_COUNTERS, Verdict};
use lb_common::flow::{
    ClientKey, FlowClass, FlowEntry, FlowKeyV4, FlowKeyV6, Load, Overflow, Owner, TICK_SHIFT, TrackStats,
};
use lb_common::fragment::{FRAGMENT_SECONDS, Fragment, FragmentKey};
use lb_common::label::{BackendLabel, Name, ServiceLabel};
use lb_common::latency::{Awaits, BUCKETS, LatencyStats, SampledFlow, Sampling};
use lb_common::meta::{Meta, features};
use lb_common::nat::{ReturnEnd, ReturnKey};
use lb_common::service::{MAX_AT_PLACE, PLACES, Service, ServiceKey, ServiceLine, place, service_flags};
use lb_common::slot::{NO_BACKEND, Phase, Slot};
use lb_common::{ABI_VERSION, limits};
use std::fmt::Write;

/// Every version with its fingerprint. Released lines never change; a new layout is a new line.
const RECORDED: &[(u32, u64)] =
    &[(1, 0x4167_6e17_711a_d3f4), (2, 0x2cdb_4089_987d_2b5d), (3, 0xe848_ba14_e65d_f986)];

/// Adds name, size and alignment of a record, and offset and size of each of its fields. The pattern makes a
/// field that is not listed a compile error.
macro_rules! describe {
    ($text:expr, $($record:ident { $($field:ident),* $(,)? })*) => {$({
        let $record { $($field),* } = $record::zeroed();
        writeln!($text, "{} {} {}", stringify!($record), size_of::<$record>(), align_of::<$record>())?;
        $(writeln!($text, " {} {} {}", stringify!($field), core::mem::offset_of!($record, $field), size_of_val(&$field))?;)*
    })*};
}

/// Adds names and values of constants.
macro_rules! constants {
    ($text:expr, $($constant:expr),* $(,)?) => {
        $(writeln!($text, "{} = {}", stringify!($constant), $constant)?;)*
    };
}

/// Everything that both sides must agree on, as text.
fn layout() -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    describe! { text,
        ServiceKey { address, port, protocol, reserved }
        Service { id, first_slot, slot_mask, mss, flags, ring }
        ServiceLine { service, next, key, reserved }
        Slot { backend, previous, since }
        LinkAddress { mac, flags }
        Departure { mac, vlan }
        Backend { next_hop, departure, ifindex, generation, address, tunnel_source, service, port, mtu, forwarding, source_bits }
        PacketCount { packets, bytes }
        ServiceStats { packets, bytes, dropped }
        BackendStats { packets, bytes, connections, return_packets, return_bytes, resets }
        ReturnKey { address, port, protocol, reserved }
        ReturnEnd { address, service, port, backend }
        FlowKeyV4 { source, ports, service }
        FlowKeyV6 { source, ports, service }
        Owner { backend, class, generation }
        FlowEntry { owner, seen, reserved }
        Overflow { at, count }
        Load { live, weight }
        ClientKey { source, service }
        TrackStats { lookups, hits, opened, learned, reused, orphaned, overflows }
        LatencyStats { total_ns, connect_ns, connects, errors, buckets }
        SampledFlow { asked, since, sequence, backend, awaits }
        Sampling { rate, addresses_only }
        FragmentKey { source, destination, identification, protocol }
        Fragment { ports, seen }
        Budget { saved, at }
        ServiceLabel { name }
        BackendLabel { name, weight, service }
        Meta { abi_version, features, log_level, program_id, answer_rate, reserved, hash_key, build, room }
    }
    writeln!(text, "Name {} {}", size_of::<Name>(), align_of::<Name>())?;
    constants! { text,
        NO_BACKEND, link_flags::RESOLVED, link_flags::DOWN, Forwarding::L2Dsr as u8, Forwarding::Ipip as u8, Forwarding::Gue as u8, Forwarding::Nat as u8,
        features::IPV6, features::EVERY_PORT, features::UDP, features::IPIP, features::GUE, features::NAT, features::JUMBO, features::ADDRESSES_ONLY, features::MSS, features::ROUND_ROBIN, features::PER_CLIENT, features::LEAST_CONNECTIONS, features::SAMPLING,
        service_flags::ADDRESSES_ONLY, service_flags::ROUND_ROBIN, service_flags::LEAST_CONNECTIONS, service_flags::PER_CLIENT, FlowClass::Opening as u16,
        FlowClass::Open as u16, FlowClass::Closing as u16, TICK_SHIFT, VERDICT_COUNTERS,
        Awaits::Nothing as u16, Awaits::SynAck as u16, Awaits::Answer as u16, BUCKETS, FRAGMENT_SECONDS, PLACES, MAX_AT_PLACE, place([1, 2, 3, 4, 5]), limits::NAME_BYTES, limits::MAX_SERVICES, limits::MAX_BACKENDS,
    }
    for bits in 0..4u32 {
        let slot = Slot { backend: 0, previous: 0, since: bits << 30 };
        let phase = match slot.phase() {
            Phase::Stable => "stable",
            Phase::Learn => "learn",
            Phase::Hold => "hold",
        };
        writeln!(text, "phase {bits} {phase}")?;
    }
    for verdict in Verdict::all() {
        writeln!(text, "verdict {} {} {}", verdict.counter(), verdict.action(), verdict.reason())?;
    }
    Ok(text)
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): tells texts apart and is the same on every machine.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[test]
fn the_layout_changes_only_with_its_version() -> std::fmt::Result {
    let layout = layout()?;
    let found = fnv1a(&layout);
    let latest = RECORDED.last().copied();
    assert!(
        latest == Some((ABI_VERSION, found)),
        "the maps' layout has the fingerprint {found:#018x} at ABI_VERSION {ABI_VERSION}, but {latest:x?} is recorded: \
         raise ABI_VERSION in lb-common/src/lib.rs and add (its new value, {found:#018x}) to RECORDED.\n{layout}"
    );
    Ok(())
}

#[test]
fn versions_rise_and_no_two_layouts_are_the_same() {
    assert!(RECORDED.is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
}
