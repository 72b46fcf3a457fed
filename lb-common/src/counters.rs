//! Counters, and the reasons they are kept by. Every packet ends in exactly one counter of VERDICTS.

use bytemuck::{Pod, Zeroable};

/// A per-CPU record of VERDICTS.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PacketCount {
    /// Packets.
    pub packets: u64,
    /// Bytes of the frames, from the Ethernet header on, without FCS.
    pub bytes: u64,
}

/// A per-CPU record of `SERVICE_STATS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceStats {
    /// Packets to the service, whatever became of them.
    pub packets: u64,
    /// Bytes of the frames.
    pub bytes: u64,
    /// Packets of the service that reached no backend, for whatever reason; those answered as too big among them.
    pub dropped: u64,
}

/// A per-CPU record of `BACKEND_STATS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BackendStats {
    /// Packets forwarded to the backend.
    pub packets: u64,
    /// Bytes of the frames, as received.
    pub bytes: u64,
    /// Connection attempts: TCP segments with SYN and without ACK; 0 for UDP.
    pub connections: u64,
    /// Answers of the backend that came back through the balancer (nat).
    pub return_packets: u64,
    /// Bytes of those frames, as received.
    pub return_bytes: u64,
    /// TCP segments with RST: of clients, and of the backend where its answers come back through the balancer (nat).
    pub resets: u64,
}

const _: () = assert!(size_of::<PacketCount>() == 16);
const _: () = assert!(size_of::<ServiceStats>() == 24);
const _: () = assert!(size_of::<BackendStats>() == 48);

/// Entries of VERDICTS: room for reasons to come without a change of the map.
pub const VERDICT_COUNTERS: u32 = 64;

macro_rules! reasons {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $variant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        // As wide as a pointer: in a `Result` beside one, a narrower reason would overlay half of it, and the verifier
        // does not follow a pointer that is put together from halves.
        #[repr(u64)]
        pub enum $name { $($(#[doc = $doc])+ $variant = $value,)* }

        impl $name {
            /// Every reason, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The lowest counter; every other of this kind is above it, and below the next kind's.
            pub const FIRST: u32 = Self::ALL[0] as u32;

            /// The name under which the counter is shown.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What the reason means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)* }
            }
        }
    };
}
pub(crate) use reasons;

reasons! {
    /// Why a packet was left to the kernel (`XDP_PASS`). The value is the counter's index.
    PassReason {
        /// Neither IPv4 nor IPv6: ARP, LLDP and the like.
        NotIp = 8, "not-ip";
        /// To an address, port and protocol that no service has.
        NoService = 9, "no-service";
        /// Neither TCP nor UDP.
        OtherProtocol = 10, "other-protocol";
        /// IPv6, while no service has an IPv6 address.
        Ipv6Unused = 11, "ipv6-unused";
        /// Ended before its ports, so that no service can be named.
        Truncated = 12, "truncated";
        /// An IP header that contradicts itself before its ports, so that no service can be named.
        MalformedIp = 13, "malformed-ip";
        /// A fragment, which does not tell its ports.
        Fragment = 14, "fragment";
        /// In a link-layer broadcast or multicast.
        GroupAddressed = 15, "group-addressed";
        /// A backend's answer (nat), with the service's address as its source: the kernel's routing sends it on.
        Returned = 16, "returned";
        /// A backend's answer (nat) as it came: out of hops, too long or without a route, which the kernel tells the backend.
        ReturnRefused = 17, "return-refused";
    }
}

reasons! {
    /// Why a packet to a service was dropped (`XDP_DROP`). The value is the counter's index.
    DropReason {
        /// The service has no usable backend.
        NoBackend = 32, "no-backend";
        /// The next hop of the backend is not known yet.
        NoNextHop = 33, "no-next-hop";
        /// The IP length names more bytes than the frame has.
        IpLength = 34, "ip-length";
        /// Ended within the TCP header, or a data offset below 5 or past the packet's end.
        TcpHeader = 35, "tcp-header";
        /// Ended within the UDP header, or a UDP length below 8 or past the packet's end.
        UdpHeader = 36, "udp-header";
        /// Too long for the way to the backend once encapsulated.
        TooBig = 37, "too-big";
        /// The frame could not be given room for another header.
        NoRoom = 38, "no-room";
        /// A later fragment whose first fragment was not seen, or too long ago.
        UnknownFragment = 39, "unknown-fragment";
        /// More questions to virtual addresses than are answered in a second.
        RateLimited = 40, "rate-limited";
        /// From an address that no packet can come from.
        MartianSource = 41, "martian-source";
        /// Out of hops (time to live, hop limit) on the way to a backend of nat.
        TtlExceeded = 42, "ttl-exceeded";
    }
}

reasons! {
    /// What the balancer answers itself (`XDP_TX`). The value is the counter's index.
    AnswerReason {
        /// An echo request to a virtual address, answered.
        EchoReply = 20, "echo-reply";
        /// Too long for the way to the backend once encapsulated: the sender was told what fits.
        PacketTooBig = 21, "packet-too-big";
    }
}

/// What becomes of a packet, with the reason that it is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Sent out of the interface that it came in by (`XDP_TX`).
    Transmit,
    /// Sent out of another interface (`XDP_REDIRECT`).
    Redirect,
    /// A backend's answer (nat), sent out of the interface that it came in by (`XDP_TX`).
    Return,
    /// Answered to the sender.
    Answer(AnswerReason),
    /// Left to the kernel.
    Pass(PassReason),
    /// Dropped.
    Drop(DropReason),
}

impl Verdict {
    /// Every verdict, in the order of the counters.
    pub fn all() -> impl Iterator<Item = Self> {
        [Self::Transmit, Self::Redirect, Self::Return]
            .into_iter()
            .chain(AnswerReason::ALL.iter().copied().map(Self::Answer))
            .chain(PassReason::ALL.iter().copied().map(Self::Pass))
            .chain(DropReason::ALL.iter().copied().map(Self::Drop))
    }

    /// Index of the verdict's counter in VERDICTS.
    #[must_use]
    pub const fn counter(self) -> u32 {
        match self {
            Self::Transmit => 0,
            Self::Redirect => 1,
            Self::Return => 2,
            Self::Answer(reason) => reason as u32,
            Self::Pass(reason) => reason as u32,
            Self::Drop(reason) => reason as u32,
        }
    }

    /// What XDP does: `tx`, `redirect`, `pass` or `drop`.
    #[must_use]
    pub const fn action(self) -> &'static str {
        match self {
            Self::Transmit | Self::Return | Self::Answer(_) => "tx",
            Self::Redirect => "redirect",
            Self::Pass(_) => "pass",
            Self::Drop(_) => "drop",
        }
    }

    /// The reason's name; `forwarded` for packets that went to a backend, `returned` for its answers.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Transmit | Self::Redirect => "forwarded",
            Self::Return => PassReason::Returned.name(),
            Self::Answer(reason) => reason.name(),
            Self::Pass(reason) => reason.name(),
            Self::Drop(reason) => reason.name(),
        }
    }

    /// What the verdict means, in a sentence.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Transmit => "Sent to a backend by the interface it came in by.",
            Self::Redirect => "Sent to a backend by another interface.",
            Self::Return => "A backend's answer, sent on by the interface it came in by.",
            Self::Answer(reason) => reason.meaning(),
            Self::Pass(reason) => reason.meaning(),
            Self::Drop(reason) => reason.meaning(),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::{VERDICT_COUNTERS, Verdict};
    use std::collections::HashSet;

    #[test]
    fn every_verdict_has_a_counter_and_a_name_of_its_own() {
        let indices: HashSet<u32> = Verdict::all().map(Verdict::counter).collect();
        let names: HashSet<_> = Verdict::all().map(|v| (v.action(), v.reason())).collect();
        assert_eq!(indices.len(), Verdict::all().count());
        assert_eq!(names.len(), Verdict::all().count());
        assert!(indices.iter().all(|&index| index < VERDICT_COUNTERS));
    }
}
