//! round-robin and least-connections.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use lb_common::{
    flow::ticks,
    service::{TCP, UDP},
};
use lb_userspace::dataplane::FlowTable as _;

use super::site::{
    Sends::{Data, Fin, Syn},
    Site,
};

const ROUND_ROBIN: &str = "algorithm = \"round-robin\"";
const PER_CLIENT: &str = "algorithm = \"round-robin\"\nper_client = true";
const LEAST: &str = "algorithm = \"least-connections\"";

/// Connections by the backend that they went to.
fn shares(site: &Site, clients: impl IntoIterator<Item = SocketAddr>) -> BTreeMap<String, u32> {
    let mut shares = BTreeMap::new();
    for client in clients {
        let owner = site.send(client, Syn);
        assert_eq!(site.send(client, Data), owner);
        *shares.entry(owner).or_default() += 1;
    }
    shares
}

fn of(counts: &[u32]) -> BTreeMap<String, u32> {
    (1..).zip(counts).map(|(number, count)| (format!("b{number}"), *count)).collect()
}

#[test]
fn round_robin_shares_ten_connections_exactly() {
    for vip in ["192.0.2.10:8583", "[2001:db8::10]:8583"] {
        let site = Site::new(vip, TCP, &[1, 1], ROUND_ROBIN, "");
        assert_eq!(shares(&site, (0..10).map(|number| site.client(number))), of(&[5, 5]));
        // At any point of the walk.
        assert_eq!(shares(&site, (10..13).map(|number| site.client(number))).values().max(), Some(&2));
        assert_eq!(shares(&site, (13..23).map(|number| site.client(number))), of(&[5, 5]));
    }
    let site = Site::new("192.0.2.10:8583", TCP, &[2, 1, 1], ROUND_ROBIN, "");
    assert_eq!(shares(&site, (0..64).map(|number| site.client(number))), of(&[32, 16, 16]));
}

#[test]
fn round_robin_keeps_connections_and_knows_a_retransmission() {
    let mut site = Site::new("192.0.2.10:8583", TCP, &[1, 1], ROUND_ROBIN, "");
    let clients: Vec<_> = (0..10).map(|number| site.client(number)).collect();
    let owners: Vec<_> = clients.iter().map(|client| site.send(*client, Syn)).collect();
    site.wait(ticks(1000));
    assert!(clients.iter().zip(&owners).all(|(client, owner)| site.send(*client, Syn) == *owner));
    site.wait(ticks(600_000));
    assert!(clients.iter().zip(&owners).all(|(client, owner)| site.send(*client, Data) == *owner));
    // After its end, the same port is a new connection, which takes its turn.
    site.send(clients[0], Fin);
    assert_eq!(shares(&site, clients[..1].iter().copied().chain([site.client(77)])), of(&[1, 1]));
}

#[test]
fn round_robin_of_udp_shares_flows() {
    let site = Site::new("192.0.2.10:53", UDP, &[1, 1], ROUND_ROBIN, "");
    assert_eq!(shares(&site, (0..10).map(|number| site.client(number))), of(&[5, 5]));
}

#[test]
fn round_robin_per_client_covers_every_backend() {
    for vip in ["192.0.2.10:8583", "[2001:db8::10]:8583"] {
        // Equal weights and very unequal ones.
        for weights in [[1, 1, 1, 1, 1], [50, 1, 1, 5, 1]] {
            let site = Site::new(vip, TCP, &weights, PER_CLIENT, "");
            let mut starts = BTreeSet::new();
            for number in 0..200 {
                let client = |port: u16| SocketAddr::new(site.client(number).ip(), 20_000 + port);
                let owners: Vec<_> = (0..8).map(|port| site.send(client(port), Syn)).collect();
                for count in 1..=8 {
                    let covered: BTreeSet<_> = owners[..count].iter().collect();
                    assert_eq!(covered.len(), count.min(5), "{count} connections: {owners:?}");
                }
                starts.insert(owners[0].clone());
            }
            assert!(starts.len() >= 4, "clients start everywhere: {starts:?}");
        }
    }
}

#[test]
fn a_backend_without_weight_is_not_in_the_ring() {
    let site = Site::new("192.0.2.10:8583", TCP, &[1, 0, 1], PER_CLIENT, "");
    let client = |port: u16| SocketAddr::new(site.client(1).ip(), 20_000 + port);
    assert_eq!(
        shares(&site, (0..6).map(client)),
        BTreeMap::from([("b1".to_owned(), 3), ("b3".to_owned(), 3)])
    );
}

/// Connections that are open at each backend, and how many there were at most of each weight unit more than elsewhere.
#[test]
fn least_connections_keeps_the_spread_small_while_one_backend_is_slow_to_close() {
    let weights = [10, 10, 20];
    let mut site = Site::new("192.0.2.10:8583", TCP, &weights, LEAST, "");
    // (when it ends, client, backend)
    let mut open: BTreeSet<(u32, SocketAddr, usize)> = BTreeSet::new();
    let mut held = [0i32; 3];
    let mut worst = 0f64;
    for step in 0..6000u32 {
        site.wait(ticks(100));
        while let Some((end, client, backend)) = open.first().copied().filter(|(end, ..)| *end <= step) {
            site.send(client, Fin);
            open.remove(&(end, client, backend));
            held[backend] -= 1;
        }
        let client = site.client(step);
        let owner: usize = site.send(client, Syn)[1..].parse().unwrap();
        site.send(client, Data);
        // Connections to the first live ten times as long.
        let life = if owner == 1 { 1000 } else { 100 };
        open.insert((step + life, client, owner - 1));
        held[owner - 1] += 1;
        if step > 1000 {
            let per_weight: Vec<_> =
                held.iter().zip(weights).map(|(held, weight)| f64::from(*held) / f64::from(weight)).collect();
            let spread = per_weight.iter().copied().fold(f64::MIN, f64::max)
                - per_weight.iter().copied().fold(f64::MAX, f64::min);
            worst = worst.max(spread);
        }
    }
    println!("live {held:?}, worst spread {worst:.2} a weight unit");
    assert!(worst <= 1.0, "{worst}");
    // What the program counts is what is open.
    for (backend, held) in held.into_iter().enumerate() {
        let index = site.index(&format!("b{}", backend + 1));
        assert_eq!(site.balancer.kernel().live(index).unwrap(), held as u64);
    }
}
