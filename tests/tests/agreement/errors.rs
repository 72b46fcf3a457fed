//! ICMP errors that nat rewrites: how many of each kind were compared. Random packets could well stop to be any.

use std::{collections::BTreeMap, fmt};

use lb_common::{
    backend::Forwarding,
    counters::{PassReason, Verdict},
};
use lb_tests::model::{Answer, icmp, ip, link};
use lb_userspace::dataplane::Installed;

use super::generate::Input;

/// Who is told by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    /// A backend, by a client or a router before it.
    ToBackend,
    /// A client, by the backend.
    OfBackend,
    /// A client, by a router before the backend.
    OfRouter,
}

/// A kind of error: its errand, whether it is of IPv6, and whether it left by the interface that it came in by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    errand: Errand,
    ipv6: bool,
    here: bool,
}

impl Kind {
    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        let errands = [Errand::ToBackend, Errand::OfBackend, Errand::OfRouter];
        let families = errands.into_iter().flat_map(|errand| [(errand, false), (errand, true)]);
        families.flat_map(|(errand, ipv6)| [true, false].map(|here| Self { errand, ipv6, here }))
    }

    /// The kind of a packet that ended so; `None`: not an ICMP error that nat rewrote.
    pub fn of(input: &Input, answer: &Answer, installed: &Installed) -> Option<Self> {
        let here = matches!(answer.verdict, Verdict::Transmit | Verdict::Return);
        let back = matches!(answer.verdict, Verdict::Return | Verdict::Pass(PassReason::Returned));
        let backend = installed.backends.iter().find(|backend| Some(backend.index) == answer.backend)?;
        if backend.record.forwarding != Forwarding::Nat as u8 {
            return None;
        }
        let frame = &input.frame.0;
        let link = link::read(frame).ok()?;
        let packet = ip::read(frame, link.end).ok()?;
        if ![icmp::ICMP, icmp::ICMPV6].contains(&packet.protocol) {
            return None;
        }
        let (quoted, _) = icmp::quoted(frame, &packet)?;
        let errand = match back {
            false => Errand::ToBackend,
            true if quoted.source == packet.source => Errand::OfBackend,
            true => Errand::OfRouter,
        };
        Some(Self { errand, ipv6: link.ipv6, here })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        let errand = match self.errand {
            Errand::ToBackend => "to a backend",
            Errand::OfBackend => "of a backend to a client",
            Errand::OfRouter => "of a router to a client",
        };
        let way = if self.here { "back out" } else { "elsewhere" };
        write!(f, "{family} errors {errand}, {way}")
    }
}

/// How many there were of each kind.
pub type Counts = BTreeMap<Kind, u64>;
