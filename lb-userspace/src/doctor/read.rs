//! What there is: from /proc, /sys, the driver and the pinned maps.

use super::{
    ethtool::Driver,
    interface::Facts,
    machine::{Machine, Pinned},
    netdev,
};
use crate::{
    daemon::KEPT,
    dataplane::{Dataplane as _, Error, bpffs::is_bpffs, kernel::Kernel, link::Links, loader},
    neighbour::Interface,
};
use aya::{programs::ProgramType, sys::is_program_supported};
use caps::CapSet;
use lb_common::backend::Forwarding;
use nix::sys::{
    resource::{Resource, getrlimit},
    utsname::uname,
};
use std::{fs, path::Path, thread};

/// The machine.
#[must_use]
pub fn machine(pin_dir: &Path) -> Machine {
    let neighbours =
        ["ipv4", "ipv6"].map(|of| number(&format!("/proc/sys/net/{of}/neigh/default/gc_thresh3")));
    let held = caps::read(None, CapSet::Effective).unwrap_or_default();
    Machine {
        release: uname().map_or_else(|_| String::new(), |name| name.release().to_string_lossy().into_owned()),
        btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
        bpffs: bpffs(pin_dir),
        jit: number("/proc/sys/net/core/bpf_jit_enable"),
        bpf: match is_program_supported(ProgramType::Xdp) {
            Ok(true) => Ok(()),
            Ok(false) => Err("the kernel has no XDP, or does not let this user load programs".to_owned()),
            Err(error) => Err(format!("the kernel refuses bpf() ({error})")),
        },
        lacking: KEPT.iter().filter(|needed| !held.contains(needed)).map(ToString::to_string).collect(),
        files: getrlimit(Resource::RLIMIT_NOFILE).ok().map(|(soft, _)| soft),
        neighbours,
        pinned: pinned(pin_dir),
    }
}

fn bpffs(pin_dir: &Path) -> Option<bool> {
    let existing = pin_dir.ancestors().find(|path| path.exists())?;
    if is_bpffs(existing) {
        return Some(true);
    }
    // Below the usual place, but nothing is mounted there yet.
    (!existing.starts_with("/sys/fs")).then_some(false)
}

fn pinned(pin_dir: &Path) -> Pinned {
    let read = || -> Result<Option<Pinned>, Error> {
        let Some(meta) = loader::pinned_meta(pin_dir)? else { return Ok(None) };
        let backends = Kernel::open(pin_dir)?.installed()?.backends;
        let build = String::from_utf8_lossy(&meta.build);
        Ok(Some(Pinned::Ours {
            backends: backends.len(),
            nat: backends.iter().any(|backend| backend.record.forwarding == Forwarding::Nat as u8),
            build: build.trim_end_matches('\0').to_owned(),
        }))
    };
    match read() {
        Ok(found) => found.unwrap_or_default(),
        Err(error) => Pinned::Unusable(error.to_string()),
    }
}

/// An interface.
#[must_use]
pub fn interface(pin_dir: &Path, interface: &Interface) -> Facts {
    let name = &interface.name;
    let driver = Driver::of(name).ok();
    let strictest = ["all", name].map(|of| number(&format!("/proc/sys/net/ipv4/conf/{of}/rp_filter")));
    let ours = Links::new(pin_dir).is_live(interface);
    Facts {
        name: name.clone(),
        up: interface.up && interface.carrier,
        driver: driver.as_ref().and_then(|driver| driver.name().ok()),
        mtu: interface.mtu,
        native: netdev::native(interface.index),
        queues: driver.as_ref().and_then(|driver| driver.receive_queues().ok()).or_else(|| queues(name)),
        cpus: thread::available_parallelism().map_or(1, |cpus| cpus.get() as u32),
        offloads: driver.and_then(|driver| driver.offloads().ok()).unwrap_or_default(),
        vlans: has_vlans(name),
        program: interface.xdp.as_ref().map(|xdp| (xdp.program_id, ours)),
        // The kernel takes the larger of both.
        rp_filter: strictest.into_iter().flatten().max(),
    }
}

/// Receive queues as the kernel numbers them, for drivers that do not tell ethtool.
fn queues(name: &str) -> Option<u32> {
    let entries = fs::read_dir(format!("/sys/class/net/{name}/queues")).ok()?;
    let queues =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("rx-")).count();
    (queues > 0).then_some(queues as u32)
}

fn has_vlans(name: &str) -> bool {
    let text = fs::read_to_string("/proc/net/vlan/config").unwrap_or_default();
    // NAME | ID | the interface below
    text.lines().any(|line| line.rsplit('|').next().is_some_and(|below| below.trim() == name))
}

fn number(file: &str) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
