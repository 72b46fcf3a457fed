//! What systemd is told (`sd_notify(3)`): that the daemon is ready, reloads, ends, and lives. Without `NOTIFY_SOCKET` in the
//! environment nobody is told anything.
//!
//! The loop that owns the state feeds the watchdog itself, so that a loop that hangs is noticed.

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

/// Whoever started the daemon.
#[derive(Debug)]
pub(super) struct Supervisor {
    /// Ticks twice in the time that the watchdog waits.
    watchdog: Option<Interval>,
}

impl Supervisor {
    /// From the environment.
    pub fn new() -> Self {
        let watchdog = sd_notify::watchdog_enabled().map(|patience| {
            let mut watchdog = interval(patience / 2);
            watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
            watchdog
        });
        Self { watchdog }
    }

    /// The daemon serves.
    pub fn ready() {
        tell(&[NotifyState::Ready]);
    }

    /// The configuration is being read again; [`Supervisor::ready`] ends it.
    pub fn reloading() {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The daemon ends.
    pub fn stopping() {
        tell(&[NotifyState::Stopping]);
    }

    /// Waits until the watchdog is to be fed; for ever where there is none.
    pub async fn due(&mut self) {
        match &mut self.watchdog {
            Some(watchdog) => drop(watchdog.tick().await),
            None => std::future::pending().await,
        }
    }

    /// The daemon lives.
    pub fn alive() {
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("the service manager cannot be told: {error}");
    }
}
