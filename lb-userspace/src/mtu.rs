//! Whether a service's packets fit into the way to its backends, in the modes whose program looks at their length:
//! tunnels, which add to it, and nat.
//!
//! Docs: docs/decisions/0013-narrow-ways.md.

use crate::{
    config::{Backend, Protocol, Service},
    neighbour::{Interface, NextHop},
};
use lb_common::backend::Forwarding;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Bytes of an outer header of IPv4 and of IPv6, and what gue's UDP header adds.
const OUTER: [u32; 2] = [20, 40];
const UDP_HEADER: u32 = 8;
/// Bytes of the inner IPv4 or IPv6 header and TCP's, which a segment size leaves out (RFC 9293 section 3.7.1).
const INNER: [u32; 2] = [40, 60];
/// Senders of IPv6 do not go below this, whatever they are told (RFC 8200 section 5, RFC 8201 section 4).
const LEAST_V6: u32 = 1280;
/// Senders of IPv4 need not go below this (RFC 1122 section 3.3.3), and the balancer does not fragment.
const LEAST_V4: u32 = 576;

/// One backend's way and what it leaves for packets of a service.
struct Fit<'a> {
    service: &'a Service,
    backend: &'a Backend,
    way: &'a NextHop,
    /// Bytes that the mode puts in front.
    added: u32,
    /// Longest packet of the service, in bytes from its IP header on.
    room: u32,
}

impl Fit<'_> {
    /// What every packet of the service must be able to have, and why.
    const fn least(&self) -> (u32, &'static str) {
        if self.service.address.is_ipv6() {
            (LEAST_V6, "no sender of IPv6 goes below 1280 (RFC 8200 section 5)")
        } else {
            (LEAST_V4, "senders of IPv4 need not go below 576 (RFC 1122 section 3.3.3)")
        }
    }

    const fn is_too_narrow(&self) -> bool {
        self.room < self.least().0
    }

    /// The way and its room, in words.
    fn shown(&self) -> String {
        let Self { way, added, room, service, .. } = self;
        let mode = service.forwarding.name();
        let added = if *added > 0 { format!(" (\"{mode}\" adds {added})") } else { String::new() };
        format!("by {}, of MTU {}, has room for packets of {room} bytes{added}", way.interface, way.mtu)
    }

    fn name(&self) -> String {
        format!("{}/{} ({})", self.service.name, self.backend.name, self.backend.address)
    }

    /// How the way gets room for packets of `wanted` bytes.
    fn mend(&self, wanted: u32) -> String {
        let (mtu, interface) = (wanted + self.added, &self.way.interface);
        let address = self.way.address;
        format!(
            "give the way an MTU of {mtu} or more (ip link set {interface} mtu {mtu}; `ip route get {address}` shows one of the route's own)"
        )
    }
}

/// Bytes that the mode puts in front of a packet; `None`: the program does not look at lengths.
const fn added(forwarding: Forwarding, backend: IpAddr) -> Option<u32> {
    let outer = OUTER[backend.is_ipv6() as usize];
    match forwarding {
        Forwarding::L2Dsr => None,
        Forwarding::Nat => Some(0),
        Forwarding::Ipip => Some(outer),
        Forwarding::Gue => Some(outer + UDP_HEADER),
    }
}

fn fits<'a>(services: &'a [Service], ways: &'a [NextHop]) -> impl Iterator<Item = Fit<'a>> {
    let ways: BTreeMap<IpAddr, &NextHop> = ways.iter().map(|way| (way.address, way)).collect();
    let all = services.iter().flat_map(|service| service.backends.iter().map(move |b| (service, b)));
    all.filter_map(move |(service, backend)| {
        let added = added(service.forwarding, backend.address)?;
        let way = *ways.get(&backend.address)?;
        Some(Fit { service, backend, way, added, room: way.mtu.saturating_sub(added) })
    })
}

/// Backends whose way is too narrow for what their service must carry, a line each: what is wrong, and how to mend it.
#[must_use]
pub fn too_narrow(services: &[Service], ways: &[NextHop]) -> Vec<String> {
    let narrow = fits(services, ways).filter(Fit::is_too_narrow);
    let lines = narrow.map(|fit| {
        let (least, why) = fit.least();
        format!("backend {}: its way {}, but {why}; {}", fit.name(), fit.shown(), fit.mend(least))
    });
    lines.collect()
}

/// Services whose clients may have to be told what fits, a line each, about the narrowest way; `clients`: where they come in.
fn tight(services: &[Service], ways: &[NextHop], clients: &Clients) -> Vec<String> {
    let of_service = |service: &Service| {
        let one = std::slice::from_ref(service);
        let tight = || fits(one, ways).filter(|fit| !fit.is_too_narrow() && fit.room < clients.mtu);
        let fit = tight().min_by_key(|fit| fit.room)?;
        let more = match tight().count() - 1 {
            0 => String::new(),
            1 => ", and to another backend".to_owned(),
            more => format!(", and to {more} other backends"),
        };
        let segment = fit.room - INNER[usize::from(service.address.is_ipv6())];
        let announce = match service.protocol {
            Protocol::Tcp => format!(
                ", or have the backends announce segments of at most {segment} bytes (ip route change ... advmss {segment})"
            ),
            Protocol::Udp => String::new(),
        };
        let Clients { interface, mtu } = clients;
        Some(format!(
            "the way to {} {}{more}, and clients send up to {mtu} by {interface}; they are told by ICMP what fits, and one that does not hear it stalls; {}{announce}",
            fit.name(),
            fit.shown(),
            fit.mend(*mtu),
        ))
    };
    services.iter().filter_map(of_service).collect()
}

/// The widest of the interfaces that clients come in by.
#[derive(Clone, Debug)]
struct Clients {
    interface: String,
    mtu: u32,
}

/// What there is to warn of, told once for as long as it lasts.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    clients: Option<Clients>,
    told: BTreeSet<String>,
}

impl Warnings {
    /// Nothing told yet, for clients that come in by these interfaces.
    #[must_use]
    pub fn new(interfaces: &[Interface]) -> Self {
        let widest = interfaces.iter().max_by_key(|interface| interface.mtu);
        let clients = widest.map(|widest| Clients { interface: widest.name.clone(), mtu: widest.mtu });
        Self { clients, told: BTreeSet::new() }
    }

    /// What there is to warn of now and was not the last time.
    pub fn news(&mut self, services: &[Service], ways: &[NextHop]) -> Vec<String> {
        let mut lines = too_narrow(services, ways);
        if let Some(clients) = &self.clients {
            lines.extend(tight(services, ways, clients));
        }
        let before = std::mem::replace(&mut self.told, lines.iter().cloned().collect());
        lines.retain(|line| !before.contains(line));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::{Warnings, too_narrow};
    use crate::{
        config::{Service, parse},
        neighbour::{Interface, NextHop},
    };

    const V4: &str = "192.0.2.10:80";
    const V6: &str = "[2001:db8::10]:80";

    fn service(name: &str, address: &str, forwarding: &str, backends: &[&str]) -> Service {
        let protocol = if name.ends_with("udp") { "udp" } else { "tcp" };
        let start = format!(
            "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"{protocol}\"\nforwarding = \"{forwarding}\"\nslots = 64\n"
        );
        let text = backends.iter().enumerate().fold(start, |text, (number, backend)| {
            text + &format!("[[service.backend]]\nname = \"b{number}\"\naddress = \"{backend}\"\n")
        });
        parse(&text, "lb.toml").unwrap().services.remove(0)
    }

    fn way(address: &str, mtu: u32) -> NextHop {
        NextHop {
            address: address.parse().unwrap(),
            ifindex: 3,
            port: 3,
            vlan: 0,
            local: None,
            interface: "eth1".to_owned(),
            source: [2, 0, 0, 0, 0, 1],
            // Not resolved: its MTU is known all the same.
            mac: None,
            gateway: None,
            mtu,
        }
    }

    fn interface(name: &str, mtu: u32) -> Interface {
        let name = name.to_owned();
        Interface { index: 2, name, mac: None, mtu, up: true, carrier: true, xdp: None, vlan: None }
    }

    /// The least that the way must have: outer family and mode by inner family.
    #[test]
    fn a_way_is_too_narrow_below_what_the_version_must_carry() {
        for (vip, forwarding, backend, least) in [
            (V4, "ipip", "198.18.0.11", 576 + 20),
            (V4, "ipip", "2001:db8:18::11", 576 + 40),
            (V4, "gue", "198.18.0.11", 576 + 28),
            (V4, "gue", "2001:db8:18::11", 576 + 48),
            (V4, "nat", "198.18.0.11", 576),
            (V6, "ipip", "198.18.0.11", 1280 + 20),
            (V6, "ipip", "2001:db8:18::11", 1280 + 40),
            (V6, "gue", "198.18.0.11", 1280 + 28),
            (V6, "gue", "2001:db8:18::11", 1280 + 48),
            (V6, "nat", "2001:db8:18::11", 1280),
        ] {
            let services = [service("web", vip, forwarding, &[backend])];
            let lines = |mtu| too_narrow(&services, &[way(backend, mtu)]);
            assert_eq!(lines(least), [""; 0], "{vip} {forwarding} {backend}");
            let [line] = &lines(least - 1)[..] else { panic!("{vip} {forwarding} {backend}: no line") };
            for words in [
                format!("backend web/b0 ({backend}): its way by eth1, of MTU {}, ", least - 1),
                format!("give the way an MTU of {least} or more (ip link set eth1 mtu {least}; "),
            ] {
                assert!(line.contains(&words), "no {words:?} in {line}");
            }
        }
    }

    #[test]
    fn the_whole_line() {
        let services = [service("web6", V6, "gue", &["198.18.0.11", "198.18.0.12"])];
        let lines = too_narrow(&services, &[way("198.18.0.11", 1300), way("198.18.0.12", 1400)]);
        assert_eq!(
            lines,
            [
                "backend web6/b0 (198.18.0.11): its way by eth1, of MTU 1300, has room for packets of 1272 bytes (\"gue\" adds 28), but no sender of IPv6 goes below 1280 (RFC 8200 section 5); give the way an MTU of 1308 or more (ip link set eth1 mtu 1308; `ip route get 198.18.0.11` shows one of the route's own)"
            ]
        );
    }

    #[test]
    fn l2_dsr_looks_at_no_length() {
        let services = [service("web6", V6, "l2-dsr", &["2001:db8:18::11"])];
        assert_eq!(too_narrow(&services, &[way("2001:db8:18::11", 600)]), [""; 0]);
        let mut warnings = Warnings::new(&[interface("eth0", 9000)]);
        assert_eq!(warnings.news(&services, &[way("2001:db8:18::11", 600)]), [""; 0]);
    }

    #[test]
    fn clients_that_may_have_to_be_told_are_a_warning_of_their_service() {
        let backends = ["198.18.0.11", "198.18.0.12", "2001:db8:18::13"];
        let services = [service("web", V4, "ipip", &backends), service("dns-udp", V6, "gue", &backends[..1])];
        let ways = |mtu| backends.map(|backend| way(backend, mtu));
        let interfaces = [interface("eth0", 1500), interface("eth2", 1400)];
        let told = |mtu| Warnings::new(&interfaces).news(&services, &ways(mtu));
        assert_eq!(
            told(1500),
            [
                "the way to web/b2 (2001:db8:18::13) by eth1, of MTU 1500, has room for packets of 1460 bytes (\"ipip\" adds 40), and to 2 other backends, and clients send up to 1500 by eth0; they are told by ICMP what fits, and one that does not hear it stalls; give the way an MTU of 1540 or more (ip link set eth1 mtu 1540; `ip route get 2001:db8:18::13` shows one of the route's own), or have the backends announce segments of at most 1420 bytes (ip route change ... advmss 1420)",
                "the way to dns-udp/b0 (198.18.0.11) by eth1, of MTU 1500, has room for packets of 1472 bytes (\"gue\" adds 28), and clients send up to 1500 by eth0; they are told by ICMP what fits, and one that does not hear it stalls; give the way an MTU of 1528 or more (ip link set eth1 mtu 1528; `ip route get 198.18.0.11` shows one of the route's own)"
            ]
        );
        // By 20 bytes of an IPv4 header alone, then by none.
        assert_eq!(told(1528).len(), 1);
        assert_eq!(told(1540), [""; 0]);
        let mut nobody = Warnings::new(&[]);
        assert_eq!(nobody.news(&services, &ways(1500)), [""; 0], "no interface to come in by");
    }

    #[test]
    fn a_warning_is_told_once_for_as_long_as_it_lasts() {
        let services = [service("web6", V6, "ipip", &["198.18.0.11"])];
        let mut warnings = Warnings::new(&[interface("eth0", 1500)]);
        let mut news = |mtu| warnings.news(&services, &[way("198.18.0.11", mtu)]).len();
        assert_eq!([1500, 1500, 1400, 1400, 1299, 1299, 1520, 1500].map(&mut news), [1, 0, 1, 0, 1, 0, 0, 1]);
    }
}
