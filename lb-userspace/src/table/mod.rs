//! Slot tables: which backend each slot of a service names. Pure functions of members and weights.

pub mod weighted_round_robin;

pub use weighted_round_robin::{Member, Move, changes, fill, quotas};

mod schedule;
