//! The comparison that each bed makes at its end: that every packet which reached the program ended in one verdict. Here
//! that it holds, and that it fails where a packet was counted twice.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{net::SocketAddr, panic};

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use lb_common::counters::{DropReason, Verdict};
use lb_tests::{
    ask::{json, start, start_resolved},
    bed::{Bed, HttpServer, Process, run},
    config::{Service, config},
    load::Load,
    wait::wait_for,
};

const PORT: u16 = 80;
const CONNECTIONS: usize = 100;

fn services(bed: &Bed) -> Vec<Service> {
    let service = |v6: bool| {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), PORT);
        Service::tcp(if v6 { "web6" } else { "web" }, vip).hosts(bed.backends(), &[1])
    };
    [false, true].map(service).into()
}

/// A bed whose balancer has forwarded, answered and passed packets.
fn used() -> (Bed, Process) {
    let bed = Bed::builder().build().unwrap();
    let server = HttpServer::start(bed.backend(0), PORT, "backend-1").unwrap();
    let balancer = start_resolved(&bed, &config(&bed, &services(&bed))).unwrap();
    for v6 in [false, true] {
        let vip = bed.vip(v6).unwrap();
        let load = Load::new(SocketAddr::new(vip, PORT), CONNECTIONS);
        load.answers(["backend-1"]).run(bed.client()).unwrap().require_all().unwrap();
        for to in [vip, bed.balancer().address(v6)] {
            let ping = ["-n", "-c", "3", "-i", "0.05", "-W", "5", &to.to_string()];
            run(bed.client().command("ping").args(ping)).unwrap();
        }
    }
    drop(server);
    (bed, balancer)
}

/// Counts a packet that never was, in a verdict that no packet of these beds has.
fn forge(bed: &Bed) -> Result<()> {
    let verdict = Verdict::Drop(DropReason::NoRoom).counter();
    let map = Map::PerCpuArray(MapData::from_pin(bed.pin_dir().join("VERDICTS"))?);
    let mut verdicts: PerCpuArray<_, [u64; 2]> = PerCpuArray::try_from(map)?;
    let mut counts = verdicts.get(&verdict, 0)?.to_vec();
    counts.first_mut().context("no CPU")?[0] += 1;
    Ok(verdicts.set(verdict, PerCpuValues::try_from(counts)?, 0)?)
}

#[test]
fn the_driver_and_the_verdicts_agree_and_a_packet_that_counts_twice_is_told() {
    let (bed, balancer) = used();
    // SYN, acknowledgement, request and end at least, then the pings.
    let least = 2 * (CONNECTIONS as u64 * 4 + 6);
    bed.require_every_packet_counted().unwrap();
    let both = bed.counted().unwrap();
    assert!(both.driver.all >= least && both.driver.tx >= least - 12, "{both:?}");
    assert!(both.driver.all > both.driver.tx, "{both:?}");

    forge(&bed).unwrap();
    let both = bed.counted().unwrap();
    assert_eq!(both.verdicts.all, both.driver.all + 1, "{both:?}");
    drop(balancer);
    let dropped = panic::catch_unwind(panic::AssertUnwindSafe(|| drop(bed)));
    let said = dropped.unwrap_err().downcast::<String>().unwrap();
    assert!(said.contains("not every packet of balancer was counted once"), "{said}");
}

/// Detached and attached again, on maps of its own: what the driver counted before is not the new program's.
#[test]
fn counters_that_begin_anew_are_compared_from_there() {
    let (bed, balancer) = used();
    let before = bed.counted().unwrap();
    drop(balancer);
    assert_eq!(json(&bed, &["detach", "--all"]).unwrap()["removed"], true);
    bed.require_every_packet_counted().unwrap();
    let (_balancer, _) = start(&bed, &config(&bed, &services(&bed))).unwrap();
    let after = wait_for(std::time::Duration::from_secs(10), "both to agree", || {
        Ok(Some(bed.counted()?).filter(|both| both.driver == both.verdicts))
    })
    .unwrap();
    assert!(after.driver.all < before.driver.all, "{before:?}, then {after:?}");
}
