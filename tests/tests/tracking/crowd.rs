//! A flow table that is full, and a flood of SYNs.

use std::time::Duration;

use lb_common::{flow::TICK_SHIFT, hash::expand_key, service::TCP, slot::Slot};
use lb_tests::fixture::balancer::HASH_KEY;
use lb_userspace::{
    config::Tracking,
    dataplane::FlowTable as _,
    tracking::{Now, Sweep},
};

use super::site::{
    Sends::{Data, Syn},
    Site,
};

/// The least that the configuration takes.
const ROOM: u32 = 1024;

/// A site whose slots all went from `b1` to `b2`, with a small flow table.
fn small() -> Site {
    let mut site = Site::new("192.0.2.10:80", TCP, &[1, 1], "", &format!("flows = {ROOM}"));
    let slot = Slot::learning(site.index("b2"), site.index("b1"), 1);
    site.set_slots(slot);
    site
}

#[test]
fn a_flow_without_room_stays_with_the_previous_backend_from_its_first_packet() {
    let mut site = small();
    for number in 0..ROOM {
        assert_eq!(site.send(site.client(number), Syn), "b2");
    }
    let late = site.client(ROOM);
    assert_eq!((site.send(late, Syn), site.send(late, Data)), ("b1".to_owned(), "b1".to_owned()));
    assert_eq!(site.stats().overflows, 2);
    let slot = site.slot_of(late);
    let mark = site.balancer.kernel().overflow(slot).unwrap();
    assert_eq!((mark.at, mark.count), (super::site::START, 2));
    // Those that are known stay where they are.
    assert!((0..ROOM).all(|number| site.send(site.client(number), Data) == "b2"));
    // With room again the late one is remembered where it is.
    let gone = site.entries()[0].0;
    site.balancer.kernel().forget(&[gone, gone]).unwrap();
    assert_eq!((site.send(late, Data), site.entries().len()), ("b1".to_owned(), ROOM as usize));
}

#[test]
fn a_flood_of_a_million_syns_breaks_no_established_connection() {
    const FLOOD: u32 = 1_000_000;
    const EVERY: u32 = 10_000;
    let mut site = Site::new("192.0.2.10:80", TCP, &[1, 1], "", "flows = 4096");
    let slot = Slot::learning(site.index("b2"), site.index("b1"), 1);
    site.set_slots(slot);
    // Half of the table is of connections from before and after the change, and as many are not seen until the flood.
    let known: Vec<_> = (0..2048).map(|number| site.client(number)).collect();
    let owner: Vec<_> = known
        .iter()
        .enumerate()
        .map(|(i, client)| site.send(*client, if i % 2 == 0 { Data } else { Syn }))
        .collect();
    let unseen: Vec<_> = (2048..4096).map(|number| site.client(number)).collect();
    for number in 0..FLOOD {
        site.run(&site.packet(site.client(10_000 + number), Syn).frame());
        if number % EVERY == 0 {
            let at = (number / EVERY * 20) as usize % 2000;
            for (client, owner) in known[at..at + 20].iter().zip(&owner[at..]) {
                assert_eq!(site.send(*client, Data), *owner, "{client} after {number} SYNs");
            }
            assert!(unseen[at..at + 20].iter().all(|client| site.send(*client, Data) == "b1"));
        }
    }
    for (client, owner) in known.iter().zip(&owner) {
        assert_eq!(site.send(*client, Data), *owner, "{client} after the flood");
    }
    assert!(unseen.iter().all(|client| site.send(*client, Data) == "b1"));
    let stats = site.stats();
    println!("of {FLOOD} SYNs {} found no room and went to the previous backend: {stats:?}", stats.overflows);
    assert_eq!(site.entries().len(), 4096);
    assert!(stats.overflows >= u64::from(FLOOD - 4096), "{stats:?}");
}

#[test]
#[ignore = "a measurement: cargo test --release -p lb-tests --test tracking time_of -- --ignored --nocapture"]
fn time_of_a_sweep_of_a_full_table_in_the_kernel() {
    const FULL: u32 = 262_144;
    let mut site = Site::new("192.0.2.10:80", TCP, &[1, 1], "", &format!("flows = {FULL}"));
    let slot = Slot::learning(site.index("b2"), site.index("b1"), 1);
    site.set_slots(slot);
    for number in 0..FULL {
        site.send(site.client(number), Data);
    }
    let cpu = || nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_THREAD).unwrap();
    let mut sweep = Sweep::new(Tracking::default(), expand_key(HASH_KEY));
    sweep.install(site.balancer.installed());
    for (what, after) in [("read", 2), ("read and deleted", 3_600)] {
        let (before, mut steps, mut deleted) = (cpu(), 0, 0);
        let began = Duration::from_nanos(u64::from(super::site::START) << TICK_SHIFT);
        loop {
            let now = Now::new(began + Duration::from_secs(after) + Duration::from_millis(100) * steps);
            let progress = sweep.tick(site.balancer.kernel(), now).unwrap();
            (steps, deleted) = (steps + 1, deleted + progress.deleted);
            if progress.ended {
                break;
            }
        }
        let after = cpu();
        let user = after.user_time() - before.user_time();
        let system = after.system_time() - before.system_time();
        println!("{FULL} entries {what}: {steps} steps, {deleted} deleted, CPU {user} user, {system} system");
    }
}
