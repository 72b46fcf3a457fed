//! The last decisions, kept to be told in words.

use std::{collections::VecDeque, fmt::Write as _, time::Duration};

use super::{Controller, Mode, Standing, member::Tracked};

/// Decisions that are kept of a service.
const KEPT: usize = 256;
/// A weight is told of again when it moved by this ratio since it was last told of.
const TOLD_RATIO: f64 = 1.05;

/// One decision about a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When, on the caller's clock.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The law holds otherwise than before, for the whole service.
    Mode(Mode),
    /// A backend's weight moved, or stands for another reason.
    Backend(BackendDecision),
}

/// A decision about one backend.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendDecision {
    /// The backend's name.
    pub backend: String,
    /// Factor on its configured weight when it was last told of.
    pub from: f64,
    /// Factor now.
    pub to: f64,
    /// Its smoothed latency.
    pub latency: Option<Duration>,
    /// The latency over the mean of the service.
    pub ratio: Option<f64>,
    /// Why the weight is as it is.
    pub standing: Standing,
}

/// The last decisions of a service.
#[derive(Clone, Debug, Default)]
pub(super) struct Decisions {
    kept: VecDeque<Decision>,
}

impl Decisions {
    fn push(&mut self, at: Duration, what: What) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(Decision { at, what });
    }

    /// Keeps a change of the mode.
    pub(super) fn mode(&mut self, at: Duration, before: Mode, now: Mode) {
        if before != now {
            self.push(at, What::Mode(now));
        }
    }

    /// Keeps what changed for a backend, when it is worth telling: its weight by a twentieth, or the reason, unless
    /// that is one of those that come and go from step to step.
    pub(super) fn backend(
        &mut self,
        at: Duration,
        backend: &mut Tracked,
        before: Standing,
        mean: Option<f64>,
    ) {
        let factor = backend.factor();
        let moved = (factor / backend.told_factor).ln().abs() >= TOLD_RATIO.ln();
        let standing = backend.standing;
        let other_reason = !standing.same_kind(before) && (standing.is_lasting() || before.is_lasting());
        if !moved && !other_reason {
            return;
        }
        let latency = backend.estimate.smoothed();
        let decision = BackendDecision {
            backend: backend.member.name.clone(),
            from: backend.told_factor,
            to: factor,
            latency: latency.map(Duration::from_secs_f64),
            ratio: latency.zip(mean).map(|(latency, mean)| latency / mean),
            standing,
        };
        backend.told_factor = factor;
        self.push(at, What::Backend(decision));
    }
}

impl Standing {
    /// Whether it usually lasts for many steps, so that its beginning and end are worth a line.
    fn is_lasting(self) -> bool {
        use super::Clamp;
        match self {
            Self::Steering
            | Self::Level
            | Self::Returning
            | Self::Held { .. }
            | Self::Clamped(Clamp::Step | Clamp::Slots) => false,
            Self::Clamped(Clamp::Floor | Clamp::Ceiling) | Self::Drifting | Self::Frozen(_) => true,
        }
    }
}

impl Controller {
    /// The decisions that are kept, oldest first; at most 256.
    pub fn decisions(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.kept.iter()
    }

    /// The state and the last decisions in words, a line each, for an operator. Ages count from `now`.
    #[must_use]
    pub fn explain(&self, now: Duration) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", self.mode);
        if let Some((mean, baseline)) = self.mean.zip(self.baseline) {
            let _ = writeln!(
                text,
                "mean latency {}, baseline {}: gain {:.4}",
                milliseconds(mean),
                milliseconds(baseline),
                self.gain
            );
        }
        for backend in &self.backends {
            let _ = writeln!(text, "{}", self.line(backend));
        }
        for decision in self.decisions() {
            let age = now.saturating_sub(decision.at).as_secs();
            let _ = writeln!(text, "{age} s ago: {}", decision.what.in_words());
        }
        text
    }

    fn line(&self, backend: &Tracked) -> String {
        let weight = f64::from(backend.member.weight) * backend.factor();
        let mut line = format!("{}: weight {} -> {weight:.1}", backend.member.name, backend.member.weight);
        if let Some(latency) = backend.estimate.smoothed() {
            let _ = write!(line, ", latency {}", milliseconds(latency));
            if let Some(mean) = self.mean {
                let _ = write!(line, " ({:.2} of the mean)", latency / mean);
            }
        }
        let _ = write!(line, "; {}", backend.standing);
        line
    }
}

impl What {
    fn in_words(&self) -> String {
        match self {
            Self::Mode(mode) => mode.to_string(),
            Self::Backend(decision) => decision.in_words(),
        }
    }
}

impl BackendDecision {
    /// In one line.
    #[must_use]
    pub fn in_words(&self) -> String {
        let Self { backend, from, to, latency, ratio, standing } = self;
        let mut line = if (to - from).abs() < 0.000_5 {
            format!("{backend}: factor {to:.3}")
        } else {
            format!("{backend}: factor {from:.3} -> {to:.3}")
        };
        if let (Some(latency), Some(ratio)) = (latency, ratio) {
            let latency = milliseconds(latency.as_secs_f64());
            let _ = write!(line, ", as it answers in {latency}, {ratio:.2} of the mean");
        }
        let _ = write!(line, "; {standing}");
        line
    }
}

fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}
