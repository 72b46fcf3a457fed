//! The sweep on the maps in memory.

use super::{AT_MOST, Census, Now, Progress, Sweep};
use crate::{
    config::{Algorithm, Tracking},
    dataplane::{Dataplane as _, FlowKey, FlowTable as _, Operation, Sizes, Way, fake::Fake},
    plan::plan,
    state::{DesiredBackend, DesiredService, Standing},
};
use lb_common::{
    backend::{Departure, Forwarding, LinkAddress},
    flow::{FlowClass, FlowEntry, FlowKeyV4, FlowKeyV6, Owner},
    hash::{KeyWords, expand_key},
    service::{ServiceKey, TCP, service_flags},
    slot::{BackendIndex, Phase, Slot},
};
use std::{collections::BTreeSet, net::IpAddr, time::Duration};

const SIZES: Sizes = Sizes { services: 4, backends: 16, slots: 1024, flows: 100_000 };

fn words() -> KeyWords {
    expand_key([7; 16])
}

fn at(seconds: u64) -> Now {
    Now::new(Duration::from_secs(seconds))
}

fn backend(number: u8, weight: u32) -> DesiredBackend {
    let way = Way {
        next_hop: LinkAddress::resolved([2, 0, 0, 0, 0, number]),
        departure: Departure { mac: [2; 6], vlan: 0 },
        ifindex: 4,
        mtu: 1500,
    };
    DesiredBackend {
        name: format!("b{number}"),
        address: IpAddr::from([198, 18, 0, number]),
        weight,
        share: DesiredBackend::whole_share(weight),
        standing: Standing::Serving,
        port: 0,
        tunnel_source: None,
        way: Some(way),
    }
}

fn service(backends: Vec<DesiredBackend>) -> DesiredService {
    DesiredService {
        name: "web".to_owned(),
        key: ServiceKey::new(IpAddr::from([192, 0, 2, 10]), 80, TCP),
        slots: 64,
        forwarding: Forwarding::L2Dsr,
        mss: 0,
        flags: 0,
        algorithm: Algorithm::Hash,
        backends,
        evict: BTreeSet::new(),
    }
}

/// Maps, a sweep, and a planner that is asked when the sweep says so.
struct Bed {
    maps: Fake,
    sweep: Sweep,
}

impl Bed {
    fn new(desired: &DesiredService) -> Self {
        Self::sized(desired, SIZES)
    }

    fn sized(desired: &DesiredService, sizes: Sizes) -> Self {
        let sweep = Sweep::new(Tracking::default(), words());
        let mut bed = Self { maps: Fake::new(sizes), sweep };
        bed.plan(desired, at(10));
        bed
    }

    fn plan(&mut self, desired: &DesiredService, now: Now) {
        let installed = self.maps.installed().unwrap();
        let planned = plan(&installed, std::slice::from_ref(desired), self.sweep.census(), now.seconds());
        planned.unwrap().operations.iter().for_each(|operation| self.maps.apply(operation).unwrap());
        self.sweep.install(&self.maps.installed().unwrap());
    }

    /// Ticks until a pass ends; what all of its steps did.
    fn pass(&mut self, now: Now) -> Progress {
        let mut sum = Progress::default();
        while !sum.ended {
            let progress = self.sweep.tick(&mut self.maps, now).unwrap();
            progress.operations.iter().for_each(|operation| self.maps.apply(operation).unwrap());
            let (read, deleted) = (sum.read + progress.read, sum.deleted + progress.deleted);
            sum = Progress { read, deleted, ..progress };
        }
        sum
    }

    fn slots(&self) -> Vec<Slot> {
        self.maps.installed().unwrap().services[0].slots.clone()
    }

    fn in_phase(&self, phase: Phase) -> usize {
        self.slots().iter().filter(|slot| slot.phase() == phase).count()
    }

    fn owner(&self, backend: BackendIndex, class: FlowClass) -> Owner {
        Owner::new(backend, class, self.maps.backend(backend).unwrap().generation)
    }

    fn remember(&mut self, key: FlowKey, backend: BackendIndex, class: FlowClass, seen: Now) {
        let entry = FlowEntry { owner: self.owner(backend, class), seen: seen.tick(), reserved: 0 };
        assert!(self.maps.remember(key, entry));
    }
}

fn key(number: u32) -> FlowKey {
    let source = [203, 0, (number >> 8) as u8, number as u8];
    FlowKey::V4(FlowKeyV4 { source, ports: number, service: 0 })
}

#[test]
fn a_slot_learns_holds_and_settles_and_what_it_says_itself_is_forgotten() {
    let mut bed = Bed::new(&service(vec![backend(1, 1)]));
    let one = bed.slots()[0].backend;
    bed.plan(&service(vec![backend(1, 0), backend(2, 1)]), at(100));
    let two = bed.slots()[0].backend;
    assert_eq!(bed.in_phase(Phase::Learn), 64);
    for number in 0..100 {
        bed.remember(key(number), if number < 60 { one } else { two }, FlowClass::Open, at(459));
    }
    let progress = bed.pass(at(460));
    assert_eq!((progress.read, progress.deleted, progress.operations.len()), (100, 0, 0));
    assert_eq!(bed.sweep.figures().services[0].oldest_learn, 360);
    assert!(!bed.sweep.census().is_empty_of(one, 1));

    bed.pass(at(461));
    assert_eq!(bed.in_phase(Phase::Hold), 64);
    let progress = bed.pass(at(463));
    assert_eq!((progress.read, progress.deleted), (100, 40), "entries of the slots' backend go at once");
    let kept: BTreeSet<_> = (0..60).map(key).collect();
    let held = bed.in_phase(Phase::Hold);
    assert!(held > 0 && held < 64, "only slots with flows of the old backend wait: {held}");
    assert_eq!(bed.maps.flow_count(), 60);
    assert!(kept.iter().all(|key| bed.maps.clone().flow_mut(key).is_some()));

    let progress = bed.pass(at(900));
    assert_eq!((progress.deleted, bed.maps.flow_count()), (60, 0), "quiet for six minutes");
    assert!(progress.settled);
    assert_eq!(bed.in_phase(Phase::Stable), 64);
    assert_eq!(bed.sweep.figures().services[0].stable, 64);
}

#[test]
fn a_slot_with_a_flow_that_found_no_room_learns_again() {
    let mut bed = Bed::new(&service(vec![backend(1, 1)]));
    let one = bed.slots()[0].backend;
    bed.plan(&service(vec![backend(1, 0), backend(2, 1)]), at(100));
    let slot = bed.maps.installed().unwrap().services[0].record.first_slot + 5;
    bed.maps.mark_overflow(slot, at(300).tick());
    bed.pass(at(461));
    assert_eq!((bed.in_phase(Phase::Hold), bed.in_phase(Phase::Learn)), (63, 1));
    assert_eq!(bed.slots()[5], Slot::learning(bed.slots()[0].backend, one, 461));
    bed.pass(at(463));
    assert_eq!(bed.sweep.figures().services[0].not_advancing, 1);
    bed.pass(at(822));
    assert_eq!(bed.in_phase(Phase::Learn), 0, "no flow found no room since");
    assert_eq!(bed.sweep.figures().services[0].not_advancing, 0);
}

#[test]
fn entries_of_the_dead_the_freed_and_of_unknown_services_go() {
    let mut bed = Bed::new(&service(vec![backend(1, 1), backend(2, 1)]));
    let slots = bed.slots();
    let (one, two) = (slots[0].backend, slots[1].backend);
    bed.plan(&service(vec![backend(1, 0), backend(2, 0), backend(3, 1)]), at(100));
    bed.remember(key(1), one, FlowClass::Open, at(100));
    bed.remember(key(2), two, FlowClass::Open, at(100));
    let stranger =
        FlowEntry { owner: Owner::new(one, FlowClass::Open, 99), seen: at(100).tick(), reserved: 0 };
    assert!(bed.maps.remember(key(3), stranger));
    let FlowKey::V4(of_nobody) = key(4) else { return };
    bed.remember(FlowKey::V4(FlowKeyV4 { service: 3, ..of_nobody }), one, FlowClass::Open, at(100));
    let other_family = FlowKeyV6 { source: [1; 16], ports: 1, service: 0 };
    bed.remember(FlowKey::V6(other_family), one, FlowClass::Open, at(100));
    let mut backends = vec![backend(1, 0), backend(2, 0), backend(3, 1)];
    backends[1].standing = Standing::Down;
    bed.plan(&service(backends), at(101));
    let progress = bed.pass(at(102));
    assert_eq!((progress.read, progress.deleted), (5, 4));
    assert!(bed.maps.flow_mut(&key(1)).is_some());
}

#[test]
fn a_pass_goes_on_in_bounded_steps_and_misses_nothing() {
    let mut bed = Bed::new(&service(vec![backend(1, 1)]));
    let one = bed.slots()[0].backend;
    bed.plan(&service(vec![backend(1, 0), backend(2, 1)]), at(100));
    for number in 0..40_000 {
        let class = if number % 3 == 0 { FlowClass::Closing } else { FlowClass::Open };
        bed.remember(key(number), one, class, at(100));
    }
    let mut steps = 0;
    loop {
        let progress = bed.sweep.tick(&mut bed.maps, at(300)).unwrap();
        assert!(progress.read <= AT_MOST);
        steps += 1;
        if progress.ended {
            break;
        }
    }
    assert!(steps >= 5, "{steps}");
    assert_eq!(bed.maps.flow_count(), 26_666, "every third was closing, and quiet for 200 s");
    assert_eq!(bed.sweep.figures().classes, [0, 26_666, 0]);
    assert_eq!(bed.sweep.census().of(one, 1).unwrap().entries, 26_666);
    let progress = bed.sweep.tick(&mut bed.maps, at(300)).unwrap();
    assert_eq!(progress, Progress::default(), "passes begin a second apart at least");
}

#[test]
fn a_leaving_backend_is_freed_when_its_last_flow_is_gone() {
    let mut bed = Bed::new(&service(vec![backend(2, 1)]));
    let two = bed.slots()[0].backend;
    let desired = service(vec![backend(1, 1)]);
    bed.plan(&desired, at(100));
    bed.remember(key(1), two, FlowClass::Open, at(455));
    for seconds in [461, 463, 465] {
        bed.pass(at(seconds));
        bed.plan(&desired, at(seconds));
    }
    assert_eq!(bed.maps.installed().unwrap().backends.len(), 2, "it has a flow");
    for seconds in [816, 818] {
        let progress = bed.pass(at(seconds));
        bed.plan(&desired, at(seconds));
        assert_eq!(progress.deleted, usize::from(seconds == 816));
    }
    assert_eq!(bed.maps.installed().unwrap().backends.len(), 1);
    assert!(bed.maps.backend(two).unwrap().next_hop.is_down(), "entries under its index stay without effect");
}

#[test]
fn counts_of_least_connections_follow_deletions_and_heal() {
    let mut desired = service(vec![backend(1, 1), backend(2, 1)]);
    desired.flags = service_flags::LEAST_CONNECTIONS;
    desired.algorithm = Algorithm::LeastConnections;
    let mut bed = Bed::new(&desired);
    let one = bed.slots()[0].backend;
    for number in 0..10 {
        bed.remember(key(number), one, FlowClass::Open, at(if number < 4 { 100 } else { 5000 }));
        bed.maps.add_live(one, 1).unwrap();
    }
    assert_eq!(bed.pass(at(5001)).deleted, 4);
    assert_eq!(bed.maps.load(one).unwrap().live, 6);
    bed.maps.add_live(one, 7).unwrap();
    bed.pass(at(5003));
    bed.pass(at(5005));
    assert_eq!(bed.maps.load(one).unwrap().live, 13);
    bed.pass(at(5007));
    assert_eq!(bed.maps.load(one).unwrap().live, 6, "three passes agreed");
}

#[test]
fn places_that_change_begin_the_pass_anew() {
    let mut bed = Bed::new(&service(vec![backend(1, 1)]));
    let one = bed.slots()[0].backend;
    bed.plan(&service(vec![backend(1, 0), backend(2, 1)]), at(100));
    for number in 0..20_000 {
        bed.remember(key(number), one, FlowClass::Open, at(460));
    }
    bed.pass(at(461));
    assert_eq!(bed.in_phase(Phase::Hold), 64);
    assert!(!bed.sweep.tick(&mut bed.maps, at(463)).unwrap().ended);
    let grown = DesiredService { slots: 128, ..service(vec![backend(1, 0), backend(2, 1)]) };
    bed.plan(&grown, at(463));
    bed.pass(at(465));
    assert_eq!(bed.in_phase(Phase::Hold), 128, "flows of the old backend were seen of every slot");
}

#[test]
fn nothing_is_known_before_the_first_pass() {
    assert!(!Census::default().is_empty_of(1, 1));
}

#[test]
#[ignore = "a measurement: cargo test --release -p lb-userspace sweep_of_a_full -- --ignored --nocapture"]
fn time_of_a_sweep_of_a_full_table() {
    let sizes = Sizes { flows: 262_144, slots: 65_536, ..SIZES };
    let desired = |weights: [u32; 2]| {
        let backends = vec![backend(1, weights[0]), backend(2, weights[1])];
        DesiredService { slots: 16_384, ..service(backends) }
    };
    let mut bed = Bed::sized(&desired([1, 0]), sizes);
    bed.plan(&desired([0, 1]), at(100));
    let one = bed.maps.installed().unwrap().backends[0].index;
    for number in 0..262_144 {
        bed.remember(key(number), one, FlowClass::Open, at(100));
    }
    let start = std::time::Instant::now();
    let kept = bed.pass(at(200));
    println!("{} entries read, {} deleted: {:?}", kept.read, kept.deleted, start.elapsed());
    let start = std::time::Instant::now();
    let all = bed.pass(at(900));
    println!("{} entries read, {} deleted: {:?}", all.read, all.deleted, start.elapsed());
    assert_eq!((kept.deleted, all.deleted), (0, 262_144));
    let operations: Vec<Operation> = all.operations;
    assert!(!operations.is_empty());
}
