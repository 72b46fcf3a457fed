//! The pinned maps of latency samples.

use super::{
    Error, LatencyTable,
    batch::{self, Batch},
    kernel::{Kernel, Record, mapped, per_cpu, pinned, total, write, zeros},
    mapped::MappedArray,
};
use aya::maps::{MapData, PerCpuArray};
use lb_common::{
    latency::{LatencyStats, SampledFlow, Sampling},
    slot::BackendIndex,
};
use std::path::Path;

const SAMPLES: &str = "SAMPLES";

/// Entries that are read at a time.
const AT_MOST: usize = 4096;

/// The maps.
pub(super) struct Samples {
    flows: MapData,
    sampling: MappedArray<Sampling>,
    latency: PerCpuArray<MapData, Record<LatencyStats>>,
}

impl Samples {
    pub fn open(pin_dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            flows: pinned(pin_dir, SAMPLES)?,
            sampling: mapped(pin_dir, "SAMPLING")?,
            latency: per_cpu(pin_dir, "LATENCY")?,
        })
    }

    pub fn set_sampling(&self, service: u32, sampling: Sampling) -> Result<(), Error> {
        self.sampling.set(service, &sampling).map_err(Error::map("write", "SAMPLING"))
    }

    /// A new backend has answered nothing.
    pub fn clear_backend(&mut self, index: BackendIndex) -> Result<(), Error> {
        self.latency.set(index.into(), zeros()?, 0).map_err(write("LATENCY"))
    }
}

impl LatencyTable for Kernel {
    fn set_sampling(&mut self, service: u32, sampling: Sampling) -> Result<(), Error> {
        self.samples.set_sampling(service, sampling)
    }

    fn latency(&self, backend: BackendIndex) -> Result<LatencyStats, Error> {
        total(&self.samples.latency, backend.into(), "LATENCY")
    }

    fn sampled(&mut self) -> Result<Vec<(u64, SampledFlow)>, Error> {
        let mut flows = Vec::new();
        let mut from = None;
        loop {
            let batch = batch::lookup(self.samples.flows.fd(), from, AT_MOST);
            let Batch { keys, values, next } = batch.map_err(Error::map("read", SAMPLES))?;
            flows.extend(keys.into_iter().zip(values));
            from = next;
            if from.is_none() {
                return Ok(flows);
            }
        }
    }

    fn forget_sampled(&mut self, keys: &[u64]) -> Result<(), Error> {
        batch::delete(self.samples.flows.fd(), keys).map_err(Error::map("write", SAMPLES))
    }
}
