//! One service whose weights follow latency: its controller, its churn cap, and what is told of it. Sans-io: takes `now`, on the
//! caller's clock, with everything. Samples come by the backend's name from whoever measures: probes, or the data path.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use lb_common::slot::BackendIndex;

use super::{
    BackendWeight, ChurnCap, Controller, Figures, Health, Law, LawError, Member, Mode, Outcome, Published,
    Sample, Weights, publish,
};

/// Quantiles are of the samples of the last one to two stretches of this length.
const STRETCH: Duration = Duration::from_secs(30);
/// Longest latency told apart, in microseconds.
const LONGEST: u64 = 60_000_000;

/// A backend as the state and the maps have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Governed {
    /// Its name.
    pub name: String,
    /// Its index in the data plane.
    pub index: BackendIndex,
    /// Its configured weight.
    pub weight: u32,
    /// Its share without a factor from latency; 0: it takes no new connections.
    pub share: u32,
    /// What checks and operator make of it.
    pub health: Health,
    /// Slots that name it.
    pub slots: u32,
    /// The factor that its share is multiplied with now.
    pub factor: f64,
}

/// What a step comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The factors to be followed, by name.
    pub factors: BTreeMap<String, f64>,
    /// How many slots move for them.
    pub moved: u32,
}

/// What is to be shown of a service.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// How far the law holds.
    pub mode: &'static str,
    /// The same in a sentence.
    pub reason: String,
    /// The figures.
    pub figures: Figures,
    /// By backend.
    pub backends: BTreeMap<String, ShownBackend>,
}

/// What is to be shown of a backend.
#[derive(Clone, Debug)]
pub struct ShownBackend {
    /// What the controller decided.
    pub weight: BackendWeight,
    /// Median and 99th percentile of the last samples.
    pub quantiles: Option<(Duration, Duration)>,
    /// Samples since it is measured.
    pub samples: u64,
}

/// One service whose weights follow latency.
#[derive(Debug)]
pub struct Governor {
    controller: Controller,
    /// `None`: slots may move at any time, because all flows are remembered.
    cap: Option<ChurnCap>,
    slots: u32,
    capped: bool,
    begun: bool,
    stepped: Duration,
    last: Weights,
    latencies: BTreeMap<String, (BackendIndex, Latencies)>,
}

impl Governor {
    /// A governor without backends. `capped`: whether moved slots cost look-ups.
    ///
    /// # Errors
    /// Constants that break a rule of [`Law::validate`].
    pub fn new(law: Law, slots: u32, capped: bool, now: Duration) -> Result<Self, LawError> {
        let controller = Controller::new(law, now, [])?;
        let last = controller.weights();
        let cap = capped.then(|| ChurnCap::new(&law, slots, now));
        let latencies = BTreeMap::new();
        Ok(Self { controller, cap, slots, capped, begun: false, stepped: now, last, latencies })
    }

    /// Whether it was made for this.
    #[must_use]
    pub fn is_for(&self, law: &Law, slots: u32, capped: bool) -> bool {
        (self.controller.law(), self.slots, self.capped) == (law, slots, capped)
    }

    /// Takes over what another one learnt, whose constants were others.
    pub fn inherit(&mut self, other: &Self) {
        self.controller.inherit(&other.controller);
        self.latencies.clone_from(&other.latencies);
        self.begun = other.begun;
    }

    /// Takes a request or a check of a backend, by its name, that has ended.
    pub fn sample(&mut self, backend: &str, latency: Duration, outcome: Outcome, now: Duration) {
        let index = self.latencies.get(backend).map(|(index, _)| *index);
        if let Some(index) = index {
            self.samples(index, Sample { latency, outcome }, 1, now);
        }
    }

    /// Takes requests of a backend, by its index, that ended alike: `times` of them.
    pub fn samples(&mut self, index: BackendIndex, sample: Sample, times: u32, now: Duration) {
        let Some((_, latencies)) = self.latencies.values_mut().find(|(have, _)| *have == index) else {
            return;
        };
        for _ in 0..times {
            self.controller.observe(now, index, sample);
        }
        latencies.record(sample.latency, times, now);
    }

    /// Takes the ages of all of a backend's requests that are outstanding now; see [`Controller::outstanding`].
    pub fn outstanding(
        &mut self,
        index: BackendIndex,
        ages: impl IntoIterator<Item = Duration>,
        now: Duration,
    ) {
        self.controller.outstanding(now, index, ages);
    }

    /// Takes how many requests came to the service since the last call; see [`Controller::requests`].
    pub const fn requests(&mut self, count: u64) {
        self.controller.requests(count);
    }

    /// Whether a step is due.
    #[must_use]
    pub fn is_due(&self, now: Duration) -> bool {
        now >= self.stepped + self.controller.law().period
    }

    /// Takes the backends as they are now. Those of the first call are taken to have served for long.
    pub fn update(&mut self, backends: &[Governed], now: Duration) {
        let members = backends.iter().map(|backend| Member {
            index: backend.index,
            name: backend.name.clone(),
            weight: backend.weight,
        });
        if self.begun {
            self.controller.set_members(now, members);
        } else {
            let law = *self.controller.law();
            if let Ok(controller) = Controller::new(law, now, members) {
                self.controller = controller;
            }
            self.controller.restore(None, backends.iter().map(|backend| (backend.index, backend.factor)));
            self.begun = true;
        }
        for backend in backends {
            self.controller.set_health(now, backend.index, backend.health);
        }
        let mut before = std::mem::take(&mut self.latencies);
        for backend in backends {
            let latencies = before.remove(&backend.name).filter(|(index, _)| *index == backend.index);
            let latencies = latencies.unwrap_or_else(|| (backend.index, Latencies::new(now)));
            self.latencies.insert(backend.name.clone(), latencies);
        }
    }

    /// One step of the law, and as much of it as the churn cap allows.
    pub fn step(&mut self, backends: &[Governed], now: Duration) -> Step {
        self.update(backends, now);
        self.stepped = now;
        self.controller.in_force(backends.iter().map(|backend| (backend.index, backend.slots)));
        self.last = self.controller.step(now);
        let mut published: Vec<_> = backends.iter().map(|backend| self.published(backend)).collect();
        let moved = publish(self.cap.as_mut(), now, self.slots, &mut published);
        let factors = published.into_iter().map(|backend| (backend.name, backend.factor)).collect();
        Step { factors, moved }
    }

    fn published(&self, backend: &Governed) -> Published {
        let decided = self.last.backends.iter().find(|decided| decided.index == backend.index);
        Published {
            name: backend.name.clone(),
            index: backend.index,
            share: backend.share,
            factor: backend.factor,
            wanted: decided.map_or(1.0, |decided| decided.factor),
            urgent: decided.is_some_and(|decided| decided.urgent),
        }
    }

    /// How far the law held in the last step.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.last.mode
    }

    /// What is to be shown.
    #[must_use]
    pub fn shown(&self) -> Shown {
        let backends = self.latencies.iter().filter_map(|(name, (index, latencies))| {
            let weight = *self.last.backends.iter().find(|decided| decided.index == *index)?;
            let shown = ShownBackend { weight, quantiles: latencies.quantiles(), samples: latencies.samples };
            Some((name.clone(), shown))
        });
        Shown {
            mode: self.last.mode.word(),
            reason: self.last.mode.to_string(),
            figures: self.controller.figures(),
            backends: backends.collect(),
        }
    }

    /// The state and the last decisions in words, a line each.
    #[must_use]
    pub fn explain(&self, now: Duration) -> String {
        self.controller.explain(now)
    }
}

/// Latencies of a backend: of the stretch that goes on, and of the one before.
#[derive(Clone, Debug)]
struct Latencies {
    /// In microseconds; `None` if there cannot be one, which its constant bounds exclude.
    now: Option<Histogram<u32>>,
    before: Option<Histogram<u32>>,
    since: Duration,
    samples: u64,
}

impl Latencies {
    fn new(now: Duration) -> Self {
        let empty = || Histogram::new_with_bounds(1, LONGEST, 2).ok();
        Self { now: empty(), before: empty(), since: now, samples: 0 }
    }

    fn record(&mut self, latency: Duration, times: u32, now: Duration) {
        if now.saturating_sub(self.since) >= STRETCH {
            std::mem::swap(&mut self.now, &mut self.before);
            if let Some(histogram) = &mut self.now {
                histogram.reset();
            }
            self.since = now;
        }
        self.samples += u64::from(times);
        if let Some(histogram) = &mut self.now {
            let latency = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            histogram.saturating_record_n(latency, times);
        }
    }

    fn quantiles(&self) -> Option<(Duration, Duration)> {
        let mut all = self.before.clone()?;
        // Of the same bounds, so it fits.
        all.add(self.now.as_ref()?).ok()?;
        let quantile = |part| Duration::from_micros(all.value_at_quantile(part));
        (!all.is_empty()).then(|| (quantile(0.5), quantile(0.99)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Governed, Governor};
    use crate::weight::{Health, Law, Outcome, Standing, WEIGHT_SCALE};
    use std::{collections::BTreeMap, time::Duration};

    const SLOTS: u32 = 4096;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A service whose slots follow at once what is published.
    struct Bench {
        governor: Governor,
        backends: Vec<Governed>,
        latency: BTreeMap<String, u64>,
        now: u64,
        moved: u32,
    }

    impl Bench {
        fn new(latencies: &[u64]) -> Self {
            let law = Law::for_probes();
            let backends: Vec<_> = (1..)
                .zip(latencies)
                .map(|(index, _)| Governed {
                    name: format!("b{index}"),
                    index,
                    weight: 100,
                    share: 100 * WEIGHT_SCALE,
                    health: Health::Up,
                    slots: SLOTS / latencies.len() as u32,
                    factor: 1.0,
                })
                .collect();
            let mut governor = Governor::new(law, SLOTS, true, at(0)).unwrap();
            governor.update(&backends, at(0));
            let latency = backends.iter().map(|b| b.name.clone()).zip(latencies.iter().copied()).collect();
            Self { governor, backends, latency, now: 0, moved: 0 }
        }

        fn seconds(&mut self, count: u64) {
            for _ in 0..count {
                for backend in &self.backends {
                    let latency = Duration::from_millis(self.latency[&backend.name]);
                    for _ in 0..2 {
                        self.governor.sample(&backend.name, latency, Outcome::Success, at(self.now));
                    }
                }
                self.now += 1;
                assert!(self.governor.is_due(at(self.now)));
                let step = self.governor.step(&self.backends, at(self.now));
                self.moved += step.moved;
                let total: f64 = step.factors.values().sum();
                for backend in &mut self.backends {
                    backend.factor = step.factors[&backend.name];
                    backend.slots = (f64::from(SLOTS) * backend.factor / total) as u32;
                }
            }
        }
    }

    #[test]
    fn weights_leave_the_slow_one_under_the_cap_and_come_back() {
        let mut bench = Bench::new(&[10, 10, 10, 30]);
        bench.seconds(600);
        let slow = bench.backends[3].factor;
        assert!((0.1..0.5).contains(&slow), "{slow}");
        assert!(f64::from(bench.moved) <= f64::from(SLOTS) * 0.1 * 11.0);
        let shown = bench.governor.shown();
        assert_eq!(shown.mode, "steering");
        let backend = &shown.backends["b4"];
        let (median, most) = backend.quantiles.unwrap();
        assert!(median.as_millis() == 30 && most.as_millis() == 30, "{median:?} {most:?}");
        assert_eq!(backend.samples, 1200);
        assert!(bench.governor.explain(at(600)).contains("b4: "), "{}", bench.governor.explain(at(600)));
        bench.latency.insert("b4".to_owned(), 10);
        bench.seconds(900);
        assert!(bench.backends[3].factor > 0.9, "{}", bench.backends[3].factor);
    }

    #[test]
    fn another_start_goes_on_from_the_factors_in_force() {
        let mut bench = Bench::new(&[10, 10]);
        (bench.backends[0].factor, bench.backends[1].factor) = (1.4, 0.6);
        let law = Law::for_probes();
        let mut governor = Governor::new(law, SLOTS, true, at(0)).unwrap();
        let step = governor.step(&bench.backends, at(1));
        assert_eq!(step.moved, 0, "nothing is known yet, so nothing moves: {step:?}");
        let mut inherits = Governor::new(Law { gain: 0.1, ..law }, SLOTS, true, at(1)).unwrap();
        inherits.inherit(&governor);
        assert_eq!(inherits.step(&bench.backends, at(2)).moved, 0);
    }

    #[test]
    fn who_is_down_keeps_its_factor() {
        let mut bench = Bench::new(&[10, 10, 10, 30]);
        bench.seconds(300);
        let factor = |bench: &Bench| bench.governor.shown().backends["b4"].weight.factor;
        let before = factor(&bench);
        bench.backends[3].health = Health::Down;
        bench.backends[3].share = 0;
        bench.seconds(20);
        assert!((factor(&bench) / before).ln().abs() < 0.02, "{before} {}", factor(&bench));
        let standing = bench.governor.shown().backends["b4"].weight.standing;
        assert!(matches!(standing, Standing::Frozen(_)), "{standing:?}");
    }
}
