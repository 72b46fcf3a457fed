//! Next hops of real interfaces, routes and neighbours, in network namespaces that each test makes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

#[path = "neighbour/bed.rs"]
mod bed;

use std::{net::IpAddr, time::Duration};

use bed::{Bed, EAST_MAC, PEER_EAST_MAC, PEER_WEST_MAC, WEST_MAC, ip};
use lb_userspace::neighbour::{Change, NextHop, Refusal, ResolveError, Resolver, Watch};
use tokio::time::{Instant, timeout};

/// For what should happen at once; long enough for a busy machine.
const SOON: Duration = Duration::from_secs(10);

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

async fn resolve_one(resolver: &Resolver, text: &str) -> Result<NextHop, ResolveError> {
    resolver.resolve_all(&[address(text)], SOON).await.remove(0)
}

/// Waits for changes until the condition holds.
async fn until(watch: &mut Watch, what: &str, mut holds: impl AsyncFnMut(Change) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let change = tokio::time::timeout_at(deadline, watch.changed()).await;
        let change = change.unwrap_or_else(|_| panic!("not noticed in {SOON:?}: {what}"));
        if holds(change).await {
            return;
        }
    }
}

#[test]
fn on_link() {
    Bed::new().run(async {
        let resolver = Resolver::new().unwrap();
        let own = [
            ("198.18.1.2", "198.18.1.1"),
            ("2001:db8:1::2", "2001:db8:1::1"),
            ("::ffff:198.18.1.2", "198.18.1.1"),
        ];
        for (text, local) in own {
            let next_hop = resolve_one(&resolver, text).await.unwrap();
            let ifindex = resolver.interface("east").await.unwrap().unwrap().index;
            let expected = NextHop {
                address: address(text).to_canonical(),
                ifindex,
                port: ifindex,
                vlan: 0,
                local: Some(address(local)),
                interface: "east".to_owned(),
                source: EAST_MAC,
                mac: Some(PEER_EAST_MAC),
                gateway: None,
                mtu: 1500,
            };
            assert_eq!(next_hop, expected);
            assert_eq!(resolver.resolve(address(text)).await.unwrap(), expected, "without soliciting");
        }
    });
}

#[test]
fn through_a_gateway() {
    Bed::new().run(async {
        ip("route add 203.0.113.0/24 via 198.18.1.2 mtu 1400
            route add 2001:db8:ff::/48 via 2001:db8:2::2
            route add 198.51.100.0/24 via inet6 fe80::2:2 dev west");
        let resolver = Resolver::new().unwrap();
        for (text, gateway, source, mac, mtu) in [
            ("203.0.113.9", "198.18.1.2", EAST_MAC, PEER_EAST_MAC, 1400),
            ("2001:db8:ff::9", "2001:db8:2::2", WEST_MAC, PEER_WEST_MAC, 1500),
            ("198.51.100.9", "fe80::2:2", WEST_MAC, PEER_WEST_MAC, 1500),
        ] {
            let next_hop = resolve_one(&resolver, text).await.unwrap();
            assert_eq!(next_hop.gateway, Some(address(gateway)));
            assert_eq!((next_hop.source, next_hop.mac, next_hop.mtu), (source, Some(mac), mtu), "{text}");
        }
    });
}

#[test]
fn through_a_multipath_route() {
    Bed::new().run(async {
        ip("route add 203.0.113.0/24 nexthop via 198.18.1.2 nexthop via 198.18.2.2
            nexthop add id 1 via 198.18.2.2 dev west
            route add 198.51.100.0/24 nhid 1");
        let resolver = Resolver::new().unwrap();
        let next_hop = resolve_one(&resolver, "203.0.113.9").await.unwrap();
        assert!(
            [(EAST_MAC, Some(PEER_EAST_MAC)), (WEST_MAC, Some(PEER_WEST_MAC))]
                .contains(&(next_hop.source, next_hop.mac)),
            "{next_hop:?}"
        );
        let next_hop = resolve_one(&resolver, "198.51.100.9").await.unwrap();
        assert_eq!((next_hop.source, next_hop.mac), (WEST_MAC, Some(PEER_WEST_MAC)));
    });
}

#[test]
fn addresses_without_a_next_hop() {
    Bed::new().run(async {
        ip("route add unreachable 203.0.113.1
            route add blackhole 203.0.113.2
            route add prohibit 203.0.113.3
            route add unreachable 2001:db8:ff::1
            route add blackhole 2001:db8:ff::2
            route add prohibit 2001:db8:ff::3
            tuntap add tun0 mode tun
            link set tun0 up
            route add 198.51.100.0/24 dev tun0");
        let resolver = Resolver::new().unwrap();
        for (text, expected) in [
            ("203.0.113.1", Refusal::Unreachable),
            ("203.0.113.2", Refusal::Blackhole),
            ("203.0.113.3", Refusal::Prohibit),
            ("2001:db8:ff::1", Refusal::Unreachable),
            ("2001:db8:ff::2", Refusal::Blackhole),
            ("2001:db8:ff::3", Refusal::Prohibit),
        ] {
            let error = resolver.resolve(address(text)).await.unwrap_err();
            assert!(
                matches!(error, ResolveError::Refused { refusal, .. } if refusal == expected),
                "{text}: {error:?}"
            );
        }
        for (text, expected) in [
            (
                "203.0.113.9",
                "no route to 203.0.113.9; add one (ip route add 203.0.113.9 via GATEWAY) or correct the backend's address",
            ),
            (
                "2001:db8:fe::9",
                "no route to 2001:db8:fe::9; add one (ip route add 2001:db8:fe::9 via GATEWAY) or correct the backend's address",
            ),
            (
                "198.18.1.1",
                "198.18.1.1 is this host's own address; a backend must be another host, correct the backend's address",
            ),
            (
                "2001:db8:1::1",
                "2001:db8:1::1 is this host's own address; a backend must be another host, correct the backend's address",
            ),
            (
                "198.18.1.255",
                "198.18.1.255 cannot be a backend: it is a broadcast address; give the unicast address of one host",
            ),
            (
                "198.51.100.1",
                "the route to 198.51.100.1 leaves through tun0, which has no Ethernet address; route it through an Ethernet interface",
            ),
        ] {
            assert_eq!(resolver.resolve(address(text)).await.unwrap_err().to_string(), expected);
        }
    });
}

#[test]
fn a_neighbour_that_does_not_answer() {
    Bed::new().run(async {
        let resolver = Resolver::new().unwrap();
        let addresses = ["198.18.1.2", "198.18.1.99", "2001:db8:1::99", "203.0.113.9"].map(address);
        let macs = |answers: Vec<Result<NextHop, ResolveError>>| -> Vec<_> {
            answers.into_iter().map(|answer| answer.ok().map(|next_hop| next_hop.mac)).collect()
        };
        let expected = [Some(Some(PEER_EAST_MAC)), Some(None), Some(None), None];
        // First the deadline ends it, then the kernel gives up (after about 3 s) before the deadline does.
        let first = resolver.resolve_all(&addresses, Duration::from_millis(300)).await;
        assert_eq!(macs(first), expected);
        let second = resolver.resolve_all(&addresses, Duration::from_hours(1));
        assert_eq!(macs(timeout(SOON, second).await.expect("waits on what the kernel gave up")), expected);
    });
}

#[test]
fn a_new_mac_is_noticed() {
    let bed = Bed::new();
    bed.run(async {
        let resolver = Resolver::new().unwrap();
        let mut watch = Watch::new().unwrap();
        resolve_one(&resolver, "198.18.1.2").await.unwrap();
        bed.peer.ip("link set peer-east address 02:00:00:00:01:aa");
        until(&mut watch, "the peer's new MAC", async |change| {
            let mac = resolver.resolve(address("198.18.1.2")).await.unwrap().mac;
            change.neighbours && mac == Some([2, 0, 0, 0, 1, 0xaa])
        })
        .await;
    });
}

#[test]
fn a_moved_route_is_noticed() {
    Bed::new().run(async {
        ip("route add 203.0.113.0/24 via 198.18.1.2");
        let resolver = Resolver::new().unwrap();
        let mut watch = Watch::new().unwrap();
        assert_eq!(resolve_one(&resolver, "203.0.113.9").await.unwrap().source, EAST_MAC);
        ip("route replace 203.0.113.0/24 via 198.18.2.2");
        until(&mut watch, "the moved route", async |change| {
            change.routes && resolver.resolve(address("203.0.113.9")).await.unwrap().source == WEST_MAC
        })
        .await;
        // A link that goes down takes its routes with it, without a word about them.
        ip("link set west down");
        until(&mut watch, "the link that went down", async |change| {
            change.links
                && matches!(resolver.resolve(address("203.0.113.9")).await, Err(ResolveError::NoRoute { .. }))
        })
        .await;
    });
}

#[test]
fn refreshing_confirms_what_is_stale_and_spares_what_is_permanent() {
    Bed::new().run(async {
        let resolver = Resolver::new().unwrap();
        let mut watch = Watch::new().unwrap();
        ip("neigh replace 198.18.1.2 lladdr 02:00:00:00:01:02 nud stale dev east
            neigh replace 198.18.2.2 lladdr 02:00:00:00:02:bb nud permanent dev west");
        let texts = ["198.18.1.2", "198.18.2.2", "2001:db8:1::2"];
        let mut next_hops = Vec::new();
        for text in texts {
            next_hops.push(resolver.resolve(address(text)).await.unwrap());
        }
        assert_eq!(
            next_hops.iter().map(|next_hop| next_hop.mac).collect::<Vec<_>>(),
            [Some(PEER_EAST_MAC), Some([2, 0, 0, 0, 2, 0xbb]), None]
        );
        assert_eq!(resolver.refresh(&next_hops).await.unwrap(), 2, "the stale one and the unknown one");
        resolver.solicit(&next_hops[1]).await.unwrap();
        let show = |state: &str| {
            let output = std::process::Command::new("ip").args(["neigh", "show", "nud", state]).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        assert!(show("permanent").contains("198.18.2.2"), "still permanent");
        assert!(!show("stale").contains("198.18.1.2"), "under confirmation");
        until(&mut watch, "the solicited neighbour", async |_| {
            resolver.resolve(address("2001:db8:1::2")).await.unwrap().mac == Some(PEER_EAST_MAC)
        })
        .await;
    });
}

#[test]
fn interfaces() {
    Bed::new().run(async {
        let resolver = Resolver::new().unwrap();
        let east = resolver.interface("east").await.unwrap().unwrap();
        assert_eq!((east.name.as_str(), east.mac, east.mtu), ("east", Some(EAST_MAC), 1500));
        assert!(east.up && east.carrier);
        assert_eq!(east.xdp, None);
        assert_eq!(resolver.interface("lo").await.unwrap().unwrap().mac, None);
        assert_eq!(resolver.interface("nonesuch").await.unwrap(), None);
        let all = resolver.interfaces().await.unwrap();
        let mut names: Vec<_> = all.iter().map(|interface| interface.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["east", "lo", "west"]);
        assert!(all.contains(&east));
        ip("link set east down mtu 1400");
        let east = resolver.interface("east").await.unwrap().unwrap();
        assert_eq!((east.mtu, east.up), (1400, false));
    });
}

#[test]
fn a_flood_of_changes_is_told_as_everything() {
    Bed::new().run(async {
        let mut watch = Watch::new().unwrap();
        // The commands block this thread, so nobody reads the socket: its buffer (about 200 KiB) overruns.
        let flood: Vec<_> =
            (0..2000).map(|n| format!("route add 203.0.{}.{} via 198.18.1.2", n / 250, n % 250)).collect();
        batch(&flood.join("\n"));
        until(&mut watch, "the overrun", async |change| change == Change::EVERYTHING).await;
        // And it listens on.
        ip("route add 198.51.100.0/24 via 198.18.1.2");
        until(&mut watch, "a route after the overrun", async |change| change.routes).await;
    });
}

#[test]
fn as_many_backends_as_there_can_be() {
    Bed::new().run(async {
        ip("route add 203.0.0.0/16 via 198.18.1.2");
        let resolver = Resolver::new().unwrap();
        let addresses: Vec<_> =
            (0..4096_u16).map(|n| IpAddr::from([203, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]])).collect();
        let started = Instant::now();
        let next_hops = resolver.resolve_all(&addresses, SOON).await;
        println!("4096 next hops in {:?}", started.elapsed());
        assert!(
            next_hops.iter().flatten().filter(|next_hop| next_hop.mac == Some(PEER_EAST_MAC)).count() == 4096
        );
    });
}

/// Runs many `ip` commands in one process.
fn batch(lines: &str) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, lines.as_bytes()).unwrap();
    ip(&format!("-batch {}", file.path().display()));
}
