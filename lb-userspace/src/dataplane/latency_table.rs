//! What the latency controller needs of nat's samples: which flows are sampled, what came of it, and what is not answered yet.

use super::Error;
use lb_common::{
    latency::{LatencyStats, SampledFlow, Sampling},
    slot::BackendIndex,
};

/// Samples of latency that packets leave in the maps.
pub trait LatencyTable {
    /// Says which of a service's flows are sampled from now on.
    fn set_sampling(&mut self, service: u32, sampling: Sampling) -> Result<(), Error>;

    /// A backend's latencies so far, summed over the CPUs. Every field counts up and wraps around.
    fn latency(&self, backend: BackendIndex) -> Result<LatencyStats, Error>;

    /// The sampled flows, each with its key. Packets change them meanwhile: one may be missing, or be there twice.
    fn sampled(&mut self) -> Result<Vec<(u64, SampledFlow)>, Error>;

    /// Forgets sampled flows. One that is not there any more is no error.
    fn forget_sampled(&mut self, keys: &[u64]) -> Result<(), Error>;
}
