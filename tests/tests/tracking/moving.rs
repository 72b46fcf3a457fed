//! One flow in a slot that goes from `b1` to `b2`.

use std::net::SocketAddr;

use lb_common::{
    flow::{FlowClass, RETRANSMISSION, TOUCH, ticks},
    service::{TCP, UDP},
    slot::{NO_BACKEND, Slot},
};
use lb_tests::fixture::frame::{Packet, icmp};
use lb_userspace::dataplane::Operation;

use super::site::{
    Sends::{Data, Fin, Rst, Syn},
    Site, number,
};

const FAMILIES: [&str; 2] = ["192.0.2.10:80", "[2001:db8::10]:80"];

/// A site whose first client's slot went from `b1` to `b2`, and that client.
fn moved(vip: &str, protocol: u8) -> (Site, SocketAddr) {
    let mut site = Site::new(vip, protocol, &[1, 1, 1], "", "");
    let client = site.client(1);
    let slot = Slot::learning(site.index("b2"), site.index("b1"), 1);
    site.set_slot(client, slot);
    (site, client)
}

#[test]
fn a_stable_slot_reads_and_writes_no_flow() {
    for vip in FAMILIES {
        let mut site = Site::new(vip, TCP, &[1, 1], "", "");
        for number in 0..200 {
            let client = site.client(number);
            let owner = site.send(client, Syn);
            assert!([Data, Fin].iter().all(|sends| site.send(client, *sends) == owner));
        }
        assert_eq!(site.stats().lookups, 0);
        assert_eq!(site.entries(), []);
    }
}

#[test]
fn an_older_flow_stays_and_a_new_one_follows_the_slot() {
    for vip in FAMILIES {
        let (mut site, old) = moved(vip, TCP);
        assert_eq!(site.send(old, Data), "b1");
        let entries = site.entries();
        assert_eq!(entries.len(), 1);
        assert_eq!(
            (entries[0].1.owner.backend, entries[0].1.owner.class),
            (site.index("b1"), number(FlowClass::Open))
        );

        // Another flow in the same slot, which begins now.
        let new = (2..10_000)
            .map(|number| site.client(number))
            .find(|other| site.slot_of(*other) == site.slot_of(old))
            .unwrap();
        assert_eq!(site.send(new, Syn), "b2");
        assert_eq!(site.send(new, Data), "b2");
        assert_eq!(site.send(old, Data), "b1");

        // On hold both are known; a third that is not follows the slot and is not remembered.
        let slot = Slot::holding(site.index("b2"), 2);
        site.set_slot(old, slot);
        assert_eq!((site.send(old, Data), site.send(new, Data)), ("b1".to_owned(), "b2".to_owned()));
        let third = (2..10_000)
            .map(|number| site.client(number))
            .filter(|other| site.slot_of(*other) == site.slot_of(old))
            .nth(1)
            .unwrap();
        assert_eq!((site.send(third, Syn), site.send(third, Data)), ("b2".to_owned(), "b2".to_owned()));
        assert_eq!(site.entries().len(), 2);
        let stats = site.stats();
        assert_eq!((stats.lookups, stats.hits, stats.opened, stats.learned), (8, 4, 1, 1));
    }
}

#[test]
fn classes_follow_what_the_client_sends() {
    let (mut site, client) = moved(FAMILIES[0], TCP);
    site.send(client, Syn);
    assert_eq!(site.class(), number(FlowClass::Opening));
    site.send(client, Data);
    assert_eq!(site.class(), number(FlowClass::Open));
    site.send(client, Fin);
    assert_eq!(site.class(), number(FlowClass::Closing));
    // Half closed: it goes on, to the same backend.
    assert_eq!(site.send(client, Data), "b2");
    assert_eq!(site.class(), number(FlowClass::Closing));

    let (mut site, client) = moved(FAMILIES[0], TCP);
    assert_eq!(site.send(client, Rst), "b1");
    assert_eq!(site.class(), number(FlowClass::Closing));
}

#[test]
fn a_packet_keeps_an_entry_young_with_few_writes() {
    let (mut site, client) = moved(FAMILIES[0], TCP);
    site.send(client, Data);
    let seen = |site: &mut Site| site.entries()[0].1.seen;
    let first = seen(&mut site);
    site.wait(TOUCH - 1);
    site.send(client, Data);
    assert_eq!(seen(&mut site), first);
    site.wait(1);
    site.send(client, Data);
    assert_eq!(seen(&mut site), first + TOUCH);
}

#[test]
fn a_syn_soon_after_is_a_retransmission_and_a_late_one_a_new_connection() {
    let (mut site, client) = moved(FAMILIES[0], TCP);
    // Remembered with the previous backend, as a flow from before the change.
    assert_eq!(site.send(client, Data), "b1");
    site.wait(RETRANSMISSION - 1);
    assert_eq!(site.send(client, Syn), "b1");
    site.wait(RETRANSMISSION);
    assert_eq!(site.send(client, Syn), "b2");
    assert_eq!(site.send(client, Data), "b2");
    assert_eq!((site.stats().reused, site.entries().len()), (1, 1));
}

#[test]
fn a_port_used_again_at_once_after_its_end_is_a_new_connection() {
    let (mut site, client) = moved(FAMILIES[0], TCP);
    assert_eq!((site.send(client, Data), site.send(client, Fin)), ("b1".to_owned(), "b1".to_owned()));
    assert_eq!(site.send(client, Syn), "b2");
    assert_eq!((site.class(), site.stats().reused), (number(FlowClass::Opening), 1));
}

#[test]
fn a_dead_backend_owns_nothing() {
    let (mut site, client) = moved(FAMILIES[0], TCP);
    assert_eq!(site.send(client, Data), "b1");
    let index = site.index("b1");
    site.balancer.apply(&Operation::SetDown { index, down: true }).unwrap();
    // Its flow is chosen anew, and so is one that nobody remembers.
    assert_eq!(site.send(client, Data), "b2");
    assert_eq!(site.stats().orphaned, 1);
    let other = (2..10_000)
        .map(|number| site.client(number))
        .find(|other| site.slot_of(*other) == site.slot_of(client))
        .unwrap();
    assert_eq!(site.send(other, Data), "b2");
    // Alive again, it has what it is given from then on.
    site.balancer.apply(&Operation::SetDown { index, down: false }).unwrap();
    assert_eq!((site.send(client, Data), site.send(other, Data)), ("b2".to_owned(), "b2".to_owned()));
}

#[test]
fn a_slot_that_learns_without_a_previous_backend_leads_to_its_own() {
    let mut site = Site::new(FAMILIES[0], TCP, &[1, 1], "", "");
    let client = site.client(1);
    let slot = Slot::learning(site.index("b2"), NO_BACKEND, 1);
    site.set_slot(client, slot);
    assert_eq!((site.send(client, Data), site.send(client, Syn)), ("b2".to_owned(), "b2".to_owned()));
}

#[test]
fn udp_stays_with_the_previous_backend_and_a_quic_initial_does_not() {
    for vip in ["192.0.2.10:443", "[2001:db8::10]:443"] {
        let (site, client) = moved(vip, UDP);
        assert_eq!(site.send(client, Data), "b1");
        let initial = |first: u8, version: [u8; 4], length: usize| {
            let mut payload = vec![first];
            payload.extend(version);
            payload.resize(length, 0);
            payload
        };
        let mut number = 1;
        let mut to = |payload: &[u8]| {
            number += 1;
            let same = |other: &SocketAddr| site.slot_of(*other) == site.slot_of(client);
            let other =
                (number * 1000..number * 1000 + 10_000).map(|number| site.client(number)).find(same).unwrap();
            site.run(&Packet::of(UDP, other, site.vip).payload(payload).frame()).unwrap()
        };
        assert_eq!(to(&initial(0xc3, [0, 0, 0, 1], 1200)), "b2", "version 1");
        assert_eq!(to(&initial(0xd3, [0x6b, 0x33, 0x43, 0xcf], 1200)), "b2", "version 2");
        assert_eq!(to(&initial(0xc3, [0, 0, 0, 1], 1199)), "b1", "too short for an Initial");
        assert_eq!(to(&initial(0xe3, [0, 0, 0, 1], 1200)), "b1", "a Handshake packet");
        assert_eq!(to(&initial(0x43, [0, 0, 0, 1], 1200)), "b1", "a short header");
        assert_eq!(to(&initial(0xc3, [0, 0, 0, 0], 1200)), "b1", "version negotiation");
    }
}

#[test]
fn an_icmp_error_follows_its_flow_and_is_not_remembered() {
    for vip in FAMILIES {
        let (mut site, client) = moved(vip, TCP);
        let unreachable = if site.vip.is_ipv4() { [3, 4] } else { [2, 0] };
        let error = icmp::error(client.ip(), &site.packet(client, Data), unreachable, [0; 4], 60).frame();
        assert_eq!(site.run(&error).unwrap(), "b1");
        assert_eq!(site.entries(), []);
        assert_eq!(site.send(client, Syn), "b2");
        assert_eq!(site.run(&error).unwrap(), "b2");
        assert_eq!(site.class(), number(FlowClass::Opening));
        site.wait(ticks(60_000));
        assert_eq!(site.run(&error).unwrap(), "b2");
    }
}
