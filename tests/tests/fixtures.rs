//! The table of packet fixtures, on the real program; see [`lb_tests::fixture`].

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

mod fixtures {
    pub mod drops;
    pub mod flows;
    pub mod fragments;
    pub mod icmp;
    pub mod ipv4;
    pub mod ipv6;
    pub mod martians;
    pub mod nat;
    pub mod not_ours;
    pub mod services;
    pub mod site;
    pub mod specialised;
    pub mod truncated;
    pub mod tunnel_answers;
    pub mod tunnels;
    pub mod vlan;
}

use std::collections::HashSet;

use fixtures::{
    drops, fragments, icmp, ipv4, ipv6, martians, nat, not_ours, services, site, specialised, truncated,
    tunnel_answers, tunnels, vlan,
};
use lb_common::{
    backend::{Departure, LinkAddress},
    counters::Verdict,
};
use lb_tests::fixture::{
    Fixture,
    balancer::{Balancer, ELSEWHERE},
    check_all,
};
use lb_userspace::dataplane::{Operation, Way};

/// Rows that the table has at least; it has many more, because most are made for each mode and family.
const FEWEST_ROWS: usize = 150;

/// The balancer with all services; the backend of `lost` has lost its next hop.
fn balancer() -> Balancer {
    let mut balancer = site::load(|_| true);
    let index = balancer.backend("lost", "near").unwrap().index;
    let nowhere = Way {
        next_hop: LinkAddress { mac: [0; 6], flags: 0 },
        departure: Departure { mac: [0; 6], vlan: 0 },
        ifindex: ELSEWHERE,
        mtu: 0,
    };
    let forget = Operation::SetWay { index, way: nowhere };
    balancer.apply(&forget).unwrap();
    balancer
}

fn check(rows: &[Fixture]) {
    if let Err(failures) = check_all(&balancer(), rows) {
        panic!("{failures:#}");
    }
}

#[test]
fn what_is_not_ours_is_passed() {
    check(&not_ours::rows());
}

#[test]
fn what_is_for_a_service_is_forwarded() {
    check(&services::rows());
}

#[test]
fn ipv4_headers() {
    check(&ipv4::rows());
}

#[test]
fn ipv6_headers() {
    check(&ipv6::rows());
}

#[test]
fn icmp_messages() {
    check(&icmp::rows());
}

#[test]
fn martian_sources() {
    check(&martians::rows());
}

#[test]
fn fragments_follow_the_first() {
    check(&fragments::rows());
}

#[test]
fn truncated_frames() {
    check(&truncated::rows());
}

#[test]
fn what_cannot_be_delivered_is_dropped() {
    check(&drops::rows());
}

#[test]
fn every_verdict_has_a_row_and_every_row_a_name_of_its_own() {
    let themes = [
        not_ours::rows(),
        services::rows(),
        ipv4::rows(),
        ipv6::rows(),
        truncated::rows(),
        drops::rows(),
        specialised::rows(),
        nat::rows(),
        tunnels::rows(),
        tunnel_answers::rows(),
        tunnel_answers::narrow(),
        fragments::rows(),
        icmp::rows(),
        icmp::limited(),
        martians::rows(),
        vlan::rows(),
    ];
    let rows = themes.iter().map(Vec::len).sum::<usize>();
    println!("{rows} rows");
    assert!(rows >= FEWEST_ROWS, "the table has shrunk to {rows} rows");
    let mut verdicts = HashSet::new();
    for rows in themes {
        let mut names = HashSet::new();
        for row in rows {
            verdicts.insert(row.expected.verdict);
            assert!(names.insert(row.description.clone()), "two rows: {}", row.description);
        }
    }
    for verdict in Verdict::all() {
        assert!(verdicts.contains(&verdict), "no row ends as {} {}", verdict.action(), verdict.reason());
    }
}
