//! The namespace that the program runs in: what its routing says of answers is known, and told to the model.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_tests::{bed::Bed, fixture::frame::BALANCER_MAC, model::route::Routes};

use super::rng::Rng;

/// Any interface but those of the namespace: a test run does not carry a redirect out.
pub const ELSEWHERE: u32 = 1009;

/// Last part of the addresses of clients whose MAC address is known.
const CLIENTS: [u8; 3] = [1, 5, 7];

fn link(host: u8) -> [IpAddr; 2] {
    [
        Ipv4Addr::new(198, 18, 0, host).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, host.into()).into(),
    ]
}

const fn mac(host: u8) -> [u8; 6] {
    [2, 0, 0, 0, 2, host]
}

/// Clients on the link, behind another interface, where nobody can get, and without a route.
pub fn client(rng: &mut Rng, v4: bool) -> IpAddr {
    let [near4, near6] = link(rng.pick(&[1, 5, 7, 1, 5, 7, 8, 2, 0]));
    let host = rng.byte();
    let (net4, net6) = rng.pick(&[((203, 0, 113), 0x113), ((198, 51, 100), 0x100), ((192, 88, 99), 0x99)]);
    match (rng.percent(70), v4) {
        (true, true) => near4,
        (true, false) => near6,
        (false, true) => Ipv4Addr::new(net4.0, net4.1, net4.2, host).into(),
        (false, false) => Ipv6Addr::new(0x2001, 0xdb8, net6, 0, 0, 0, 0, host.into()).into(),
    }
}

/// A bed whose balancer has these routes.
pub fn lay() -> Bed {
    let bed = Bed::builder().backends(0).build().unwrap();
    let node = bed.balancer().namespace();
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        node.set_sysctl(key, 1).unwrap();
    }
    let mut lines = vec!["link add eth1 type veth peer name eth1-far".to_owned()];
    lines.extend(["link set eth1 up", "link set eth1-far up"].map(str::to_owned));
    for host in CLIENTS {
        let mac = mac(host).map(|byte| format!("{byte:02x}")).join(":");
        lines.extend(link(host).map(|to| format!("neigh replace {to} lladdr {mac} dev eth0 nud permanent")));
    }
    lines.extend(["203.0.113.0/24", "2001:db8:113::/48"].map(|to| format!("route add {to} dev eth1")));
    lines.extend(["198.51.100.0/24", "2001:db8:100::/48"].map(|to| format!("route add unreachable {to}")));
    node.ip(&lines).unwrap();
    bed
}

/// The same for the model.
pub fn routes() -> Routes {
    let prefix = |v4: &str, v6: &str, bits| vec![(v4.parse().unwrap(), 24), (v6.parse().unwrap(), bits)];
    let own = ["198.18.0.2", "198.18.0.255", "2001:db8:18::2", "2001:db8:18::"];
    Routes {
        own: own.map(|address| address.parse().unwrap()).to_vec(),
        here: prefix("198.18.0.0", "2001:db8:18::", 64),
        elsewhere: prefix("203.0.113.0", "2001:db8:113::", 48),
        unreachable: prefix("198.51.100.0", "2001:db8:100::", 48),
        neighbours: CLIENTS.iter().flat_map(|&host| link(host).map(|to| (to, mac(host)))).collect(),
        mac: BALANCER_MAC,
        mtu: 1500,
    }
}
