//! Families of health checks and of slots that move.

use super::{Row, counter, gauge, number};
use crate::{
    daemon::vitals::Shown,
    health::{
        ledger::{BOUNDS, Durations, Entry, RESULTS, STATES},
        target::Id,
    },
    view::ServiceRow,
};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use std::time::SystemTime;

/// All of them.
pub(super) fn families(services: &[ServiceRow], shown: &Shown) -> Vec<MetricFamily> {
    let moves = services.iter().flat_map(|row| {
        shown.moves.counts(&row.service).map(|(cause, count)| {
            let labels = vec![("service", row.service.clone()), ("cause", cause.word().to_owned())];
            (labels, number(count))
        })
    });
    let panics =
        services.iter().map(|row| (vec![("service", row.service.clone())], f64::from(u8::from(row.panic))));
    let mut families = vec![
        counter("service_slot_moves_total", "Slots that changed their backend, by who had them moved", moves),
        gauge("service_panic", "1 while so few backends are up that health is ignored", panics),
    ];
    families.extend(backends(shown));
    families.push(durations(shown));
    families
}

fn labels(id: &Id) -> Vec<(&'static str, String)> {
    vec![("service", id.service.to_string()), ("backend", id.backend.to_string())]
}

fn with(id: &Id, name: &'static str, value: &str) -> Vec<(&'static str, String)> {
    let mut labels = labels(id);
    labels.push((name, value.to_owned()));
    labels
}

fn backends(shown: &Shown) -> Vec<MetricFamily> {
    let all = || shown.ledger.backends();
    let states = all().map(|(id, entry)| (with(id, "state", entry.state.word()), 1.0));
    let since = all().map(|(id, entry)| (labels(id), seconds(entry.since)));
    let transitions = all().flat_map(|(id, entry)| {
        let counts = STATES.iter().zip(entry.transitions);
        counts.map(move |(to, count)| (with(id, "to", to.word()), number(count)))
    });
    let checks = all().flat_map(|(id, entry)| {
        let counts = RESULTS.iter().zip(entry.checks);
        counts.map(move |(result, count)| (with(id, "result", result), number(count)))
    });
    let last = |value: fn(&Entry) -> Option<f64>| -> Vec<Row> {
        all().filter_map(|(id, entry)| Some((labels(id), value(entry)?))).collect()
    };
    let last_at = last(|entry| entry.last.as_ref().map(|last| seconds(last.at)));
    let last_took = last(|entry| entry.last.as_ref().map(|last| last.latency.as_secs_f64()));
    let certificates = last(|entry| entry.certificate.map(seconds));
    vec![
        gauge("backend_health", "1 for the state that checks found the backend in", states),
        gauge("backend_health_since_timestamp_seconds", "Since when it is in that state", since),
        counter("backend_health_transitions_total", "Changes to a state from another", transitions),
        counter("backend_checks_total", "Health checks by their result", checks),
        gauge("backend_last_check_timestamp_seconds", "When the last check ended", last_at),
        gauge("backend_last_check_duration_seconds", "How long the last check took", last_took),
        gauge(
            "backend_certificate_expiry_timestamp_seconds",
            "Until when the backend's certificate is valid",
            certificates,
        ),
    ]
}

/// Of each service rather than each backend: a backend's own would be a dozen series each.
fn durations(shown: &Shown) -> MetricFamily {
    let metrics = shown.ledger.services().map(|(service, durations)| {
        let mut label = LabelPair::default();
        label.set_name("service".to_owned());
        label.set_value(service.to_owned());
        let mut metric = Metric::default();
        metric.set_label(vec![label]);
        metric.set_histogram(histogram(durations));
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name("xdp_lb_check_duration_seconds".to_owned());
    family.set_help("How long health checks that were made took".to_owned());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(metrics.collect());
    family
}

fn histogram(durations: &Durations) -> Histogram {
    let buckets = BOUNDS.iter().zip(durations.within).map(|(bound, within)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(within);
        bucket
    });
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(durations.count);
    histogram.set_sample_sum(durations.sum);
    histogram
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
