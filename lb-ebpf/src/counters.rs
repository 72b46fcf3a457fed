//! The one exit: every packet leaves through [`Outcome::finish`] and ends in exactly one counter of VERDICTS.

use crate::maps;
use aya_ebpf::bindings::xdp_action;
use lb_common::{
    counters::{AnswerReason, DropReason, PassReason, Verdict},
    slot::{BackendIndex, NO_BACKEND},
};

/// What becomes of a packet, and whose counters tell of it besides VERDICTS.
///
/// Flat, every field always set: an enum with different fields leaves some undefined, and the verifier refuses a
/// program that so much as copies one.
#[derive(Clone, Copy)]
pub struct Outcome {
    /// Index in VERDICTS.
    pub counter: u32,
    /// The service; [`NO_SERVICE`]: none.
    pub service: u32,
    /// The backend; [`NO_BACKEND`]: none.
    pub backend: u32,
    /// Bits of [`mark`].
    pub marks: u32,
    /// Interface to redirect to.
    pub ifindex: u32,
}

/// No service: the packet is for none, or for a virtual address as such.
pub const NO_SERVICE: u32 = u32::MAX;

/// What a packet does to its connection, as far as it is counted.
pub mod mark {
    /// It opens it.
    pub const OPENS: u8 = 1;
    /// It resets it. The highest bit.
    pub const RESETS: u8 = 2;

    /// Both bits.
    #[inline(always)]
    pub const fn of(opens: bool, resets: bool) -> u8 {
        opens as u8 * OPENS + resets as u8 * RESETS
    }
}

impl Outcome {
    #[inline(always)]
    const fn new(verdict: Verdict, service: u32) -> Self {
        Self { counter: verdict.counter(), service, backend: NO_BACKEND as u32, marks: 0, ifindex: 0 }
    }

    /// Not for a service.
    #[inline(always)]
    pub const fn pass(reason: PassReason) -> Self {
        Self::new(Verdict::Pass(reason), NO_SERVICE)
    }

    /// For a service, or a virtual address as such, which does not get it.
    #[inline(always)]
    pub const fn drop(reason: DropReason, service: u32) -> Self {
        Self::dropped(reason as u32, service)
    }

    /// The same, with the number of a [`DropReason`].
    #[inline(always)]
    pub const fn dropped(reason: u32, service: u32) -> Self {
        Self { counter: reason, service, backend: NO_BACKEND as u32, marks: 0, ifindex: 0 }
    }

    /// Answered to the sender.
    #[inline(always)]
    pub const fn answer(reason: AnswerReason, service: u32) -> Self {
        Self::new(Verdict::Answer(reason), service)
    }

    /// Sent to a backend by the interface that it came in by; `ifindex` not 0: by that one.
    #[inline(always)]
    pub const fn forward(service: u32, backend: BackendIndex, marks: u8, ifindex: u32) -> Self {
        let verdict = if ifindex == 0 { Verdict::Transmit } else { Verdict::Redirect };
        Self { backend: backend as u32, marks: marks as u32, ifindex, ..Self::new(verdict, service) }
    }

    /// A backend's answer.
    #[inline(always)]
    pub const fn returned(verdict: Verdict, backend: BackendIndex) -> Self {
        Self { backend: backend as u32, ..Self::new(verdict, NO_SERVICE) }
    }

    /// 1 for a packet that resets its connection.
    #[inline(always)]
    pub const fn resets(&self) -> u64 {
        (self.marks / mark::RESETS as u32) as u64
    }

    /// Counts the packet of `bytes` bytes; gives XDP's verdict.
    #[inline(always)]
    pub fn finish(&self, bytes: u64) -> u32 {
        if self.service != NO_SERVICE
            && let Some(stats) = maps::service_stats(self.service)
        {
            stats.packets += 1;
            stats.bytes += bytes;
            stats.dropped += u64::from(self.backend == u32::from(NO_BACKEND));
        }
        if self.backend != u32::from(NO_BACKEND)
            && let Some(stats) = maps::backend_stats(self.backend)
        {
            stats.packets += 1;
            stats.bytes += bytes;
            stats.connections += u64::from(self.marks & u32::from(mark::OPENS));
            stats.resets += self.resets();
        }
        if let Some(count) = maps::verdict(self.counter) {
            count.packets += 1;
            count.bytes += bytes;
        }
        self.action()
    }

    /// The verdict in XDP's numbers.
    #[inline(always)]
    const fn action(&self) -> u32 {
        const TRANSMIT: u32 = Verdict::Transmit.counter();
        const REDIRECT: u32 = Verdict::Redirect.counter();
        const RETURN: u32 = Verdict::Return.counter();
        match self.counter {
            TRANSMIT | RETURN => xdp_action::XDP_TX,
            REDIRECT => xdp_action::XDP_REDIRECT,
            counter if counter >= DropReason::FIRST => xdp_action::XDP_DROP,
            counter if counter >= AnswerReason::FIRST => xdp_action::XDP_TX,
            _ => xdp_action::XDP_PASS,
        }
    }
}
