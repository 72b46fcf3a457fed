//! A row's balancer, and the packets that are sent to it.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr, SocketAddr},
};

use anyhow::{Context as _, Result};
use lb_common::{
    counters::{PassReason, Verdict},
    latency::Sampling,
    service::TCP,
    slot::{NO_BACKEND, Slot},
};
use lb_tests::{
    bed::{Bed, Namespace},
    fixture::{
        balancer::{Balancer, LOOPBACK, way},
        frame::{AFTER_V4, AFTER_V6, IP, Packet, tcp_flags},
    },
};
use lb_userspace::{
    dataplane::{LatencyTable as _, Operation},
    neighbour::NextHop,
};

use crate::{
    harness::Stream,
    scenario::{MOST_TRACKED, Scenario, Tracking, Way},
};

/// Backends of the service, all of the same weight.
pub const BACKENDS: u16 = 100;
/// The last part of the balancer's own address.
const OWN: u16 = 200;
/// Slots of the service: the default.
const SLOTS: u32 = lb_common::limits::DEFAULT_SLOTS;
/// One slot in so many learns where a part of them does.
const PART: u32 = 20;
/// Entries of each flow table where nothing needs more: the default.
const FLOWS: u32 = lb_common::limits::DEFAULT_FLOWS;

/// The balancer of a row, and what is sent to it.
pub struct Site {
    /// The balancer.
    pub balancer: Balancer,
    /// The packets.
    pub stream: Stream,
    /// What becomes of each.
    pub verdict: Verdict,
}

/// Ends of the packets.
struct Ends {
    vip: SocketAddr,
    nobody: SocketAddr,
    client: SocketAddr,
}

impl Ends {
    fn of(ipv6: bool) -> Self {
        if ipv6 {
            let address = |tail: [u16; 2]| Ipv6Addr::new(0x2001, 0xdb8, tail[0], 0, 0, 0, 0, tail[1]);
            Self {
                vip: SocketAddr::new(address([0, 0x10]).into(), 443),
                nobody: SocketAddr::new(address([0, 0x99]).into(), 443),
                client: SocketAddr::new(address([0x113, 0]).into(), 1024),
            }
        } else {
            Self {
                vip: SocketAddr::from(([192, 0, 2, 10], 443)),
                nobody: SocketAddr::from(([192, 0, 2, 99], 443)),
                client: SocketAddr::from(([198, 19, 0, 0], 1024)),
            }
        }
    }
}

fn backend(ipv6: bool, number: u16) -> IpAddr {
    if ipv6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, number).into()
    } else {
        IpAddr::from([198, 18, 1, number as u8])
    }
}

impl Site {
    /// Loads the balancer. Answers need a namespace that routes them: see [`routed`].
    pub fn load(scenario: &Scenario, ingress: u32) -> Result<Self> {
        let ends = Ends::of(scenario.ipv6);
        let ways: Vec<_> = (1..=BACKENDS)
            .map(|number| {
                let mac = [2, 0, 0, 0, 1, number as u8];
                let hop = way(backend(scenario.ipv6, number), mac, [2, 0, 0, 0, 0, 2], ingress);
                NextHop { local: Some(backend(scenario.ipv6, OWN)), ..hop }
            })
            .collect();
        let configuration = configuration(scenario, &ends)?;
        let mut balancer =
            Balancer::load_with(&configuration, &ways, u32::MAX, scenario.features)?.with_ingress(ingress);
        learn(&mut balancer, scenario.tracking)?;
        if let Some(one_of) = scenario.sampled {
            let id = balancer.service("pool")?.record.id;
            balancer.kernel().set_sampling(id, Sampling::one_of(one_of, false))?;
        }
        let verdict = match scenario.way {
            Way::NotOurs | Way::NotOursNat => Verdict::Pass(PassReason::NoService),
            Way::NatAnswer => Verdict::Return,
            _ => Verdict::Transmit,
        };
        Ok(Self { balancer, stream: stream(scenario, &ends, ingress), verdict })
    }
}

fn configuration(scenario: &Scenario, ends: &Ends) -> Result<String> {
    let flows = match scenario.tracking {
        Tracking::Stable => FLOWS,
        _ if scenario.flows <= MOST_TRACKED => scenario.flows.max(FLOWS),
        _ => FLOWS,
    };
    let forwarding = match scenario.way {
        Way::L2Dsr | Way::NotOurs => "l2-dsr",
        Way::Ipip => "ipip",
        Way::Gue => "gue",
        Way::Nat | Way::NatAnswer | Way::NotOursNat => "nat",
    };
    let algorithm = if scenario.tracking == Tracking::RoundRobin { "round-robin" } else { "hash" };
    let mut text = format!(
        "flows = {flows}\n[[service]]\nname = \"pool\"\naddress = \"{}\"\nprotocol = \"tcp\"\n\
         forwarding = \"{forwarding}\"\nalgorithm = \"{algorithm}\"\nslots = {SLOTS}\n",
        ends.vip
    );
    if let Some(one_of) = scenario.sampled {
        writeln!(text, "weights = {{ mode = \"latency\", sample = {one_of} }}")?;
    }
    for number in 1..=BACKENDS {
        let address = backend(scenario.ipv6, number);
        write!(text, "[[service.backend]]\nname = \"b{number}\"\naddress = \"{address}\"\n")?;
    }
    Ok(text)
}

/// Lets slots learn, each with another backend than its own as the one before.
fn learn(balancer: &mut Balancer, tracking: Tracking) -> Result<()> {
    let every = match tracking {
        Tracking::Part => PART,
        Tracking::All => 1,
        Tracking::Stable | Tracking::RoundRobin => return Ok(()),
    };
    let service = balancer.service("pool")?;
    let first = service.record.first_slot;
    let mut before = NO_BACKEND;
    let mut slots = Vec::new();
    for (index, slot) in (first..).zip(&service.slots) {
        if (index - first).is_multiple_of(every) {
            slots.push((index, Slot::learning(slot.backend, before, 1)));
        }
        before = slot.backend;
    }
    balancer.apply(&Operation::SetSlots { service: "pool".to_owned(), slots })
}

fn stream(scenario: &Scenario, ends: &Ends, ingress: u32) -> Stream {
    let (from, to) = match scenario.way {
        Way::NotOurs | Way::NotOursNat => (ends.client, ends.nobody),
        Way::NatAnswer => (SocketAddr::new(backend(scenario.ipv6, 1), ends.vip.port()), ends.client),
        _ => (ends.client, ends.vip),
    };
    let flags = if scenario.syn { tcp_flags::SYN } else { tcp_flags::ACK };
    // 80 bytes in either family.
    let payload = vec![0; if scenario.ipv6 { 6 } else { 26 }];
    let frame = Packet::of(TCP, from, to).flags(flags).payload(&payload).frame();
    let (source, transport) = if scenario.ipv6 { (IP + 20, AFTER_V6) } else { (IP + 12, AFTER_V4) };
    let address = if scenario.ipv6 { 16 } else { 4 };
    let is_answer = scenario.way == Way::NatAnswer;
    Stream {
        frame,
        flows: scenario.flows,
        address_at: if is_answer { source + address } else { source },
        port_at: if is_answer { transport + 2 } else { transport },
        restores: matches!(scenario.way, Way::Ipip | Way::Gue),
        ingress,
    }
}

/// A bed whose balancer routes answers back to the clients; work in its namespace, with the index of its interface.
pub fn routed<T: Send>(work: impl FnOnce(u32) -> Result<T> + Send) -> Result<T> {
    let bed = Bed::builder().backends(0).uncompared().build()?;
    let namespace: &Namespace = bed.balancer().namespace();
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        namespace.set_sysctl(key, 1)?;
    }
    let mut lines = Vec::new();
    for (prefix, router) in
        [("198.19.0.0/16", "198.18.0.1".parse::<IpAddr>()?), ("2001:db8:113::/48", "2001:db8:18::1".parse()?)]
    {
        lines.push(format!("neigh replace {router} lladdr 02:00:00:00:00:01 dev eth0 nud permanent"));
        lines.push(format!("route add {prefix} via {router} dev eth0"));
    }
    namespace.ip(&lines)?;
    namespace.run_in(|| work(nix::net::if_::if_nametoindex("eth0").context("the bed has no eth0")?))
}

/// Index of the interface that packets come in by where no route is asked for.
pub const INGRESS: u32 = LOOPBACK;
