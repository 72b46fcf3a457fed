//! Weights that follow latency, in the daemon: what becomes of a backend that is slow, and what it is worth to clients.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

#[path = "latency/live.rs"]
mod live;
#[path = "latency/passive.rs"]
mod passive;
#[path = "latency/site.rs"]
mod site;
#[path = "latency/steering.rs"]
mod steering;
