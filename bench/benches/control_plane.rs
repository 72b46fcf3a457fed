//! What the daemon's work costs: slot tables, a large configuration, the sweep of a full flow table, a scrape. On real maps where the
//! work is on maps; as root: `cargo bench -p lb-bench`.

#![expect(
    clippy::unwrap_used,
    missing_docs,
    reason = "a bench fails by panicking, and criterion's macros make functions"
)]

use std::{fmt::Write as _, hint::black_box, net::Ipv4Addr, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use lb_bench::{
    harness::{Harness, Target},
    scenario::{Scenario, Tracking as Slots, Way},
    site::{INGRESS, Site},
};
use lb_common::{ABI_VERSION, hash::expand_key, slot::BackendIndex};
use lb_tests::fixture::balancer::{Balancer, HASH_KEY, LOOPBACK, way};
use lb_userspace::{
    api::Tracking as Rows,
    config::Tracking,
    daemon::vitals::Shown,
    metrics::{About, text},
    neighbour::NextHop,
    table::{
        maglev,
        weighted_round_robin::{Member, changes, fill},
    },
    tracking::{Now, Sweep},
    view,
};

/// Slots and backends of the large table.
const SLOTS: u32 = 65_536;
const BACKENDS: u16 = 1_000;
/// Services and backends of the large configuration.
const SERVICES: u16 = 512;
const ALL_BACKENDS: u16 = 4_096;
/// Entries of a full flow table.
const FLOWS: u32 = 262_144;

fn members(names: &[String], heavier: usize) -> Vec<Member<'_>> {
    let all = names.iter().enumerate();
    all.map(|(number, name)| Member {
        name,
        index: number as BackendIndex + 1,
        weight: 100 + u32::from(number == heavier) * 10,
    })
    .collect()
}

fn tables(bench: &mut Criterion) {
    let names: Vec<_> = (0..BACKENDS).map(|number| format!("backend-{number:04}")).collect();
    let (before, after) = (members(&names, 0), members(&names, 500));
    let table = fill(&before, SLOTS);
    bench.bench_function("weighted round-robin: fill 65,536 slots for 1,000 backends", |bench| {
        bench.iter(|| fill(black_box(&before), SLOTS));
    });
    bench.bench_function("weighted round-robin: two weights of 1,000 change", |bench| {
        bench.iter(|| changes(black_box(&after), black_box(&table)));
    });
    bench.bench_function("maglev: fill 65,536 slots for 1,000 backends", |bench| {
        bench.iter(|| maglev::table(black_box(&before), SLOTS));
    });
}

/// As many services as are many, with all their backends resolved.
fn large() -> (String, Vec<NextHop>) {
    let (mut text, mut ways) = (String::new(), Vec::new());
    let each = ALL_BACKENDS / SERVICES;
    for service in 0..SERVICES {
        let [high, low] = service.to_be_bytes();
        let vip = Ipv4Addr::new(198, 19, high, low);
        writeln!(text, "[[service]]\nname = \"service-{service}\"\naddress = \"{vip}:443\"\nprotocol = \"tcp\"\nslots = 1024")
            .unwrap();
        for backend in service * each..(service + 1) * each {
            let [high, low] = backend.to_be_bytes();
            let address = Ipv4Addr::new(198, 18, high, low);
            writeln!(text, "[[service.backend]]\nname = \"backend-{backend}\"\naddress = \"{address}\"")
                .unwrap();
            ways.push(way(address.into(), [2, 0, 0, 1, high, low], [2, 0, 0, 0, 0, 2], LOOPBACK));
        }
    }
    (text, ways)
}

fn loading(bench: &mut Criterion) {
    let (configuration, ways) = large();
    let mut group = bench.benchmark_group("large");
    group.sample_size(10).measurement_time(Duration::from_secs(10));
    group.bench_function("load 512 services with 4,096 backends, program and maps", |bench| {
        bench.iter_batched(
            || (),
            |()| Balancer::load(black_box(&configuration), &ways).unwrap(),
            BatchSize::PerIteration,
        );
    });
    let balancer = Balancer::load(&configuration, &ways).unwrap();
    let about = About {
        version: String::new(),
        build: String::new(),
        abi_version: ABI_VERSION,
        flow_table_entries: FLOWS,
        map_write_failures: 0,
        changes: 0,
        behind: false,
    };
    let figures = Rows::from(&lb_userspace::tracking::Figures::default());
    group.bench_function("scrape them", |bench| {
        bench.iter(|| {
            text(&view::read(&balancer.pin_dir()).unwrap(), &figures, &Shown::default(), &about).unwrap()
        });
    });
    group.finish();
}

fn sweeping(bench: &mut Criterion) {
    let scenario = Scenario { tracking: Slots::All, ..Scenario::new(Way::L2Dsr, false, FLOWS) };
    let mut site = Site::load(&scenario, INGRESS).unwrap();
    let mut harness = Harness::load().unwrap();
    harness.test(site.balancer.program(), site.stream.clone()).unwrap();
    harness.run(Target::Tested, FLOWS).unwrap();
    let mut group = bench.benchmark_group("sweep");
    group.sample_size(10);
    let installed = site.balancer.installed().clone();
    group.bench_function("262,144 flows in the kernel, all kept", |bench| {
        bench.iter(|| {
            let mut sweep = Sweep::new(Tracking::default(), expand_key(HASH_KEY));
            sweep.install(&installed);
            let mut read = 0;
            // A moment after boot: nothing is old.
            for step in 1.. {
                let now = Now::new(Duration::from_secs(2) + Duration::from_millis(step));
                let progress = sweep.tick(site.balancer.kernel(), now).unwrap();
                read += progress.read;
                assert_eq!(progress.deleted, 0);
                if progress.ended {
                    break;
                }
            }
            assert!(read >= FLOWS as usize, "{read} entries");
        });
    });
    group.finish();
}

criterion_group!(benches, tables, loading, sweeping);
criterion_main!(benches);
