//! Plans carried out on the fake: what the maps hold afterwards, what moved, and what a crash in between leaves.

use super::{plan, slots_moved};
use crate::{
    config::Algorithm,
    dataplane::{Dataplane as _, Installed, Operation, Sizes, Way, fake::Fake},
    state::{DesiredBackend, DesiredService},
    table::{Member, quotas},
};
use lb_common::{
    backend::{Departure, Forwarding, LinkAddress},
    nat::ReturnKey,
    service::{ServiceKey, TCP},
    slot::{NO_BACKEND, Phase},
};
use proptest::prelude::*;
use std::net::IpAddr;

const SIZES: Sizes = Sizes { services: 16, backends: 64, slots: 4096, flows: 64 };

fn backend(number: u8, weight: u32, known: bool) -> DesiredBackend {
    DesiredBackend {
        name: format!("b{number}"),
        address: IpAddr::from([198, 18, 0, number]),
        weight,
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
    }
}

/// Plans and carries out; gives the operations.
fn bring(maps: &mut Fake, desired: &[DesiredService]) -> Vec<Operation> {
    let operations = plan(&maps.installed().unwrap(), desired, 7).unwrap();
    for operation in &operations {
        maps.apply(operation).unwrap();
    }
    operations
}

/// Checks that the maps hold exactly what is desired.
fn check(installed: &Installed, desired: &[DesiredService]) {
    assert_eq!(installed.services.len(), desired.len());
    assert_eq!(installed.backends.len(), desired.iter().map(|service| service.backends.len()).sum::<usize>());
    let mut ranges = Vec::new();
    for want in desired {
        let have = installed.services.iter().find(|have| have.key == want.key).unwrap();
        assert_eq!((&have.name, have.slots.len()), (&want.name, want.slots as usize));
        ranges.push((have.record.first_slot, have.record.first_slot + have.record.slot_mask));
        let mut members = Vec::new();
        for want in &want.backends {
            let same = |b: &&_| b_matches(b, have.record.id, want);
            let found = installed.backends.iter().find(same).unwrap();
            let reachable = found.record.next_hop.is_resolved();
            members.push(Member {
                name: &want.name,
                index: found.index,
                weight: if reachable { want.weight } else { 0 },
            });
        }
        for (member, quota) in members.iter().zip(quotas(&members, want.slots)) {
            let owned = have.slots.iter().filter(|slot| slot.backend == member.index).count();
            assert_eq!(owned, quota as usize, "{} of {}", member.name, want.name);
        }
        assert!(have.slots.iter().all(|slot| slot.phase() == Phase::Stable));
    }
    let mut addresses: Vec<_> = desired.iter().map(|service| service.key.ip()).collect();
    addresses.dedup();
    assert_eq!(installed.vips.iter().map(|(address, _)| *address).collect::<Vec<_>>(), addresses);
    assert_eq!(installed.vips.iter().map(|(_, services)| services).sum::<u32>() as usize, desired.len());
    check_answers(installed, desired);
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "slot ranges overlap: {ranges:?}");
}

/// Checks that every backend of nat answers for its service, and nothing else does.
fn check_answers(installed: &Installed, desired: &[DesiredService]) {
    let mut wanted = 0;
    for service in desired.iter().filter(|service| service.forwarding == Forwarding::Nat) {
        let have = installed.services.iter().find(|have| have.key == service.key).unwrap();
        for backend in &service.backends {
            let end = installed.returns[&ReturnKey::new(backend.address, backend.port, TCP)];
            let found = installed.backends.iter().find(|have| have.index == end.backend).unwrap();
            assert_eq!((end.address, end.port), (service.key.address, service.key.port));
            assert_eq!((end.service, found.service()), (have.record.id, have.record.id));
            assert_eq!(found.name, backend.name);
            wanted += 1;
        }
    }
    assert_eq!(installed.returns.len(), wanted);
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
    let operations = bring(&mut maps, &desired);
    check(&maps.installed().unwrap(), &desired);
    let freed = at(&operations, |operation| matches!(operation, Operation::FreeBackend { .. }));
    assert!(at(&operations, |operation| matches!(operation, Operation::RemoveReturn { .. })) > freed);

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
    check(&maps.installed().unwrap(), &desired);
    assert_eq!(bring(&mut maps, &desired), []);
}

#[test]
fn a_weight_moves_only_what_it_must_and_keeps_the_index() {
    let mut maps = Fake::new(SIZES);
    bring(&mut maps, &[service("web", 80, 256, vec![backend(1, 1, true), backend(2, 1, true)])]);
    let before = maps.installed().unwrap();
    let desired = [service("web", 80, 256, vec![backend(1, 1, true), backend(2, 3, true)])];
    let operations = bring(&mut maps, &desired);
    let after = maps.installed().unwrap();
    check(&after, &desired);
    assert_eq!(slots_moved(&operations), 64);
    assert_eq!(before.backends[0].index, after.backends[0].index);
}

#[test]
fn a_changed_address_gets_a_new_index_and_no_index_comes_back_at_once() {
    let mut maps = Fake::new(SIZES);
    bring(&mut maps, &[service("web", 80, 64, vec![backend(1, 1, true)])]);
    let mut seen = vec![maps.installed().unwrap().backends[0].index];
    for last in 100..110 {
        let mut moved = backend(1, 1, true);
        moved.address = IpAddr::from([198, 18, 0, last]);
        let desired = [service("web", 80, 64, vec![moved])];
        bring(&mut maps, &desired);
        check(&maps.installed().unwrap(), &desired);
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
    let operations = bring(&mut maps, &desired);
    check(&maps.installed().unwrap(), &desired);
    assert_eq!(slots_moved(&operations), 32);
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
    let told = |desired: &[DesiredService]| plan(&installed, desired, 0).unwrap_err().to_string();
    let two = vec![backend(1, 1, true), backend(2, 1, true)];
    assert!(told(&[service("a", 1, 64, two)]).contains("room for 1 backends"));
    assert!(told(&[service("a", 1, 128, vec![])]).contains("room for 64 slots"));
    assert!(
        told(&[service("a", 1, 64, vec![]), service("b", 2, 64, vec![])]).contains("room for 1 services")
    );
}

prop_compose! {
    fn any_desired()(services in proptest::collection::btree_map(0u16..4, (6u32..9, any::<bool>(), proptest::collection::btree_map(1u8..9, (0u32..4, any::<bool>()), 0..6)), 0..4), shift in 0u16..2) -> Vec<DesiredService> {
        services.into_iter().map(|(number, (bits, is_nat, backends))| {
            // Backends of nat move from service to service, and never are in two.
            let port = if is_nat { 8080 + number + shift } else { 0 };
            let forwarding = if is_nat { Forwarding::Nat } else { Forwarding::L2Dsr };
            let backends = backends.into_iter().map(|(n, (weight, known))| DesiredBackend { port, ..backend(n, weight, known) }).collect();
            DesiredService { forwarding, ..service(&format!("s{number}"), 80 + number, 1 << bits, backends) }
        }).collect()
    }
}

proptest! {
    /// From any state to any other, also by way of a crash after any number of operations.
    #[test]
    fn every_plan_arrives_even_after_a_crash(steps in proptest::collection::vec((any_desired(), 0usize..40), 1..6)) {
        let mut maps = Fake::new(SIZES);
        for (desired, crash_after) in steps {
            let operations = plan(&maps.installed().unwrap(), &desired, 1).unwrap();
            maps.fail_after = Some(crash_after);
            for operation in &operations {
                if maps.apply(operation).is_err() {
                    break;
                }
            }
            maps.fail_after = None;
            bring(&mut maps, &desired);
            check(&maps.installed().unwrap(), &desired);
            prop_assert!(bring(&mut maps, &desired).is_empty());
        }
    }
}
