//! From any state to any other, with a crash after any operation, and with the flows watched at every one of them.

use super::*;
use std::collections::BTreeMap;

/// What a service is made of, to be chosen at random.
#[derive(Clone, Debug)]
struct Wish {
    bits: u32,
    is_nat: bool,
    algorithm: Algorithm,
    backends: BTreeMap<u8, (u32, bool, Standing)>,
    evict: bool,
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop_oneof![
        3 => Just(Algorithm::Hash),
        2 => Just(Algorithm::Maglev),
        1 => any::<bool>().prop_map(|per_client| Algorithm::RoundRobin { per_client }),
        1 => Just(Algorithm::LeastConnections),
    ]
}

fn any_standing() -> impl Strategy<Value = Standing> {
    prop_oneof![4 => Just(Standing::Serving), 1 => Just(Standing::Draining), 1 => Just(Standing::Failing), 1 => Just(Standing::Down)]
}

prop_compose! {
    fn any_wish()(
        bits in 6u32..9,
        is_nat in any::<bool>(),
        algorithm in any_algorithm(),
        backends in proptest::collection::btree_map(1u8..9, (0u32..4, any::<bool>(), any_standing()), 0..6),
        evict in proptest::bool::weighted(0.2),
    ) -> Wish {
        Wish { bits, is_nat, algorithm, backends, evict }
    }
}

prop_compose! {
    fn any_desired()(
        wishes in proptest::collection::btree_map(0u16..4, any_wish(), 0..4),
        shift in 0u16..2,
    ) -> Vec<DesiredService> {
        wishes.into_iter().map(|(number, wish)| desired(number, wish, shift)).collect()
    }
}

fn desired(number: u16, wish: Wish, shift: u16) -> DesiredService {
    // Backends of nat move from service to service, and never are in two.
    let port = if wish.is_nat { 8080 + number + shift } else { 0 };
    let forwarding = if wish.is_nat { Forwarding::Nat } else { Forwarding::L2Dsr };
    let backends = wish.backends.into_iter().map(|(n, (weight, known, standing))| DesiredBackend {
        standing,
        port,
        ..backend(n, weight, known)
    });
    let evict = (1u8..9).filter(|_| wish.evict).map(|n| format!("b{n}")).collect();
    let service = service(&format!("s{number}"), 80 + number, 1 << wish.bits, backends.collect());
    with_algorithm(DesiredService { forwarding, evict, ..service }, wish.algorithm)
}

fn with_algorithm(service: DesiredService, algorithm: Algorithm) -> DesiredService {
    use lb_common::service::service_flags::{LEAST_CONNECTIONS, PER_CLIENT, ROUND_ROBIN};
    let flags = match algorithm {
        Algorithm::Hash | Algorithm::Maglev => 0,
        Algorithm::RoundRobin { per_client } => ROUND_ROBIN | if per_client { PER_CLIENT } else { 0 },
        Algorithm::LeastConnections => LEAST_CONNECTIONS,
    };
    DesiredService { flags, algorithm, ..service }
}

/// Whose the flows are that the flow table does not have, as the packet side finds it.
fn owner_of_unknown(slot: Slot, usable: &dyn Fn(u16) -> bool) -> u16 {
    if slot.is_learning() && usable(slot.previous) { slot.previous } else { slot.backend }
}

/// No flow may notice the step from one state of the maps to the next, but those whose backend is dead by then, and the
/// flows of services that are not there any more.
fn assert_harmless(before: &Installed, after: &Installed) -> Result<(), TestCaseError> {
    let usable = |index: u16| {
        let found = after.backends.iter().find(|have| have.index == index);
        found.is_some_and(|have| !have.record.next_hop.is_down())
    };
    for old in &before.services {
        let Some(new) = after.services.iter().find(|new| new.key == old.key && new.name == old.name) else {
            continue;
        };
        for (number, slot) in new.slots.iter().enumerate() {
            let was = old.slots[number % old.slots.len()];
            let owner = owner_of_unknown(was, &usable);
            if usable(owner) {
                let now = owner_of_unknown(*slot, &usable);
                prop_assert_eq!(now, owner, "{:?} became {:?}", was, slot);
            }
            let tracked = |service: &crate::dataplane::InstalledService| {
                service.record.flags & lb_common::service::service_flags::TRACKS_ALL != 0
            };
            let looks_up = |service, slot: Slot| tracked(service) || !slot.is_stable();
            let forgets = looks_up(old, was) && !looks_up(new, *slot);
            prop_assert!(!forgets, "entries of {:?} are not looked at in {:?}", was, slot);
            prop_assert!(
                slot.backend == NO_BACKEND || after.backends.iter().any(|b| b.index == slot.backend)
            );
        }
    }
    Ok(())
}

/// Plans and carries out, and looks at the maps after every operation; stops after `most`.
fn step(maps: &mut Fake, desired: &[DesiredService], most: usize, now: u32) -> Result<(), TestCaseError> {
    let planned = plan(&maps.installed().unwrap(), desired, &Census::default(), now).unwrap();
    for operation in planned.operations.iter().take(most) {
        let before = maps.installed().unwrap();
        maps.apply(operation).unwrap();
        assert_harmless(&before, &maps.installed().unwrap())?;
    }
    Ok(())
}

proptest! {
    /// From any state to any other, also by way of a crash after any number of operations.
    #[test]
    fn every_plan_arrives_even_after_a_crash(
        steps in proptest::collection::vec((any_desired(), 0usize..40, any::<bool>()), 1..6)
    ) {
        let (mut maps, mut seconds) = (Fake::new(SIZES), 100);
        for (desired, crash_after, settles) in steps {
            step(&mut maps, &desired, crash_after, seconds as u32)?;
            step(&mut maps, &desired, usize::MAX, seconds as u32)?;
            check(&maps.installed().unwrap(), &desired);
            let again = plan(&maps.installed().unwrap(), &desired, &Census::default(), seconds as u32).unwrap();
            prop_assert!(again.operations.is_empty(), "{:#?}", again.operations);
            if settles {
                let report = settle(&mut maps, &desired, &mut seconds);
                check_settled(&maps.installed().unwrap(), &desired);
                prop_assert_eq!((report.moved(), report.waiting()), (0, 0));
            }
        }
    }
}

proptest! {
    /// Plans that leave out what is settled, whose slots they do not see, do exactly what whole ones do.
    #[test]
    fn settled_services_need_no_plan(
        steps in proptest::collection::vec((0u16..4, proptest::option::of(any_wish()), any::<bool>()), 1..12)
    ) {
        let (mut maps, mut seconds, mut settled) = (Fake::new(SIZES), 100, Settled::default());
        let (mut wishes, mut left_out) = (BTreeMap::new(), 0);
        for (number, wish, settles) in steps {
            match wish {
                Some(wish) => drop(wishes.insert(number, wish)),
                None => drop(wishes.remove(&number)),
            }
            let desired: Vec<_> =
                wishes.iter().map(|(number, wish)| desired(*number, wish.clone(), 0)).collect();
            let installed = maps.installed().unwrap();
            let whole = plan(&installed, &desired, &Census::default(), seconds as u32).unwrap();
            let names = settled.names(&desired);
            left_out += names.len();
            let mut seen = installed.clone();
            for service in seen.services.iter_mut().filter(|service| names.contains(&service.name)) {
                service.slots.clear();
                service.ring.clear();
            }
            let beside =
                plan_beside(&seen, &desired, &names, &Census::default(), seconds as u32).unwrap();
            prop_assert_eq!(&beside.operations, &whole.operations);
            for operation in &beside.operations {
                maps.apply(operation).unwrap();
            }
            settled.carried_out(&beside, desired.clone());
            if settles {
                settle(&mut maps, &desired, &mut seconds);
            }
        }
        LEFT_OUT.fetch_add(left_out, std::sync::atomic::Ordering::Relaxed);
    }
}

/// What [`settled_services_need_no_plan`] left out: without any it would prove nothing.
static LEFT_OUT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

#[test]
fn some_are_settled() {
    settled_services_need_no_plan();
    assert!(LEFT_OUT.load(std::sync::atomic::Ordering::Relaxed) > 50);
}

fn two(weights: [u32; 2]) -> Vec<DesiredBackend> {
    vec![backend(1, weights[0], true), backend(2, weights[1], true)]
}

#[test]
fn slots_that_learn_stay_until_they_are_stable_unless_they_must_go() {
    let (mut maps, mut seconds) = (Fake::new(SIZES), 100);
    bring(&mut maps, &[service("web", 80, 64, two([1, 1]))]);
    let before = maps.installed().unwrap();
    let (one, other) = (before.backends[0].index, before.backends[1].index);
    bring(&mut maps, &[service("web", 80, 64, two([1, 3]))]);
    let slots = maps.installed().unwrap().services[0].slots.clone();
    assert_eq!(slots.iter().filter(|slot| **slot == Slot::learning(other, one, 7)).count(), 16);

    let report = bring_told(&mut maps, &[service("web", 80, 64, two([0, 0]))]).1;
    let told = &report.services[0];
    assert_eq!((told.moved, told.forced, told.waiting), (64, 64, 0));
    let slots = maps.installed().unwrap().services[0].slots.clone();
    let learns =
        |previous| slots.iter().filter(|slot| **slot == Slot::learning(NO_BACKEND, previous, 7)).count();
    assert_eq!((learns(one), learns(other)), (32, 32), "nobody's flows changed hands");

    let back = [service("web", 80, 64, two([1, 0]))];
    bring(&mut maps, &back);
    let report = bring_told(&mut maps, &[service("web", 80, 64, two([1, 1]))]).1;
    assert_eq!((report.moved(), report.waiting()), (0, 32));
    let report = settle(&mut maps, &[service("web", 80, 64, two([1, 1]))], &mut seconds);
    assert_eq!(report.waiting(), 0);
    check_settled(&maps.installed().unwrap(), &[service("web", 80, 64, two([1, 1]))]);
}

#[test]
fn a_dead_backend_is_marked_before_its_slots_move_and_learns_nothing() {
    let mut maps = Fake::new(SIZES);
    bring(&mut maps, &[service("web", 80, 64, two([1, 1]))]);
    let mut backends = two([1, 1]);
    backends[0].standing = Standing::Down;
    let operations = bring(&mut maps, &[service("web", 80, 64, backends)]);
    assert!(matches!(operations[..], [Operation::SetDown { down: true, .. }, Operation::SetSlots { .. }]));
    let installed = maps.installed().unwrap();
    let held = installed.services[0].slots.iter().filter(|slot| slot.phase() == Phase::Hold).count();
    assert_eq!(held, 32);
    let operations = bring(&mut maps, &[service("web", 80, 64, two([1, 1]))]);
    assert!(matches!(operations[..], [Operation::SetDown { down: false, .. }, ..]));
}

#[test]
fn a_smaller_table_is_kept_with_a_note() {
    let mut maps = Fake::new(SIZES);
    bring(&mut maps, &[service("web", 80, 256, two([1, 1]))]);
    let (operations, report) = bring_told(&mut maps, &[service("web", 80, 64, two([1, 1]))]);
    assert_eq!(operations, []);
    assert!(report.services[0].note.as_deref().unwrap().starts_with("keeps its 256 slots"));
}

#[test]
fn tracked_services_keep_their_flows_when_the_algorithm_changes() {
    let mut maps = Fake::new(SIZES);
    let hash = service("web", 80, 64, two([1, 1]));
    let tracked = with_algorithm(hash.clone(), Algorithm::RoundRobin { per_client: true });
    bring(&mut maps, std::slice::from_ref(&tracked));
    let installed = maps.installed().unwrap();
    assert_eq!(installed.services[0].ring.len(), 2);
    assert!(installed.services[0].slots.iter().all(|slot| slot.is_stable()));
    bring(&mut maps, std::slice::from_ref(&hash));
    let slots = maps.installed().unwrap().services[0].slots.clone();
    assert!(slots.iter().all(|slot| slot.phase() == Phase::Hold), "their flows may be anyone's");
    bring(&mut maps, &[tracked]);
    let slots = maps.installed().unwrap().services[0].slots.clone();
    assert!(slots.iter().all(|slot| slot.is_learning()), "flows that only slots knew are learnt");
}
