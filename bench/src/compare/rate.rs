//! Frames a second on one processor, without a network stack: the kernel makes frames (`BPF_F_TEST_XDP_LIVE_FRAMES`), the harness
//! makes each another flow's, the balancer rewrites it, and it leaves by a veth, behind which a program counts and drops it.

use std::{fs, time::Instant};

use anyhow::{Context as _, Result, ensure};
use lb_tests::bed::Bed;
use serde::Serialize;

use crate::{
    harness::{Harness, Target},
    measure::quantile,
    scenario::{Scenario, Way},
    site::Site,
};

/// Frames of a call.
const FRAMES: u32 = 1 << 20;
/// Flows that they are of.
const FLOWS: u32 = 1 << 16;
/// Of a thousand frames so many reach the other side at least; a driver's ring may be full at the start.
const ARRIVE: u64 = 990;

/// A rate.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// What is done with the frames.
    pub name: String,
    /// Millions of frames a second: median of the rounds.
    pub median: f64,
    /// The fastest round.
    pub most: f64,
}

/// Measures all rates, in rounds.
pub fn run(rounds: u32, told: impl Fn(&str) + Sync) -> Result<Vec<Rate>> {
    let bed = Bed::builder().backends(0).uncompared().build()?;
    let namespace = bed.balancer().namespace();
    namespace.ip(&["link add out type veth peer name in", "link set out up", "link set in up"])?;
    namespace.run_in(|| {
        let out = nix::net::if_::if_nametoindex("out")?;
        let mut far = Harness::load()?;
        far.sink()?.attach("in", aya::programs::XdpMode::Driver).context("cannot attach to the far end")?;
        let mut lanes = vec![lane(Lane::Drop, out)?, lane(Lane::Transmit, out)?];
        for way in Way::FORWARDED {
            lanes.push(lane(Lane::Balancer(way), out)?);
        }
        let mut rates = vec![Vec::new(); lanes.len()];
        for round in 0..rounds {
            for (lane, rates) in lanes.iter_mut().zip(&mut rates) {
                told(&format!("round {} of {rounds}: {}", round + 1, lane.name));
                rates.push(lane.millions_a_second()?);
            }
        }
        let all = lanes.into_iter().zip(rates).map(|(lane, rates)| Rate {
            name: lane.name,
            median: quantile(&rates, 0.5),
            most: quantile(&rates, 1.0),
        });
        Ok(all.collect())
    })
}

#[derive(Clone, Copy)]
enum Lane {
    Drop,
    Transmit,
    Balancer(Way),
}

struct Ready {
    name: String,
    harness: Harness,
    target: Target,
    leaves: bool,
    _site: Site,
}

fn lane(lane: Lane, out: u32) -> Result<Ready> {
    let way = if let Lane::Balancer(way) = lane { way } else { Way::L2Dsr };
    let site = Site::load(&Scenario::new(way, false, FLOWS), out)?;
    let mut harness = Harness::load()?;
    let stream = site.stream.clone();
    let (name, target, leaves) = match lane {
        Lane::Drop => {
            harness.test_sink(stream)?;
            ("XDP_DROP".to_owned(), Target::Tested, false)
        }
        Lane::Transmit => {
            harness.test(site.balancer.program(), stream)?;
            ("XDP_TX".to_owned(), Target::Zero, true)
        }
        Lane::Balancer(way) => {
            harness.test(site.balancer.program(), stream)?;
            (format!("xdp-lb {}", way.name()), Target::Tested, true)
        }
    };
    Ok(Ready { name, harness, target, leaves, _site: site })
}

impl Ready {
    fn millions_a_second(&mut self) -> Result<f64> {
        let before = arrived()?;
        let begun = Instant::now();
        self.harness.run_live(self.target, FRAMES)?;
        let seconds = begun.elapsed().as_secs_f64();
        let arrived = arrived()? - before;
        let expected = if self.leaves { u64::from(FRAMES) * ARRIVE / 1000 } else { 0 };
        ensure!(arrived >= expected, "{}: {arrived} of {FRAMES} frames reached the other side", self.name);
        Ok(f64::from(FRAMES) / 1e6 / seconds)
    }
}

/// Frames that the far end received so far. To be called in the namespace.
fn arrived() -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").context("no interfaces")?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("in:")).context("no far end")?;
    Ok(line.split_whitespace().nth(1).context("no count")?.parse()?)
}
