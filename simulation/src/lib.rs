//! A simulation of backends, clients and balancers by discrete events, to judge the latency controller with: the
//! controller is the daemon's own. docs/latency-control.md shows what comes of it; `cargo xtask simulate` repeats it.
//!
//! The same seed gives the same result, to the last byte.
#![expect(clippy::cast_precision_loss, reason = "counts and nanoseconds of a run stay far below 2^52")]

pub mod backend;
pub mod balancer;
pub mod capacity;
pub mod engine;
pub mod erlang;
pub mod random;
pub mod record;
pub mod report;
pub mod scenario;
pub mod scenarios;
pub mod suite;
pub mod time;
