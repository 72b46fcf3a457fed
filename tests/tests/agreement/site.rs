//! The balancers that program and model are compared on.

use lb_common::backend::{Departure, LinkAddress};
use lb_tests::fixture::balancer::{Balancer, way};
use lb_userspace::{
    dataplane::{Operation, Way},
    neighbour::NextHop,
};

use super::ground::ELSEWHERE;

/// Backends by the last part of their address, in both families: whether they are behind the interface that packets come
/// in by, VLAN and MTU on the way.
const WAYS: &[(u8, bool, u16, u32)] = &[
    (11, true, 0, 1500),
    (12, false, 0, 1400),
    (13, true, 100, 1500),
    (14, false, 4094, 9000),
    (16, true, 0, 1500),
    (17, false, 0, 1500),
];
/// A backend whose next hop never answers.
const SILENT: u8 = 15;

struct Service {
    name: &'static str,
    address: &'static str,
    protocol: &'static str,
    forwarding: &'static str,
    backends: &'static [&'static str],
}

impl Service {
    fn table(&self) -> String {
        let Self { name, address, protocol, forwarding, backends } = self;
        let alone = name.contains("any") || *name == "v6-gue";
        let hash_on = if alone { "addresses" } else { "flow" };
        let clamped = ["v4-dsr", "v4-ipip", "v6-ipip", "v6-gue", "v4-nat"].contains(name);
        let mss = if clamped { "mss = 1200\n" } else { "" };
        let start = format!(
            "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n\
             forwarding = \"{forwarding}\"\nslots = 256\nhash_on = \"{hash_on}\"\n{mss}"
        );
        backends.iter().enumerate().fold(start, |text, (index, backend)| {
            text + &format!("[[service.backend]]\nname = \"b{index}\"\naddress = \"{backend}\"\n")
        })
    }
}

const fn service(
    name: &'static str,
    address: &'static str,
    protocol: &'static str,
    forwarding: &'static str,
    backends: &'static [&'static str],
) -> Service {
    Service { name, address, protocol, forwarding, backends }
}

const V4: &[&str] = &["198.18.0.11", "198.18.0.12", "198.18.0.13", "198.18.0.14"];
const V6: &[&str] = &["2001:db8:18::11", "2001:db8:18::12", "2001:db8:18::13", "2001:db8:18::14"];
const BOTH: &[&str] = &[
    "198.18.0.11",
    "198.18.0.12",
    "198.18.0.13",
    "198.18.0.14",
    "2001:db8:18::11",
    "2001:db8:18::12",
    "2001:db8:18::13",
    "2001:db8:18::14",
];

/// With a port of their own, and with the service's.
const NAT4: &[&str] = &["198.18.0.11:8080", "198.18.0.12:8080", "198.18.0.13:8080", "198.18.0.14"];
const NAT6: &[&str] =
    &["[2001:db8:18::11]:8080", "[2001:db8:18::12]:8080", "[2001:db8:18::13]:8080", "2001:db8:18::14"];

/// Every forwarding mode, family and protocol, and services that cannot deliver.
const SERVICES: &[Service] = &[
    service("v4-dsr", "192.0.2.10:80", "tcp", "l2-dsr", V4),
    service("v4-dsr-udp", "192.0.2.10:53", "udp", "l2-dsr", V4),
    service("v4-dsr-any", "192.0.2.11:0", "tcp", "l2-dsr", &["198.18.0.11"]),
    service("v4-dsr-one", "192.0.2.11:8583", "tcp", "l2-dsr", &["198.18.0.12"]),
    service("v4-ipip", "192.0.2.20:80", "tcp", "ipip", BOTH),
    service("v4-ipip-udp", "192.0.2.20:53", "udp", "ipip", BOTH),
    service("v4-gue", "192.0.2.30:80", "tcp", "gue", BOTH),
    service("v4-gue-udp-any", "192.0.2.30:0", "udp", "gue", BOTH),
    service("v6-dsr", "[2001:db8::10]:80", "tcp", "l2-dsr", V6),
    service("v6-dsr-udp", "[2001:db8::10]:53", "udp", "l2-dsr", V6),
    service("v6-ipip", "[2001:db8::20]:80", "tcp", "ipip", BOTH),
    service("v6-ipip-any", "[2001:db8::21]:0", "udp", "ipip", BOTH),
    service("v6-gue", "[2001:db8::30]:80", "tcp", "gue", BOTH),
    service("v6-gue-udp", "[2001:db8::30]:53", "udp", "gue", BOTH),
    service("v4-nat", "192.0.2.50:80", "tcp", "nat", NAT4),
    service("v4-nat-udp", "192.0.2.50:53", "udp", "nat", NAT4),
    service("v4-nat-any", "192.0.2.51:0", "tcp", "nat", &["198.18.0.16", "198.18.0.17"]),
    service("v4-nat-one", "192.0.2.51:8583", "tcp", "nat", &["198.18.0.16"]),
    service("v6-nat", "[2001:db8::50]:80", "tcp", "nat", NAT6),
    service("v6-nat-udp", "[2001:db8::50]:53", "udp", "nat", NAT6),
    service("v6-nat-any", "[2001:db8::51]:0", "udp", "nat", &["2001:db8:18::16", "2001:db8:18::17"]),
    service("v6-nat-one", "[2001:db8::51]:8583", "udp", "nat", &["2001:db8:18::16"]),
    service("v4-nobody", "192.0.2.40:80", "tcp", "l2-dsr", &[]),
    service("v6-nobody", "[2001:db8::40]:53", "udp", "l2-dsr", &[]),
    service("v4-silent", "192.0.2.41:53", "udp", "ipip", &["198.18.0.15"]),
    service("v4-lost", "192.0.2.42:80", "tcp", "l2-dsr", &["198.18.0.11"]),
    service("v6-lost", "[2001:db8::42]:80", "tcp", "gue", &["198.18.0.11"]),
];

/// A kind of balancer: which services it has, and what its daemon's table says.
pub struct Site {
    pub name: &'static str,
    wanted: fn(&str) -> bool,
    daemon: &'static str,
    /// Of a thousand packets so many.
    pub share: u64,
}

/// With every feature, and such as a specialised program has few of them.
pub const SITES: &[Site] = &[
    Site {
        name: "everything, sources of a prefix",
        wanted: |_| true,
        // A prefix whose low 16 bits all vary: only so does the sum of the outer checksum overflow twice.
        daemon: "tunnel_source = [\"198.18.0.0/15\", \"2001:db8:64::/64\"]\ngue_port = 5555\n",
        share: 600,
    },
    Site { name: "everything, own addresses", wanted: |_| true, daemon: "", share: 150 },
    Site { name: "nat alone", wanted: |name| name.contains("nat"), daemon: "", share: 100 },
    Site { name: "IPv4 by l2-dsr alone", wanted: |name| name.starts_with("v4-dsr"), daemon: "", share: 50 },
    Site { name: "ipip alone", wanted: |name| name.contains("ipip"), daemon: "", share: 50 },
    Site { name: "one service by gue over IPv6", wanted: |name| name == "v6-gue", daemon: "", share: 50 },
];

fn ways(ingress: u32) -> Vec<NextHop> {
    let mut ways = Vec::new();
    for &(host, near, vlan, mtu) in WAYS {
        let port = if near { ingress } else { ELSEWHERE };
        for (address, own) in
            [(format!("198.18.0.{host}"), "198.18.0.2"), (format!("2001:db8:18::{host}"), "2001:db8:18::2")]
        {
            let local = Some(own.parse().unwrap());
            let hop = way(address.parse().unwrap(), [2, 0, 0, 0, 0, host], [2, 0, 0, 0, 1, host], port);
            ways.push(NextHop { local, vlan, mtu, ..hop });
        }
    }
    assert!(WAYS.iter().all(|(host, ..)| *host != SILENT));
    ways
}

/// Loads a balancer of the kind, which packets come in to by the interface of that index; services called "lost" have lost the way to their backend.
pub fn load(site: &Site, ingress: u32) -> Balancer {
    let wanted = SERVICES.iter().filter(|service| (site.wanted)(service.name));
    let text = wanted.fold(site.daemon.to_owned(), |text, service| text + &service.table());
    let mut balancer = Balancer::load(&text, &ways(ingress)).unwrap().with_ingress(ingress);
    let nowhere = Way {
        next_hop: LinkAddress { mac: [0; 6], flags: 0 },
        departure: Departure { mac: [0; 6], vlan: 0 },
        ifindex: ELSEWHERE,
        mtu: 0,
    };
    for name in ["v4-lost", "v6-lost"].into_iter().filter(|name| (site.wanted)(name)) {
        let index = balancer.backend(name, "b0").unwrap().index;
        balancer.apply(&Operation::SetWay { index, way: nowhere }).unwrap();
    }
    balancer
}
