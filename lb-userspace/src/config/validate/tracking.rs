//! How flows are remembered.

use super::Check;
use crate::config::{
    model::{Algorithm, Tracking},
    raw::{RawDaemon, RawService, Text},
    rules,
};
use lb_common::limits::MAX_LEARN_UDP_MS;
use std::{ops::RangeInclusive, time::Duration};

const SECOND: Duration = Duration::from_secs(1);
const LONGEST_UDP: Duration = Duration::from_millis(MAX_LEARN_UDP_MS);
const DAY: Duration = Duration::from_hours(24);
/// The flows' clock wraps around after 52 days, and tells ages of half of that apart.
const WEEK: Duration = Duration::from_hours(7 * 24);

impl Check<'_> {
    pub(super) fn tracking(&mut self, raw: &RawDaemon) -> Option<Tracking> {
        let default = Tracking::default();
        let flows = match &raw.flows {
            Some(number) => self.at(number.span().start, rules::flows(*number.get_ref())),
            None => Some(default.flows),
        };
        let learn = self.span("learn", raw.learn.as_ref(), default.learn, SECOND..=DAY);
        let learn_udp =
            self.span("learn_udp", raw.learn_udp.as_ref(), default.learn_udp, SECOND..=LONGEST_UDP);
        let idle = self.span("idle", raw.idle.as_ref(), default.idle, SECOND..=WEEK);
        Some(Tracking { flows: flows?, learn: learn?, learn_udp: learn_udp?, idle: idle? })
    }

    fn span(
        &mut self,
        key: &str,
        text: Option<&Text>,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        self.or(text, default, |text| rules::duration(key, text, bounds))
    }

    pub(super) fn algorithm(&mut self, raw: &RawService) -> Option<Algorithm> {
        let algorithm = self.or(raw.algorithm.as_ref(), Algorithm::default(), rules::choice)?;
        match &raw.per_client {
            Some(value) => self.at(value.span().start, rules::per_client(algorithm, *value.get_ref())),
            None => Some(algorithm),
        }
    }
}
