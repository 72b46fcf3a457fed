//! Plans carried out on the fake: what the maps hold afterwards, what moved, and what a crash in between leaves.

mod steps;

use super::{PlanError, Report, Settled, plan, plan_beside};
use crate::{
    config::{Algorithm, Tracking},
    dataplane::{Dataplane as _, Installed, Operation, Sizes, Way, fake::Fake},
    state::{DesiredBackend, DesiredService, Standing},
    table::{Member, fill, maglev, quotas},
    tracking::{Census, Now, Sweep},
};
use lb_common::{
    backend::{Departure, Forwarding, LinkAddress},
    nat::ReturnKey,
    service::{ServiceKey, TCP},
    slot::{NO_BACKEND, Phase, Slot},
};
use proptest::prelude::*;
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

const SIZES: Sizes = Sizes { services: 16, backends: 64, slots: 4096, flows: 64 };

fn backend(number: u8, weight: u32, known: bool) -> DesiredBackend {
    DesiredBackend {
        name: format!("b{number}"),
        address: IpAddr::from([198, 18, 0, number]),
        weight,
        share: DesiredBackend::whole_share(weight),
        standing: Standing::Serving,
        port: 0,
        tunnel_source: None,
        way: known.then(|| Way {
            next_hop: LinkAddress::resolved([2, 0, 0, 0, 0, number]),
            departure: Departure { mac: [2, 0, 0, 0, 0, 200], vlan: 0 },
            ifindex: 4,
            mtu: 1500,
        }),
    }
}

fn service(name: &str, port: u16, slots: u32, backends: Vec<DesiredBackend>) -> DesiredService {
    let key = ServiceKey::new(IpAddr::from([192, 0, 2, 10]), port, TCP);
    DesiredService {
        name: name.to_owned(),
        key,
        slots,
        forwarding: Forwarding::L2Dsr,
        mss: 0,
        flags: 0,
        algorithm: Algorithm::Hash,
        backends,
        evict: BTreeSet::new(),
    }
}

/// Plans and carries out; gives the operations.
fn bring(maps: &mut Fake, desired: &[DesiredService]) -> Vec<Operation> {
    bring_told(maps, desired).0
}

/// The same with the plan's report.
fn bring_told(maps: &mut Fake, desired: &[DesiredService]) -> (Vec<Operation>, Report) {
    let plan = plan(&maps.installed().unwrap(), desired, &Census::default(), 7).unwrap();
    for operation in &plan.operations {
        maps.apply(operation).unwrap();
    }
    (plan.operations, plan.report)
}

/// Lets sweeps and plans go on for as long as anything changes, with no flow in the tables. Each call is a daemon that
/// starts.
fn settle(maps: &mut Fake, desired: &[DesiredService], seconds: &mut u64) -> Report {
    let tracking = Tracking { learn: Duration::from_secs(3), ..Tracking::default() };
    let mut sweep = Sweep::new(tracking, [0; 10]);
    let mut quiet = 0;
    let mut report = Report::default();
    while quiet < 8 {
        let now = Now::new(Duration::from_secs(*seconds));
        let planned = plan(&maps.installed().unwrap(), desired, sweep.census(), now.seconds()).unwrap();
        report = planned.report;
        planned.operations.iter().for_each(|operation| maps.apply(operation).unwrap());
        sweep.install(&maps.installed().unwrap());
        let progress = loop {
            let progress = sweep.tick(maps, now).unwrap();
            if progress.ended {
                break progress;
            }
        };
        progress.operations.iter().for_each(|operation| maps.apply(operation).unwrap());
        let changed = !planned.operations.is_empty() || !progress.operations.is_empty();
        quiet = if changed { 0 } else { quiet + 1 };
        *seconds += 1;
    }
    report
}

/// What is desired and can be reached of a service, with the indices that the maps have.
fn members<'d>(installed: &Installed, id: u32, want: &'d DesiredService) -> Vec<Member<'d>> {
    let member = |want: &'d DesiredBackend| {
        let same = |b: &&_| b_matches(b, id, want);
        let found = installed.backends.iter().find(same).unwrap();
        assert_eq!(found.record.next_hop.is_down(), want.standing == Standing::Down);
        let takes = found.record.next_hop.is_resolved() && want.standing == Standing::Serving;
        Member { name: &want.name, index: found.index, weight: if takes { want.weight } else { 0 } }
    };
    want.backends.iter().map(member).collect()
}

/// Checks that the maps hold exactly what is desired, with nothing left of what was before.
fn check_settled(installed: &Installed, desired: &[DesiredService]) {
    let wanted: usize = desired.iter().map(|service| service.backends.len()).sum();
    assert_eq!(installed.backends.len(), wanted, "{:#?}", installed.backends);
    for want in desired {
        let have = installed.services.iter().find(|have| have.key == want.key).unwrap();
        let words: Vec<_> = have.slots.iter().filter(|slot| slot.phase() != Phase::Stable).collect();
        assert!(words.is_empty(), "{words:?}");
        let (members, slots) = (members(installed, have.record.id, want), have.slots.len() as u32);
        let table: Vec<_> = have.slots.iter().map(|slot| slot.backend).collect();
        match want.algorithm {
            Algorithm::Maglev => assert_eq!(table, maglev::table(&members, slots)),
            Algorithm::RoundRobin { .. } => assert_eq!(table, fill(&members, slots)),
            Algorithm::Hash | Algorithm::LeastConnections => {
                for (member, quota) in members.iter().zip(quotas(&members, slots)) {
                    let owned = table.iter().filter(|index| **index == member.index).count();
                    assert_eq!(owned, quota as usize, "{} of {}", member.name, want.name);
                }
            }
        }
        let ring = members.iter().filter(|member| member.weight > 0).map(|member| member.index);
        let ring: Vec<_> = ring.filter(|_| want.algorithm.is_per_client()).collect();
        assert_eq!(have.ring, ring);
    }
    check(installed, desired);
}

/// Checks what holds right after a plan: everything desired is there, and slots of services do not overlap.
fn check(installed: &Installed, desired: &[DesiredService]) {
    assert_eq!(installed.services.len(), desired.len());
    let mut ranges = Vec::new();
    for want in desired {
        let have = installed.services.iter().find(|have| have.key == want.key).unwrap();
        assert_eq!((&have.name, have.record.flags), (&want.name, want.flags));
        assert!(have.slots.len() >= want.slots as usize);
        let places = want.algorithm.places(have.record.slot_mask + 1);
        ranges.push((have.record.first_slot, have.record.first_slot + places - 1));
        let members = members(installed, have.record.id, want);
        let takes = |slot: &Slot| members.iter().any(|m| m.index == slot.backend && m.weight > 0);
        if members.iter().any(|member| member.weight > 0) {
            assert!(have.slots.iter().all(takes), "new connections go where they may");
        } else {
            assert!(have.slots.iter().all(|slot| slot.backend == NO_BACKEND));
        }
    }
    let mut addresses: Vec<_> = desired.iter().map(|service| service.key.ip()).collect();
    addresses.dedup();
    assert_eq!(installed.vips.iter().map(|(address, _)| *address).collect::<Vec<_>>(), addresses);
    assert_eq!(installed.vips.iter().map(|(_, services)| services).sum::<u32>() as usize, desired.len());
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "slot ranges overlap: {ranges:?}");
    check_answers(installed, desired);
}

/// Checks that every backend of nat answers for its service, and nothing else does.
fn check_answers(installed: &Installed, desired: &[DesiredService]) {
    for service in desired.iter().filter(|service| service.forwarding == Forwarding::Nat) {
        let have = installed.services.iter().find(|have| have.key == service.key).unwrap();
        for backend in &service.backends {
            let end = installed.returns[&ReturnKey::new(backend.address, backend.port, TCP)];
            let found = installed.backends.iter().find(|have| have.index == end.backend).unwrap();
            assert_eq!((end.address, end.port), (service.key.address, service.key.port));
            assert_eq!((end.service, found.service()), (have.record.id, have.record.id));
            assert_eq!(found.name, backend.name);
        }
    }
}

fn b_matches(have: &crate::dataplane::InstalledBackend, id: u32, want: &DesiredBackend) -> bool {
    have.service() == id
        && have.name == want.name
        && have.weight == want.weight
        && have.record.port == want.port.to_be_bytes()
        && want.way.is_none_or(|way| Way::of(&have.record) == way)
}

/// A service of nat whose backends have ports of their own.
fn nat(name: &str, port: u16, backends: Vec<DesiredBackend>) -> DesiredService {
    let backends = backends.into_iter().map(|backend| DesiredBackend { port: 8080, ..backend }).collect();
    DesiredService { forwarding: Forwarding::Nat, ..service(name, port, 64, backends) }
}

#[test]
fn answers_are_known_before_the_first_packet_and_until_the_backend_is_freed() {
    let mut maps = Fake::new(SIZES);
    let at =
        |operations: &[Operation], which: fn(&Operation) -> bool| operations.iter().position(which).unwrap();
    let desired = [nat("web", 80, vec![backend(1, 1, true), backend(2, 1, true)])];
    let operations = bring(&mut maps, &desired);
    check(&maps.installed().unwrap(), &desired);
    let slots = at(&operations, |operation| matches!(operation, Operation::SetSlots { .. }));
    let last_put = operations.iter().rposition(|operation| matches!(operation, Operation::PutReturn { .. }));
    assert!(last_put.unwrap() < slots, "{operations:#?}");
    assert_eq!(bring(&mut maps, &desired), []);

    let desired = [nat("web", 80, vec![backend(1, 1, true)])];
    bring(&mut maps, &desired);
    assert_eq!(maps.installed().unwrap().returns.len(), 2, "the one that leaves still answers its flows");
    let evict = BTreeSet::from(["b2".to_owned()]);
    let operations = bring(&mut maps, &[DesiredService { evict, ..desired[0].clone() }]);
    check(&maps.installed().unwrap(), &desired);
    let freed = at(&operations, |operation| matches!(operation, Operation::FreeBackend { .. }));
    assert!(at(&operations, |operation| matches!(operation, Operation::RemoveReturn { .. })) > freed);
    assert_eq!(maps.installed().unwrap().returns.len(), 1);

    bring(&mut maps, &[]);
    assert!(maps.installed().unwrap().returns.is_empty());
}

#[test]
fn answers_of_a_backend_that_changes_its_service_follow_the_service() {
    let mut maps = Fake::new(SIZES);
    bring(&mut maps, &[nat("old", 80, vec![backend(1, 1, true)])]);
    let desired = [nat("new", 81, vec![backend(1, 1, true)])];
    let operations = bring(&mut maps, &desired);
    check(&maps.installed().unwrap(), &desired);
    let put = operations.iter().position(|operation| matches!(operation, Operation::PutReturn { .. }));
    let service = operations.iter().position(|operation| matches!(operation, Operation::PutService { .. }));
    assert!(put > service, "{operations:#?}");
}

#[test]
fn a_plan_for_what_is_there_is_empty() {
    let mut maps = Fake::new(SIZES);
    let desired = [service("web", 80, 256, vec![backend(1, 1, true), backend(2, 2, true)])];
    bring(&mut maps, &desired);
    check_settled(&maps.installed().unwrap(), &desired);
    assert_eq!(bring(&mut maps, &desired), []);
}

#[test]
fn a_weight_moves_only_what_it_must_and_keeps_the_index() {
    let mut maps = Fake::new(SIZES);
    bring(&mut maps, &[service("web", 80, 256, vec![backend(1, 1, true), backend(2, 1, true)])]);
    let before = maps.installed().unwrap();
    let desired = [service("web", 80, 256, vec![backend(1, 1, true), backend(2, 3, true)])];
    let report = bring_told(&mut maps, &desired).1;
    let after = maps.installed().unwrap();
    check(&after, &desired);
    let told = &report.services[0];
    assert_eq!((told.moved, told.forced, told.waiting, told.stable), (64, 0, 0, 192));
    let slots: Vec<_> = told.backends.iter().map(|b| (b.backend.as_str(), b.before, b.after)).collect();
    assert_eq!(slots, [("b1", 128, 64), ("b2", 128, 192)]);
    assert_eq!(before.backends[0].index, after.backends[0].index);
}

#[test]
fn a_changed_address_gets_a_new_index_and_no_index_comes_back_at_once() {
    let (mut maps, mut seconds) = (Fake::new(SIZES), 100);
    bring(&mut maps, &[service("web", 80, 64, vec![backend(1, 1, true)])]);
    let mut seen = vec![maps.installed().unwrap().backends[0].index];
    for last in 100..110 {
        let mut moved = backend(1, 1, true);
        moved.address = IpAddr::from([198, 18, 0, last]);
        let desired = [service("web", 80, 64, vec![moved])];
        bring(&mut maps, &desired);
        settle(&mut maps, &desired, &mut seconds);
        check_settled(&maps.installed().unwrap(), &desired);
        let index = maps.installed().unwrap().backends[0].index;
        assert!(!seen.contains(&index), "index {index} came back while others were never used");
        seen.push(index);
    }
}

#[test]
fn an_unresolved_backend_gets_no_slot_until_it_answers() {
    let mut maps = Fake::new(SIZES);
    let desired = [service("web", 80, 64, vec![backend(1, 1, true), backend(2, 1, false)])];
    bring(&mut maps, &desired);
    check(&maps.installed().unwrap(), &desired);
    let desired = [service("web", 80, 64, vec![backend(1, 1, true), backend(2, 1, true)])];
    let report = bring_told(&mut maps, &desired).1;
    check(&maps.installed().unwrap(), &desired);
    assert_eq!(report.moved(), 32);
}

#[test]
fn a_service_without_usable_backends_names_none() {
    let mut maps = Fake::new(SIZES);
    bring(&mut maps, &[service("web", 80, 64, vec![backend(1, 1, true)])]);
    bring(&mut maps, &[service("web", 80, 64, vec![backend(1, 0, true)])]);
    let installed = maps.installed().unwrap();
    assert!(installed.services[0].slots.iter().all(|slot| slot.backend == NO_BACKEND));
}

#[test]
fn a_table_of_twice_the_size_keeps_every_flow_where_it_is() {
    let mut maps = Fake::new(SIZES);
    let backends = vec![backend(1, 1, true), backend(2, 3, true)];
    bring(&mut maps, &[service("web", 80, 64, backends.clone())]);
    let before = maps.installed().unwrap().services[0].clone();
    bring(&mut maps, &[service("web", 80, 128, backends)]);
    let after = maps.installed().unwrap().services[0].clone();
    for slot in 0..128 {
        assert_eq!(before.slots[slot % 64].backend, after.slots[slot].backend);
    }
}

#[test]
fn services_that_swap_their_addresses_are_never_missing() {
    let mut maps = Fake::new(SIZES);
    let (one, two) = (vec![backend(1, 1, true)], vec![backend(2, 1, true)]);
    bring(&mut maps, &[service("a", 1, 64, one.clone()), service("b", 2, 64, two.clone())]);
    let desired = [service("a", 2, 64, one), service("b", 1, 64, two)];
    let operations = bring(&mut maps, &desired);
    check(&maps.installed().unwrap(), &desired);
    assert!(!operations.iter().any(|operation| matches!(operation, Operation::RemoveService { .. })));
}

#[test]
fn maps_that_are_too_small_are_told_before_anything_changes() {
    let maps = Fake::new(Sizes { services: 1, backends: 2, slots: 64, flows: 64 });
    let installed = maps.installed().unwrap();
    let error = |desired: &[DesiredService]| -> PlanError {
        plan(&installed, desired, &Census::default(), 0).unwrap_err()
    };
    let told = |desired: &[DesiredService]| error(desired).to_string();
    let two = vec![backend(1, 1, true), backend(2, 1, true)];
    assert!(told(&[service("a", 1, 64, two)]).contains("room for 1 backends"));
    assert!(told(&[service("a", 1, 128, vec![])]).contains("room for 64 slots"));
    assert!(
        told(&[service("a", 1, 64, vec![]), service("b", 2, 64, vec![])]).contains("room for 1 services")
    );
}
