//! What a pass saw, for operators.

use std::time::Duration;

/// What the last whole pass saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Whole passes since the daemon began.
    pub passes: u64,
    /// How long the pass took.
    pub duration: Duration,
    /// Entries that stay, by [`lb_common::flow::FlowClass`]: opening, open, closing.
    pub classes: [u64; 3],
    /// Entries that were read, of each family: IPv4, IPv6.
    pub read: [u64; 2],
    /// Entries that were deleted.
    pub deleted: u64,
    /// The services, by name.
    pub services: Vec<ServiceFigures>,
}

/// The slots of a service, once the pass let them advance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceFigures {
    /// Its name.
    pub service: String,
    /// Slots that alone decide.
    pub stable: u32,
    /// Slots whose flows are being learnt.
    pub learning: u32,
    /// Slots of whose flows some are another backend's.
    pub holding: u32,
    /// How long the longest has been learning, in seconds.
    pub oldest_learn: u32,
    /// Slots that learn once more, because flows found no room in the flow table.
    pub not_advancing: u32,
}
