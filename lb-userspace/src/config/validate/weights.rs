//! `[service.weights]`, with what it needs of the service.

use super::{Check, Refusal, rules};
use crate::config::model::{Algorithm, Constants, Health, LatencySource, Weights};
use crate::config::raw::{RawService, RawWeights, Text};
use crate::weight::Law;
use lb_common::backend::Forwarding;
use std::time::Duration;
use toml::Spanned;

/// The longest of every duration here; the law's own bounds are narrower.
const HOUR: Duration = Duration::from_hours(1);

/// One flow in so many is sampled unless told otherwise.
const ONE_OF: u32 = 32;
/// And at the most.
const MOST: u32 = 1 << (lb_common::latency::Sampling::MAX - 1);

/// What is known of the service that the weights are of.
pub(super) struct Service {
    pub forwarding: Forwarding,
    pub algorithm: Algorithm,
    pub is_checked: bool,
    pub panic_threshold: u8,
    pub slow_start: Duration,
}

impl Service {
    /// Of what was valid; `None`: not enough of it.
    pub fn new(
        forwarding: Option<Forwarding>,
        algorithm: Option<Algorithm>,
        health: Option<&Option<Health>>,
        panic_threshold: Option<u8>,
        slow_start: Option<Duration>,
    ) -> Option<Self> {
        Some(Self {
            forwarding: forwarding?,
            algorithm: algorithm?,
            is_checked: health?.is_some(),
            panic_threshold: panic_threshold?,
            slow_start: slow_start?,
        })
    }
}

/// Whether the table asks for weights from the latency of checks, as far as that can be told.
pub(super) fn follow_checks(raw: &RawService) -> bool {
    let Some(weights) = &raw.weights else { return false };
    let is = |text: Option<&Text>, word| text.is_some_and(|text| text.get_ref() == word);
    let nat = is(raw.forwarding.as_ref(), Forwarding::Nat.name());
    let source = weights.get_ref().source.as_ref();
    is(weights.get_ref().mode.as_ref(), "latency") && (is(source, "probes") || (source.is_none() && !nat))
}

impl Check<'_> {
    /// The weights of a service; static ones without a table.
    pub(super) fn weights(&mut self, raw: &RawService, of: Option<&Service>) -> Option<Weights> {
        let Some(spanned) = &raw.weights else { return Some(Weights::Static) };
        let missing = "weights has no mode; add mode = \"static\" or \"latency\"";
        let mode = self.required(spanned.span().start, spanned.get_ref().mode.as_ref(), missing)?;
        let latency = self.text(mode, |text| {
            rules::pick("weights mode", text, &[("static", false), ("latency", true)], &[])
        })?;
        if latency {
            let source = of.and_then(|of| self.latency_source(mode, spanned.get_ref(), of));
            let fits = of.map(|of| self.can_follow_latency(mode, of));
            let law = self.law(spanned, of, source);
            fits??;
            Some(Weights::Latency(law?, source?))
        } else {
            self.no_constants(spanned.get_ref()).map(|()| Weights::Static)
        }
    }

    /// Refuses constants of a law that is not asked for: they would have no effect.
    fn no_constants(&mut self, raw: &RawWeights) -> Option<()> {
        let mut all = Some(());
        for (key, at) in raw.keys() {
            let refusal = format!("{key} has no effect with weights mode \"static\"; remove it");
            all = self.at(at, Err(Refusal(refusal)));
        }
        all
    }

    /// Where latencies come from: of nat's requests unless told otherwise, of checks in the other modes.
    fn latency_source(&mut self, mode: &Text, raw: &RawWeights, of: &Service) -> Option<LatencySource> {
        let nat = of.forwarding == Forwarding::Nat;
        let passive = match &raw.source {
            Some(text) => self.text(text, |text| {
                rules::pick("weights source", text, &[("probes", false), ("passive", true)], &[])
            })?,
            None => nat,
        };
        if passive && !nat {
            let at = raw.source.as_ref().unwrap_or(mode).span().start;
            let refusal = format!(
                "weights source \"passive\" needs answers that pass the balancer, and with forwarding {:?} they do not; use \"nat\", or source \"probes\"",
                of.forwarding.name()
            );
            return self.at(at, Err(Refusal(refusal)));
        }
        if !passive && !of.is_checked {
            let refusal = "weights mode \"latency\" takes latencies from health checks, and there are none; add [service.health]";
            return self.at(mode.span().start, Err(Refusal(refusal.to_owned())));
        }
        match &raw.sample {
            None if passive => Some(LatencySource::Passive { one_of: ONE_OF }),
            None => Some(LatencySource::Probes),
            Some(number) if !passive => {
                let refusal = "sample has no effect with weights source \"probes\"; remove it";
                self.at(number.span().start, Err(Refusal(refusal.to_owned())))
            }
            Some(number) => {
                let one_of = u32::try_from(*number.get_ref()).ok();
                let one_of = one_of.filter(|one_of| one_of.is_power_of_two() && *one_of <= MOST);
                let refusal = || {
                    let given = number.get_ref();
                    Refusal(format!(
                        "sample {given} is no power of two from 1 to {MOST}; of one flow in so many the latency is taken"
                    ))
                };
                let one_of = self.at(number.span().start, one_of.ok_or_else(refusal))?;
                Some(LatencySource::Passive { one_of })
            }
        }
    }

    /// That there is a table whose shares follow weights.
    fn can_follow_latency(&mut self, mode: &Text, of: &Service) -> Option<()> {
        let at = mode.span().start;
        let why = match of.algorithm {
            Algorithm::Hash | Algorithm::RoundRobin { per_client: false } => return Some(()),
            Algorithm::Maglev => {
                "\"maglev\" keeps the tables of several balancers equal, and each measures for itself"
            }
            Algorithm::RoundRobin { per_client: true } => {
                "with per_client each client walks all backends alike"
            }
            Algorithm::LeastConnections => "\"least-connections\" follows the load already",
        };
        let refusal = format!(
            "weights mode \"latency\" does not go with this algorithm: {why}; use algorithm \"hash\" or \"round-robin\", or mode \"static\""
        );
        self.at(at, Err(Refusal(refusal)))
    }

    /// The constants: each is the default unless it is written, and all are held to their bounds at once.
    fn law(
        &mut self,
        spanned: &Spanned<RawWeights>,
        of: Option<&Service>,
        source: Option<LatencySource>,
    ) -> Option<Constants> {
        let raw = spanned.get_ref();
        let passive = matches!(source, Some(LatencySource::Passive { .. }));
        let mut law = if passive { Law::default() } else { Law::for_probes() };
        if let Some(of) = of {
            law.panic_threshold = f64::from(of.panic_threshold) / 100.0;
            law.slow_start = of.slow_start;
        }
        let durations = [
            ("period", &raw.period, &mut law.period),
            ("cap", &raw.cap, &mut law.cap),
            ("smoothing", &raw.smoothing, &mut law.smoothing),
            ("stale_after", &raw.stale_after, &mut law.stale_after),
            ("p99_target", &raw.p99_target, &mut law.p99_target),
        ];
        let mut all = Some(());
        for (key, text, constant) in durations {
            let Some(text) = text else { continue };
            match self.text(text, |text| rules::duration(key, text, Duration::ZERO..=HOUR)) {
                Some(duration) => *constant = duration,
                None => all = None,
            }
        }
        for (number, constant) in [
            (&raw.deadband, &mut law.deadband),
            (&raw.gain, &mut law.gain),
            (&raw.gain_exponent, &mut law.gain_exponent),
            (&raw.urgent_gain, &mut law.urgent_gain),
            (&raw.urgent_ratio, &mut law.urgent_ratio),
            (&raw.pull, &mut law.pull),
            (&raw.step, &mut law.step),
            (&raw.floor, &mut law.floor),
            (&raw.ceiling, &mut law.ceiling),
            (&raw.baseline_creep, &mut law.baseline_creep),
            (&raw.drift, &mut law.drift),
            (&raw.slow_start_floor, &mut law.slow_start_floor),
            (&raw.churn, &mut law.churn),
            (&raw.churn_urgent, &mut law.churn_urgent),
        ] {
            *constant = number.as_ref().map_or(*constant, |number| *number.get_ref());
        }
        law.confirm = raw.confirm.as_ref().map_or(law.confirm, |confirm| *confirm.get_ref());
        if let Some(number) = &raw.min_samples {
            // What does not fit is out of bounds too.
            law.min_samples = u32::try_from(*number.get_ref()).unwrap_or(0);
        }
        let constants = self.constants(spanned, law);
        all.and(constants)
    }

    fn constants(&mut self, spanned: &Spanned<RawWeights>, law: Law) -> Option<Constants> {
        let error = match Constants::new(law) {
            Ok(constants) => return Some(constants),
            Err(error) => error,
        };
        let keys = spanned.get_ref().keys();
        for problem in error.0 {
            let written = keys.iter().find(|(key, _)| *key == problem.key);
            let at = written.map_or(spanned.span().start, |(_, at)| *at);
            self.at::<()>(at, Err(Refusal(problem.to_string())));
        }
        None
    }
}
