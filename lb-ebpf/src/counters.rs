//! The one exit: every packet leaves through [`Outcome::finish`] and ends in exactly one counter of VERDICTS.

use crate::maps;
use aya_ebpf::bindings::xdp_action;
use lb_common::{
    counters::{DropReason, PassReason, Verdict},
    slot::BackendIndex,
};

/// What becomes of a packet, and whose counters tell of it besides VERDICTS.
#[derive(Clone, Copy)]
pub enum Outcome {
    /// Not for a service.
    Pass(PassReason),
    /// For the service `service`, which does not get it.
    Drop { reason: DropReason, service: u32 },
    /// Sent to a backend; `ifindex` names the interface where it is another one.
    Forward { service: u32, backend: BackendIndex, opens: bool, ifindex: Option<u32> },
}

impl Outcome {
    /// Counts the packet of `bytes` bytes; gives the verdict.
    #[inline(always)]
    pub fn finish(self, bytes: u64) -> Verdict {
        let verdict = match self {
            Self::Pass(reason) => Verdict::Pass(reason),
            Self::Drop { reason, service } => {
                count_service(service, bytes, 1);
                Verdict::Drop(reason)
            }
            Self::Forward { service, backend, opens, ifindex } => {
                count_service(service, bytes, 0);
                count_backend(backend, bytes, opens);
                if ifindex.is_some() { Verdict::Redirect } else { Verdict::Transmit }
            }
        };
        if let Some(count) = maps::verdict(verdict.counter()) {
            count.packets += 1;
            count.bytes += bytes;
        }
        verdict
    }
}

/// The verdict in XDP's numbers.
#[inline(always)]
pub const fn action(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Pass(_) => xdp_action::XDP_PASS,
        Verdict::Drop(_) => xdp_action::XDP_DROP,
        Verdict::Transmit => xdp_action::XDP_TX,
        Verdict::Redirect => xdp_action::XDP_REDIRECT,
    }
}

#[inline(always)]
fn count_service(id: u32, bytes: u64, dropped: u64) {
    if let Some(stats) = maps::service_stats(id) {
        stats.packets += 1;
        stats.bytes += bytes;
        stats.dropped += dropped;
    }
}

#[inline(always)]
fn count_backend(index: BackendIndex, bytes: u64, opens: bool) {
    if let Some(stats) = maps::backend_stats(index) {
        stats.packets += 1;
        stats.bytes += bytes;
        stats.connections += u64::from(opens);
    }
}
