//! The controller of one service: what goes in and what comes out. The law itself is in `govern.rs`.

use std::time::Duration;

use lb_common::slot::BackendIndex;

use super::{
    Health, Law, LawError, Member, Mode, Sample, Standing, Weights,
    decisions::Decisions,
    figures::{Figures, Throughput},
    member::Tracked,
};

/// The latency controller of one service.
///
/// It holds no clock: every `now` is the time since a moment that the caller chose. Its order of use: the samples,
/// [`observe`](Self::observe); shortly before a step [`outstanding`](Self::outstanding) for each backend; then
/// [`step`](Self::step), once a [`Law::period`].
#[derive(Clone, Debug)]
pub struct Controller {
    pub(super) law: Law,
    /// Sorted by index.
    pub(super) backends: Vec<Tracked>,
    /// When the last step was.
    pub(super) stepped: Duration,
    pub(super) mode: Mode,
    /// Weighted geometric mean of the latencies, in seconds.
    pub(super) mean: Option<f64>,
    /// The same of the last windows' means.
    pub(super) window_mean: Option<f64>,
    /// The least that the mean has been, in seconds; creeps up.
    pub(super) baseline: Option<f64>,
    /// The gain of the last step.
    pub(super) gain: f64,
    pub(super) throughput: Throughput,
    pub(super) decisions: Decisions,
}

impl Controller {
    /// A controller whose backends are up and have their configured weights. Of two members with one index the first
    /// counts.
    ///
    /// # Errors
    /// Constants that break a rule of [`Law::validate`].
    pub fn new(law: Law, now: Duration, members: impl IntoIterator<Item = Member>) -> Result<Self, LawError> {
        law.validate()?;
        let mut backends: Vec<_> = members.into_iter().map(|member| Tracked::new(member, now)).collect();
        backends.sort_by_key(|backend| backend.member.index);
        backends.dedup_by_key(|backend| backend.member.index);
        Ok(Self {
            law,
            backends,
            stepped: now,
            mode: Mode::Waiting,
            mean: None,
            window_mean: None,
            baseline: None,
            gain: law.gain,
            throughput: Throughput::new(now),
            decisions: Decisions::default(),
        })
    }

    /// Takes the backends that the service has now. Those that stay, by index, keep what was learnt; new ones start
    /// slowly.
    pub fn set_members(&mut self, now: Duration, members: impl IntoIterator<Item = Member>) {
        let mut before = std::mem::take(&mut self.backends);
        for member in members {
            let known = before.iter().position(|backend| backend.member.index == member.index);
            let backend = if let Some(position) = known {
                Tracked { member, ..before.swap_remove(position) }
            } else {
                Tracked::newcomer(&self.law, member, now)
            };
            self.backends.push(backend);
        }
        self.backends.sort_by_key(|backend| backend.member.index);
        self.backends.dedup_by_key(|backend| backend.member.index);
    }

    /// Takes the health of a backend; of one that is no member it changes nothing.
    pub fn set_health(&mut self, now: Duration, index: BackendIndex, health: Health) {
        let law = self.law;
        if let Some(backend) = self.find(index) {
            backend.set_health(&law, now, health);
        }
    }

    /// Takes a request or a probe that has ended. Samples of a backend that is no member, as they come while it is
    /// being removed, change nothing.
    pub fn observe(&mut self, now: Duration, index: BackendIndex, sample: Sample) {
        let law = self.law;
        if let Some(backend) = self.find(index) {
            backend.estimate.observe(&law, now, sample);
            self.throughput.sample(&law, sample);
        }
    }

    /// Takes the ages of all of a backend's requests that are outstanding at `now`: those older than [`Law::cap`] count
    /// at once, not when they end.
    pub fn outstanding(
        &mut self,
        now: Duration,
        index: BackendIndex,
        ages: impl IntoIterator<Item = Duration>,
    ) {
        let law = self.law;
        if let Some(backend) = self.find(index) {
            backend.estimate.outstanding(&law, now, ages);
        }
    }

    /// Takes how many requests came to the service since the last call, for [`Figures`]: samples may be a part of them.
    pub const fn requests(&mut self, count: u64) {
        self.throughput.requests(count);
    }

    /// Takes how many slots each backend has, for the next step. A weight does not run further ahead of its slots than a few steps, so
    /// that it need not come back all the way when the churn cap held the slots back.
    pub fn in_force(&mut self, slots: impl IntoIterator<Item = (BackendIndex, u32)>) {
        for backend in &mut self.backends {
            backend.in_force = None;
        }
        for (index, slots) in slots {
            if let Some(backend) = self.find(index) {
                backend.in_force = Some(f64::from(slots));
            }
        }
        self.scale_in_force();
    }

    /// Takes what an earlier controller had learnt: the baseline of its [`Figures`] and the factors of its [`Weights`].
    /// What is no positive number, or no member's, is passed over.
    pub fn restore(
        &mut self,
        baseline: Option<Duration>,
        factors: impl IntoIterator<Item = (BackendIndex, f64)>,
    ) {
        self.baseline = baseline.map(|baseline| baseline.as_secs_f64()).filter(|&seconds| seconds > 0.0);
        let (floor, ceiling) = (self.law.floor, self.law.ceiling);
        for (index, factor) in factors {
            if factor.is_finite()
                && factor > 0.0
                && let Some(backend) = self.find(index)
            {
                backend.log_factor = factor.clamp(floor, ceiling).ln();
                backend.told_factor = backend.factor();
            }
        }
    }

    /// Takes over what another controller has learnt of the same backends, under its own constants.
    pub fn inherit(&mut self, other: &Self) {
        let law = self.law;
        *self = other.clone();
        self.law = law;
    }

    fn find(&mut self, index: BackendIndex) -> Option<&mut Tracked> {
        let position = self.backends.binary_search_by_key(&index, |backend| backend.member.index).ok()?;
        self.backends.get_mut(position)
    }

    /// One step of the law. It goes as far as the time that each backend's samples span allows, in periods, up to three:
    /// called late, or seldom, it makes no leap.
    pub fn step(&mut self, now: Duration) -> Weights {
        let elapsed = now.saturating_sub(self.stepped).min(self.law.period);
        self.stepped = self.stepped.max(now);
        let before: Vec<Standing> = self.backends.iter().map(|backend| backend.standing).collect();
        for backend in &mut self.backends {
            backend.rise(&self.law, now);
        }
        let mode = self.govern(now, elapsed);
        for backend in &mut self.backends {
            backend.in_force = None;
        }
        self.throughput.step(&self.law, now);
        self.decisions.mode(now, self.mode, mode);
        self.mode = mode;
        for (backend, before) in self.backends.iter_mut().zip(before) {
            self.decisions.backend(now, backend, before, self.mean);
        }
        self.weights()
    }

    /// What the last step decided.
    #[must_use]
    pub fn weights(&self) -> Weights {
        let backends = self.backends.iter().map(|backend| backend.output(&self.law, self.stepped, self.mode));
        Weights { mode: self.mode, backends: backends.collect() }
    }

    /// The service's figures at the last step.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures::of(self)
    }

    /// The constants.
    #[must_use]
    pub const fn law(&self) -> &Law {
        &self.law
    }
}
