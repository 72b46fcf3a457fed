//! Backends that fail, die and come back, as the daemon's health checks find them, under connections that must not notice.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

#[path = "failover/changes.rs"]
mod changes;
#[path = "failover/crowd.rs"]
mod crowd;
#[path = "failover/figures.rs"]
mod figures;
#[path = "failover/iso8583.rs"]
mod iso8583;
#[path = "failover/panic.rs"]
mod panic;
#[path = "failover/site.rs"]
mod site;
