//! The law: from smoothed latencies to the change of the weights. docs/latency-control.md gives the reasons.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    Clamp, Controller, Freeze, Health, Law, Mode, Standing,
    member::Tracked,
    normalise::{Part, renormalise},
    sample::Estimate,
};

/// A window that took several periods to fill, as it does with probes, counts for so many steps, up to this.
const MOST_PERIODS: f64 = 3.0;
/// How many steps a weight may be ahead of its slots.
const LEAD_STEPS: f64 = 2.0;
/// A change of ln(weight) that is none: a slot table of the usual size does not show it in an hour.
const LEVEL: f64 = 1e-8;

/// What a step of a backend's weight comes from.
struct Step {
    position: usize,
    /// Change of ln(weight), within the clamp.
    change: f64,
    standing: Standing,
}

impl Controller {
    /// Moves the weights as far as the samples allow, and says how far the law held.
    pub(super) fn govern(&mut self, now: Duration, elapsed: Duration) -> Mode {
        for backend in &mut self.backends {
            backend.urgent = false;
        }
        if self.in_panic() {
            self.freeze(Some(Freeze::Panic));
            return Mode::Panic;
        }
        self.freeze(None);
        self.rescale();
        let (mut governed, mut missing, mut closed) = (0_usize, 0_usize, Vec::new());
        for (position, backend) in self.backends.iter_mut().enumerate().filter(|(_, b)| b.governed()) {
            governed += 1;
            if backend.estimate.close(&self.law, now) {
                closed.push(position);
            }
            missing += usize::from(backend.estimate.missing(&self.law, now));
            backend.standing = if backend.estimate.silent(&self.law, now) {
                Standing::Drifting
            } else {
                Standing::Held { samples: backend.estimate.samples() }
            };
        }
        if governed == 0 {
            return Mode::Waiting;
        }
        if missing * 2 >= governed {
            return self.without_data();
        }
        self.average(elapsed);
        let mut steps: Vec<Step> = closed.into_iter().filter_map(|position| self.steer(position)).collect();
        steps.extend(self.drift(elapsed));
        self.apply(&steps);
        Mode::Steering
    }

    /// Whether too few of those that the operator wants are up.
    fn in_panic(&self) -> bool {
        let wanted = self.backends.iter().filter(|b| b.health.wanted() && b.member.weight > 0);
        let (mut all, mut up) = (0_u32, 0_u32);
        for backend in wanted {
            all += 1;
            up += u32::from(backend.health == Health::Up);
        }
        f64::from(up) < self.law.panic_threshold * f64::from(all)
    }

    /// Sets the standing of what the law does not hold for; with a reason, of all that it else holds for too.
    fn freeze(&mut self, all: Option<Freeze>) {
        for backend in &mut self.backends {
            let own = match backend.health {
                _ if backend.member.weight == 0 => Some(Freeze::WeightZero),
                Health::Draining => Some(Freeze::Draining),
                Health::Disabled => Some(Freeze::Disabled),
                Health::Down => all.or(Some(Freeze::Down)),
                Health::Up => all.or(backend.rising_since.map(|_| Freeze::SlowStart)),
            };
            if let Some(freeze) = own {
                backend.standing = Standing::Frozen(freeze);
            }
        }
    }

    /// Half of the backends have no data: all hold. At the start of all that is no news.
    fn without_data(&mut self) -> Mode {
        let first = self.mean.is_none();
        for backend in self.backends.iter_mut().filter(|backend| backend.governed()) {
            backend.standing = if first {
                Standing::Held { samples: backend.estimate.samples() }
            } else {
                Standing::Frozen(Freeze::DataMissing)
            };
        }
        if first { Mode::Waiting } else { Mode::Frozen }
    }

    /// The mean latency, its baseline, and what follows from them: the gain, and whether it is urgent.
    fn average(&mut self, elapsed: Duration) {
        let Some(mean) = self.geometric_mean(Estimate::smoothed) else { return };
        let crept = self.baseline.map(|b| b * (self.law.baseline_creep * elapsed.as_secs_f64()).exp());
        let baseline = crept.map_or(mean, |baseline| baseline.min(mean));
        self.mean = Some(mean);
        self.window_mean = self.geometric_mean(Estimate::mean);
        self.baseline = Some(baseline);
        self.gain = self.law.gain / (mean / baseline).max(1.0).powf(self.law.gain_exponent);
        let urgent = self.law.urgent_ratio.ln();
        for position in 0..self.backends.len() {
            let distance = self.backends.get(position).and_then(|backend| self.distance(backend));
            if let Some(backend) = self.backends.get_mut(position) {
                backend.urgent = distance.is_some_and(|distance| distance.abs() >= urgent);
            }
        }
    }

    /// Mean of a latency of each backend that has it, weighted by what they are sent.
    fn geometric_mean(&self, latency: fn(&Estimate) -> Option<f64>) -> Option<f64> {
        let (mut weights, mut logs) = (0.0, 0.0);
        for backend in self.backends.iter().filter(|backend| backend.governed()) {
            if let Some(latency) = latency(&backend.estimate) {
                let weight = backend.weight() * backend.factor();
                weights += weight;
                logs += weight * latency.ln();
            }
        }
        (weights > 0.0).then(|| (logs / weights).exp())
    }

    /// The step that a backend's latency asks for.
    fn steer(&self, position: usize) -> Option<Step> {
        let backend = self.backends.get(position)?;
        let distance = self.distance(backend)?;
        let periods = backend.estimate.window() / self.law.period.as_secs_f64();
        let periods = periods.min(MOST_PERIODS);
        let beyond = soft_deadband(distance, self.law.deadband);
        let ordinary = self.gain * self.law.pull.mul_add(backend.log_factor, beyond);
        let urgent = self.law.urgent_gain * soft_deadband(distance, self.law.urgent_ratio.ln());
        let wanted = -(ordinary + urgent) * periods;
        let most = self.law.step * periods;
        let change = wanted.clamp(-most, most);
        let standing = if wanted.abs() > most {
            Standing::Clamped(Clamp::Step)
        } else if beyond != 0.0 {
            Standing::Steering
        } else if change.abs() > LEVEL {
            Standing::Returning
        } else {
            Standing::Level
        };
        Some(Step { position, change, standing })
    }

    /// ln(latency / mean). When it is to be confirmed, the nearer to 0 of the average's and the last window's, and 0
    /// when they lie on both sides: a spike that has passed, and a backlog that is gone, move nothing.
    fn distance(&self, backend: &Tracked) -> Option<f64> {
        let mean = self.mean.filter(|_| backend.governed())?;
        let average = (backend.estimate.smoothed()? / mean).ln();
        if !self.law.confirm {
            return Some(average);
        }
        let window = (backend.estimate.mean()? / self.window_mean?).ln();
        Some(if average > 0.0 { average.min(window).max(0.0) } else { average.max(window).min(0.0) })
    }

    /// Steps of those without data, towards the configured weight and no further.
    fn drift(&self, elapsed: Duration) -> Vec<Step> {
        let most = self.law.drift * elapsed.as_secs_f64();
        let drifting = self.backends.iter().enumerate().filter(|(_, b)| b.standing == Standing::Drifting);
        let steps = drifting.map(|(position, backend)| Step {
            position,
            change: (-backend.log_factor).clamp(-most, most),
            standing: Standing::Drifting,
        });
        steps.collect()
    }

    /// Takes the steps, within the bounds, and brings the sum of all weights back to what it was.
    fn apply(&mut self, steps: &[Step]) {
        let law = self.law;
        for step in steps {
            let Some(backend) = self.backends.get_mut(step.position) else { continue };
            let wanted = backend.log_factor + step.change;
            let lead = backend.lead(&law);
            backend.standing =
                if lead.contains(&wanted) { step.standing } else { Standing::Clamped(Clamp::Slots) };
            // The bounds come with the common number, or that would lift a weight off its floor again.
            backend.log_factor = wanted.clamp(*lead.start(), *lead.end());
        }
        self.rescale();
        for step in steps {
            if let Some(backend) = self.backends.get_mut(step.position) {
                backend.note_bound(&law, step.change);
            }
        }
    }

    /// Brings the weights that the law holds for to the sum of the configured ones, which also differs after one came
    /// or went. Their shares among each other stay, within the bounds.
    fn rescale(&mut self) {
        let law = self.law;
        let mut governed: Vec<_> = self.backends.iter_mut().filter(|backend| backend.governed()).collect();
        let mut parts: Vec<_> =
            governed.iter().map(|b| Part { weight: b.weight(), factor: b.factor() }).collect();
        let total: f64 = parts.iter().map(|part| part.weight).sum();
        let sum: f64 = parts.iter().map(|part| part.weight * part.factor).sum();
        // A logarithm and back may be off by a digit.
        let bounds = law.floor * (1.0 - 1e-9)..=law.ceiling * (1.0 + 1e-9);
        let within = parts.iter().all(|part| bounds.contains(&part.factor));
        // So that weights that nothing moved stay the same to the last digit.
        if within && (sum - total).abs() <= total * 1e-9 {
            return;
        }
        renormalise(&mut parts, total, law.floor, law.ceiling);
        for (backend, part) in governed.iter_mut().zip(parts) {
            backend.log_factor = part.factor.ln();
        }
    }

    /// Turns the slots that were told into factors: shares of those that the law holds for.
    pub(super) fn scale_in_force(&mut self) {
        let governed = || self.backends.iter().filter(|backend| backend.governed());
        let weights: f64 = governed().map(Tracked::weight).sum();
        let slots: f64 = governed().filter_map(|backend| backend.in_force).sum();
        for backend in &mut self.backends {
            let share = backend.in_force.filter(|_| slots > 0.0 && backend.governed()).map(|own| own / slots);
            backend.in_force = share.map(|share| share * weights / backend.weight());
        }
    }
}

impl Tracked {
    /// The range of ln(factor) that is not too far ahead of the slots in force; without limit if those are not known.
    fn lead(&self, law: &Law) -> RangeInclusive<f64> {
        let Some(in_force) = self.in_force else { return f64::NEG_INFINITY..=f64::INFINITY };
        let in_force = in_force.clamp(law.floor, law.ceiling).ln();
        let lead = LEAD_STEPS * law.step;
        in_force - lead..=in_force + lead
    }

    /// Says when a bound stopped the step.
    fn note_bound(&mut self, law: &Law, change: f64) {
        let factor = self.factor();
        if factor <= law.floor * (1.0 + 1e-9) && change < 0.0 {
            self.standing = Standing::Clamped(Clamp::Floor);
        } else if factor >= law.ceiling * (1.0 - 1e-9) && change > 0.0 {
            self.standing = Standing::Clamped(Clamp::Ceiling);
        }
    }
}

/// What of `distance` lies beyond the deadband. Soft: it starts from 0, so that there is no jump to hunt around.
fn soft_deadband(distance: f64, deadband: f64) -> f64 {
    if distance > deadband {
        distance - deadband
    } else if distance < -deadband {
        distance + deadband
    } else {
        0.0
    }
}
