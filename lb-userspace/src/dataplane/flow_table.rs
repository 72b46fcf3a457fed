//! What the sweep needs of the flow tables: reading them in batches, deleting entries, and the marks and counters that
//! packets leave beside them.

use super::Error;
use lb_common::{
    flow::{FlowEntry, FlowKeyV4, FlowKeyV6, Overflow},
    hash::{KeyWords, flow_hash, words_v4, words_v6},
    service::service_flags,
    slot::BackendIndex,
};
use std::net::IpAddr;

/// A key of one of the two flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowKey {
    /// Of `FLOWS_V4`.
    V4(FlowKeyV4),
    /// Of `FLOWS_V6`.
    V6(FlowKeyV6),
}

impl FlowKey {
    /// The hash by which packets of the flow find their slot in a service of this address, protocol and flags
    /// ([`service_flags`]); `words`: the key, as [`lb_common::hash::expand_key`] makes it. `None` for a key of the other family.
    #[must_use]
    pub fn hash_to(&self, destination: IpAddr, protocol: u8, flags: u16, words: &KeyWords) -> Option<u64> {
        let ports = |ports| if flags & service_flags::ADDRESSES_ONLY == 0 { ports } else { 0 };
        match (self, destination) {
            (Self::V4(key), IpAddr::V4(destination)) => {
                let message = words_v4(key.source, destination.octets(), ports(key.ports), protocol);
                Some(flow_hash(message, [words[0], words[1], words[2], words[3]]))
            }
            (Self::V6(key), IpAddr::V6(destination)) => {
                let message = words_v6(key.source, destination.octets(), ports(key.ports), protocol);
                Some(flow_hash(message, *words))
            }
            _ => None,
        }
    }

    /// Identifier of the service that the flow is to.
    #[must_use]
    pub const fn service(&self) -> u32 {
        match self {
            Self::V4(key) => key.service,
            Self::V6(key) => key.service,
        }
    }
}

/// Where the next batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCursor {
    /// In `FLOWS_V6`, which is read after `FLOWS_V4`.
    pub ipv6: bool,
    /// A place in that table, as the table counts.
    pub position: u64,
}

/// Entries that were read together.
#[derive(Clone, Debug, Default)]
pub struct FlowBatch {
    /// The entries, as they were at some moment during the reading.
    pub entries: Vec<(FlowKey, FlowEntry)>,
    /// Where the next batch starts; `None`: this was the last.
    pub next: Option<FlowCursor>,
}

/// Both flow tables as one, and what packets write beside them.
///
/// An entry that is there from the first batch to the last is read once at least. One that packets make or delete
/// meanwhile may be read or not.
pub trait FlowTable {
    /// About `at_most` entries (a table that is read bucket by bucket may give a few more), from the start when `from`
    /// is `None`.
    fn flows(&mut self, from: Option<FlowCursor>, at_most: usize) -> Result<FlowBatch, Error>;

    /// Deletes entries. One that is not there any more is no error.
    fn forget(&mut self, keys: &[FlowKey]) -> Result<(), Error>;

    /// The mark of flows that found no room; `slot`: index in SLOTS.
    fn overflow(&self, slot: u32) -> Result<Overflow, Error>;

    /// Connections of a backend as `least-connections` counts them.
    fn live(&self, backend: BackendIndex) -> Result<u64, Error>;

    /// Adds `by` to them in one atomic step, to 0 where the sum would be less.
    fn add_live(&mut self, backend: BackendIndex, by: i64) -> Result<(), Error>;
}
