//! Health: every backend is asked in its time whether it serves, and told of when that changes.
//!
//! ```text
//!   config ──► targets ──► Handle::replace
//!                              │
//!                              ▼            due             ┌─ tcp, http, https, tls, iso8583
//!     schedule, machine ──►  Board  ──────────────► Probe ──┤     over the kernel's TCP, to the backend's
//!       pure, with `now`       ▲                      │     └─ own address, or as the VIP (via)
//!                              └──── Report ──────────┘
//!                              │
//!                              ▼
//!                   Event::Changed, Event::Checked ──► the daemon: State, weights, metrics
//! ```
//!
//! | module | |
//! |---|---|
//! | [`machine`] | rise and fall of one backend: pure |
//! | [`schedule`] | when a check is due: pure |
//! | [`board`] | all backends together: pure |
//! | [`ledger`] | what is to be shown of it all: pure |
//! | [`threshold`] | when a service's health is not believed: pure |
//! | [`iso8583`] | messages of ISO 8583: pure |
//! | [`probe`] | one check of one backend, over a socket |
//! | [`runner`] | the task that makes them |
//! | [`via`] | checks that take the data path's way |
//! | [`target`], [`report`], [`event`] | what goes in and what comes out |
//!
//! ```no_run
//! # async fn example(config: lb_userspace::config::Config) -> Result<(), lb_userspace::health::target::TargetError> {
//! use lb_userspace::health::{event::Event, runner, target};
//!
//! let (handle, mut events) = runner::spawn(runner::Options::default());
//! handle.replace(target::targets(&config.services)?);
//! while let Some(event) = events.recv().await {
//!     match event {
//!         Event::Changed(change) => println!("{change}"),
//!         Event::Checked(checked) => println!("{} {:?}", checked.id, checked.report.latency),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! docs/health.md tells what an operator sees of it.

pub mod board;
pub mod event;
pub mod iso8583;
pub mod ledger;
pub mod machine;
pub mod probe;
pub mod report;
pub mod runner;
pub mod schedule;
pub mod target;
pub mod threshold;
pub mod via;
