//! What is measured: rows, each a kind of packet, a number of flows and a state of the slots.

use lb_common::meta::features;
use serde::Serialize;

/// What becomes of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// To a backend, by its MAC address.
    L2Dsr,
    /// To a backend, inside IP.
    Ipip,
    /// To a backend, inside UDP.
    Gue,
    /// To a backend, with another destination address.
    Nat,
    /// From a nat backend, back to the client.
    NatAnswer,
    /// To the kernel: no service has the address. The program has no nat.
    NotOurs,
    /// The same in a program with nat, which looks whether it is an answer.
    NotOursNat,
}

impl Way {
    /// Those that choose a backend.
    pub const FORWARDED: [Self; 4] = [Self::L2Dsr, Self::Ipip, Self::Gue, Self::Nat];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::L2Dsr => "l2-dsr",
            Self::Ipip => "ipip",
            Self::Gue => "gue",
            Self::Nat => "nat",
            Self::NatAnswer => "nat answer",
            Self::NotOurs => "not ours",
            Self::NotOursNat => "not ours, with nat",
        }
    }
}

/// What the flow table has to do with the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tracking {
    /// Nothing: all slots are stable.
    Stable,
    /// One slot in twenty learns.
    Part,
    /// All slots learn.
    All,
    /// The algorithm is round-robin, which remembers every flow.
    RoundRobin,
}

impl Tracking {
    /// Every state.
    pub const EVERY: [Self; 4] = [Self::Stable, Self::Part, Self::All, Self::RoundRobin];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Part => "5 % tracked",
            Self::All => "all tracked",
            Self::RoundRobin => "round-robin",
        }
    }
}

/// Numbers of flows.
pub const FLOWS: [u32; 5] = [1, 1 << 10, 1 << 16, 1 << 20, 1 << 24];
/// The one number of a quick run.
const QUICK: u32 = 1 << 16;
/// Most flows that the flow table is made large enough for.
pub const MOST_TRACKED: u32 = 1 << 20;

/// A row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario {
    /// What becomes of the packets.
    pub way: Way,
    /// Whether they are of IPv6.
    pub ipv6: bool,
    /// Number of flows.
    pub flows: u32,
    /// What the flow table has to do with them.
    pub tracking: Tracking,
    /// Whether all are SYNs.
    pub syn: bool,
    /// Features that the program has though nothing needs them.
    pub features: u32,
    /// The latency of one flow in so many is sampled (nat).
    pub sampled: Option<u32>,
}

impl Scenario {
    /// Packets of connections under way, in stable slots.
    #[must_use]
    pub const fn new(way: Way, ipv6: bool, flows: u32) -> Self {
        Self { way, ipv6, flows, tracking: Tracking::Stable, syn: false, features: 0, sampled: None }
    }

    /// The row's name.
    #[must_use]
    pub fn name(&self) -> String {
        let family = if self.ipv6 { "IPv6" } else { "IPv4" };
        let syn = if self.syn { ", SYN" } else { "" };
        let more = match self.features {
            0 => String::new(),
            features => format!(" + {}", names(features)),
        };
        let sampled = self.sampled.map_or_else(String::new, |one_of| format!(", 1 in {one_of} sampled"));
        format!("{} {family}{syn}{more}{sampled}", self.way.name())
    }

    /// The number of flows, as a person writes it.
    #[must_use]
    pub fn flows_name(&self) -> String {
        match self.flows {
            flows if flows >= 1 << 20 => format!("{}M", flows >> 20),
            flows if flows >= 1 << 10 => format!("{}k", flows >> 10),
            flows => flows.to_string(),
        }
    }
}

/// Names of the features whose bits are set.
#[must_use]
pub fn names(bits: u32) -> String {
    let all = [
        (features::IPV6, "ipv6"),
        (features::EVERY_PORT, "every-port"),
        (features::UDP, "udp"),
        (features::IPIP, "ipip"),
        (features::GUE, "gue"),
        (features::NAT, "nat"),
        (features::JUMBO, "jumbo"),
        (features::ADDRESSES_ONLY, "addresses-only"),
        (features::MSS, "mss"),
        (features::ROUND_ROBIN, "round-robin"),
        (features::PER_CLIENT, "per-client"),
        (features::LEAST_CONNECTIONS, "least-connections"),
        (features::SAMPLING, "sampling"),
    ];
    if bits == features::ALL {
        return "all".to_owned();
    }
    let names = all.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name);
    let names = names.collect::<Vec<_>>();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// One row for each way, family and state.
#[must_use]
pub fn quick() -> Vec<Scenario> {
    let families = [false, true];
    let mut rows = Vec::new();
    for way in Way::FORWARDED {
        rows.extend(families.map(|ipv6| Scenario::new(way, ipv6, QUICK)));
    }
    for tracking in [Tracking::Part, Tracking::All, Tracking::RoundRobin] {
        rows.push(Scenario { tracking, ..Scenario::new(Way::L2Dsr, false, QUICK) });
    }
    for way in [Way::NatAnswer, Way::NotOurs, Way::NotOursNat] {
        rows.extend(families.map(|ipv6| Scenario::new(way, ipv6, QUICK)));
    }
    rows
}

/// All rows.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut rows = Vec::new();
    for way in Way::FORWARDED {
        for ipv6 in [false, true] {
            for tracking in Tracking::EVERY {
                rows.extend(FLOWS.map(|flows| Scenario { tracking, ..Scenario::new(way, ipv6, flows) }));
            }
        }
    }
    for way in [Way::NatAnswer, Way::NotOurs, Way::NotOursNat] {
        for ipv6 in [false, true] {
            rows.extend(FLOWS.map(|flows| Scenario::new(way, ipv6, flows)));
        }
    }
    rows.extend(sampled());
    rows.extend(floods());
    rows.extend(specialised());
    rows
}

/// nat both ways, with the latency of some flows, and of all, taken.
fn sampled() -> impl Iterator<Item = Scenario> {
    let of =
        |way| [32, 1].map(|one_of| Scenario { sampled: Some(one_of), ..Scenario::new(way, false, QUICK) });
    [Way::Nat, Way::NatAnswer].into_iter().flat_map(of)
}

/// SYNs of ever new connections: in stable slots; where each makes an entry of the flow table; where it is full.
fn floods() -> impl Iterator<Item = Scenario> {
    let of = |ipv6| {
        [(Tracking::Stable, 1 << 24), (Tracking::All, MOST_TRACKED), (Tracking::All, 1 << 24)].map(
            |(tracking, flows)| Scenario { tracking, syn: true, ..Scenario::new(Way::L2Dsr, ipv6, flows) },
        )
    };
    [false, true].into_iter().flat_map(of)
}

/// What a feature costs packets that have nothing to do with it.
fn specialised() -> impl Iterator<Item = Scenario> {
    let bits = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| features::ALL & bit != 0);
    bits.chain([features::ALL])
        .map(|features| Scenario { features, ..Scenario::new(Way::L2Dsr, false, 1 << 16) })
}
