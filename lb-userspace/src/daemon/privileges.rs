//! What the daemon may do: all that it needs after its start, and no more.

use anyhow::{Context as _, bail};
use caps::{CapSet, Capability, CapsHashSet};
use nix::sys::prctl::set_no_new_privs;
use std::fs;
use tracing::{info, warn};

/// What is kept: to write maps and load programs (`CAP_BPF`), to have the verifier allow what the program does with pointers
/// (`CAP_PERFMON`), and to attach programs and follow and ask neighbours (`CAP_NET_ADMIN`; checks as the VIP need it too).
pub const KEPT: [Capability; 3] = [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];

/// Lets everything else go, for good, and no program that is started could have it again.
///
/// # Errors
/// When the kernel refuses. Does nothing but say so on a kernel before 5.8, where `CAP_SYS_ADMIN` does all of this.
pub fn drop_others() -> anyhow::Result<()> {
    if !knows(Capability::CAP_BPF)? {
        warn!("this kernel has no CAP_BPF (Linux 5.8); the daemon keeps all of its capabilities");
        return Ok(());
    }
    let threads = fs::read_dir("/proc/self/task").context("cannot read /proc/self/task")?.count();
    if threads != 1 {
        // Each has capabilities of its own, and those of the others would stay.
        bail!("{threads} threads run before the capabilities are dropped");
    }
    set_no_new_privs().context("cannot give up new privileges")?;
    let kept: CapsHashSet = KEPT.into_iter().collect();
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    caps::clear(None, CapSet::Inheritable)?;
    let had = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = kept.intersection(&had).copied().collect();
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    let mut names: Vec<String> = kept.iter().map(ToString::to_string).collect();
    names.sort();
    info!("capabilities: {} are kept, {} dropped", names.join(", "), had.len() - kept.len());
    Ok(())
}

/// Whether the kernel knows it: they have grown in number only.
fn knows(capability: Capability) -> anyhow::Result<bool> {
    const LAST: &str = "/proc/sys/kernel/cap_last_cap";
    let last = fs::read_to_string(LAST).with_context(|| format!("cannot read {LAST}"))?;
    Ok(last.trim().parse::<u8>().with_context(|| format!("{LAST} is no number"))? >= capability.index())
}
