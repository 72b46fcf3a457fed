//! A service's backends as the controller sees them.

use std::time::Duration;

use lb_common::slot::BackendIndex;

use super::{Law, sample::Estimate, standing::Standing};

/// A backend as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its index in the data plane, by which samples name it.
    pub index: BackendIndex,
    /// Its name, for explanations.
    pub name: String,
    /// Its configured weight; 0: no new connections, and no part in the law.
    pub weight: u32,
}

/// Whether a backend may get new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Health {
    /// Its checks succeed, or it has none.
    #[default]
    Up,
    /// Its checks fail.
    Down,
    /// An operator lets its connections end.
    Draining,
    /// An operator took it out.
    Disabled,
}

impl Health {
    /// Whether the operator wants it to serve, whatever its checks say.
    pub(super) const fn wanted(self) -> bool {
        matches!(self, Self::Up | Self::Down)
    }
}

/// A backend and what the controller holds about it.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    pub member: Member,
    pub health: Health,
    /// Whether it had no connections since it was last up.
    pub empty: bool,
    /// When its slow start began, while it lasts.
    pub rising_since: Option<Duration>,
    pub estimate: Estimate,
    /// ln of the factor on the configured weight.
    pub log_factor: f64,
    pub standing: Standing,
    /// Whether its latency is so far from the mean that its slots may move faster.
    pub urgent: bool,
    /// Factor that its slots amount to, when that was told since the last step.
    pub in_force: Option<f64>,
    /// The factor that the last decision about it told of.
    pub told_factor: f64,
}

impl Tracked {
    pub(super) fn new(member: Member, now: Duration) -> Self {
        Self {
            member,
            health: Health::Up,
            empty: false,
            rising_since: None,
            estimate: Estimate::new(now),
            log_factor: 0.0,
            standing: Standing::Held { samples: 0 },
            urgent: false,
            in_force: None,
            told_factor: 1.0,
        }
    }

    /// One that joins others that serve already, and so starts slowly.
    pub(super) fn newcomer(law: &Law, member: Member, now: Duration) -> Self {
        let mut backend = Self { health: Health::Down, empty: true, ..Self::new(member, now) };
        backend.set_health(law, now, Health::Up);
        backend
    }

    pub(super) fn weight(&self) -> f64 {
        f64::from(self.member.weight)
    }

    pub(super) fn factor(&self) -> f64 {
        self.log_factor.exp()
    }

    /// Whether it has a share of the new connections, outside panic.
    pub(super) fn serves(&self) -> bool {
        self.health == Health::Up && self.member.weight > 0
    }

    /// Whether the law holds for it: it serves, and at its whole weight.
    pub(super) fn governed(&self) -> bool {
        self.serves() && self.rising_since.is_none()
    }

    /// Changes the health. What becomes up after it had no connections starts slowly.
    pub(super) fn set_health(&mut self, law: &Law, now: Duration, health: Health) {
        if self.health == health {
            return;
        }
        self.health = health;
        self.empty |= matches!(health, Health::Down | Health::Disabled);
        let rises = health == Health::Up && self.empty && !law.slow_start.is_zero();
        self.rising_since = rises.then_some(now);
        self.empty &= health != Health::Up;
        self.estimate.forget(now);
    }

    /// Ends a slow start whose time is over.
    pub(super) fn rise(&mut self, law: &Law, now: Duration) {
        if self.rising_since.is_some() && self.ramp(law, now) >= 1.0 {
            self.rising_since = None;
            // What was measured while it was cold and had a small share says nothing of it now.
            self.estimate.forget(now);
        }
    }

    /// The slow start's part of the weight at `now`.
    pub(super) fn ramp(&self, law: &Law, now: Duration) -> f64 {
        let Some(since) = self.rising_since else { return 1.0 };
        let part = now.saturating_sub(since).as_secs_f64() / law.slow_start.as_secs_f64();
        part.clamp(law.slow_start_floor, 1.0)
    }
}
