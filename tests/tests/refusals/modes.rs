//! What the forwarding modes ask for: a way to the backend that is wide enough for a tunnel, and answers of nat that tell their
//! service.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_tests::{
    bed::{Bed, INTERFACE},
    config::{Service, config},
};

use super::{Row, check, file, lb, row, run};

/// A configuration of one service in this mode, whose only backend has this address.
fn with_backend(bed: &Bed, v6: bool, forwarding: &'static str, backend: IpAddr) -> Result<String> {
    let vip = SocketAddr::new(bed.vip(v6)?, 80);
    let name = if v6 { "web6" } else { "web" };
    Ok(config(bed, &[Service::tcp(name, vip).forwarding(forwarding).backend("backend-1", backend, 1)]))
}

#[test]
fn ways_that_a_tunnel_cannot_take() {
    let bed = Bed::builder().build().unwrap();
    // The far side of each route: an MTU one byte too small for one mode, family and outer family.
    let narrow = [
        ("198.18.1.1", 1299, false, "ipip", true),
        ("198.18.1.2", 1307, false, "gue", true),
        ("198.18.1.3", 595, false, "ipip", false),
        ("198.18.1.4", 603, false, "gue", false),
        ("2001:db8:5::1", 1319, true, "ipip", true),
        ("2001:db8:5::2", 1327, true, "gue", true),
    ];
    let mut lines = vec![
        "route add blackhole 203.0.113.32/28".to_owned(),
        "route add unreachable 2001:db8:113::/48".to_owned(),
    ];
    for (backend, mtu, outer_v6, ..) in narrow {
        let via = bed.client().address(outer_v6);
        lines.push(format!("route add {backend} via {via} dev {INTERFACE} mtu {mtu}"));
    }
    bed.balancer().namespace().ip(&lines).unwrap();
    let start = |v6, forwarding, backend: &str| {
        run(&bed, &with_backend(&bed, v6, forwarding, backend.parse().unwrap()).unwrap()).unwrap()
    };
    let mut rows = Vec::new();
    for forwarding in ["ipip", "gue", "nat"] {
        let no_route =
            ["backend web/backend-1", "no route to 203.0.113.99", "ip route add 203.0.113.99 via GATEWAY"];
        rows.push(row("no route", start(false, forwarding, "203.0.113.99"), &no_route));
        let refused =
            ["backend web/backend-1", "the route to 203.0.113.40 is of type blackhole", "remove that route"];
        rows.push(row("a refusing route", start(false, forwarding, "203.0.113.40"), &refused));
        let refused = ["backend web6/backend-1", "the route to 2001:db8:113::1 is of type unreachable"];
        rows.push(row("a refusing route, IPv6", start(true, forwarding, "2001:db8:113::1"), &refused));
        let own = bed.balancer().address(false).to_string();
        let says = ["backend web/backend-1", "is this host's own address", "another host"];
        rows.push(row("its own address", start(false, forwarding, &own), &says));
    }
    for (backend, mtu, _, forwarding, v6) in narrow {
        let (service, least) = if v6 { ("web6", "1280 (RFC 8200") } else { ("web", "576 (RFC 1122") };
        let mut row = row("too narrow", start(v6, forwarding, backend), &[least, forwarding]);
        row.says.extend([
            format!("backend {service}/backend-1 ({backend}): its way by {INTERFACE}, of MTU {mtu}, "),
            format!("has room for packets of {} bytes", if v6 { 1279 } else { 575 }),
            format!("give the way an MTU of {} or more (ip link set {INTERFACE} mtu {}", mtu + 1, mtu + 1),
            format!("`ip route get {backend}`"),
        ]);
        rows.push(row);
    }
    check(&bed, rows);
}

/// Two services that would share a backend's address and port.
#[test]
fn answers_of_nat_that_tell_no_service() {
    let bed = Bed::builder().build().unwrap();
    let nat = |name, vip: &str| {
        Service::tcp(name, vip.parse().unwrap()).forwarding("nat").hosts(bed.backends(), &[1])
    };
    let bad: [(&str, [Service; 2], &[&str]); 3] = [
        (
            "one end for two",
            [nat("card", "192.0.2.10:80"), nat("wallet", "192.0.2.11:80")],
            &[
                "backend wallet/backend-1 answers from 198.18.0.11:80, and so does card/backend-1 on line",
                "give the backend another port or address",
            ],
        ),
        (
            "one end and every port",
            [nat("card", "192.0.2.10:0"), nat("wallet", "192.0.2.11:80")],
            &[
                "backend wallet/backend-1 answers from 198.18.0.11:80, and so does card/backend-1, from every port",
                "give the backend another address",
            ],
        ),
        (
            "a backend that is a service",
            [
                nat("card", "192.0.2.10:80"),
                Service::tcp("wallet", SocketAddr::new(bed.backend(0).address(false), 80)),
            ],
            &[
                "backend card/backend-1: address 198.18.0.11 is that of service \"wallet\"",
                "write the real server's",
            ],
        ),
    ];
    let mut rows: Vec<Row<'_>> = Vec::new();
    for (name, services, says) in &bad {
        for command in ["check", "run"] {
            let file = file(&bed, &config(&bed, services)).unwrap();
            let place = format!("{}:", file.display());
            let mut command = lb(&bed, &[command, "-c"]).unwrap();
            command.arg(file);
            let mut row = row(name, command, says);
            row.says.push(place);
            rows.push(row);
        }
    }
    check(&bed, rows);
}
