//! Families of weights that follow latency. None without a service whose weights do.

use super::{Row, counter, gauge, number};
use crate::{
    view::Report,
    weight::{LatencyRow, WeightsRow},
};
use prometheus::proto::MetricFamily;

/// All of them.
pub(super) fn families(report: &Report) -> Vec<MetricFamily> {
    let mut families = services(report);
    families.extend(backends(report));
    families
}

fn services(report: &Report) -> Vec<MetricFamily> {
    let of = |value: fn(&WeightsRow) -> Option<f64>| -> Vec<Row> {
        let rows = report.services.iter();
        rows.filter_map(|row| Some((vec![("service", row.service.clone())], value(row.weights.as_ref()?)?)))
            .collect()
    };
    let modes = report.services.iter().filter_map(|row| {
        let mode = row.weights.as_ref()?.mode.clone();
        Some((vec![("service", row.service.clone()), ("mode", mode)], 1.0))
    });
    vec![
        gauge("service_weights_mode", "1 for how far the weights follow latency", modes),
        gauge(
            "service_mean_backend_latency_seconds",
            "d: the mean of the backends' latencies",
            of(|row| row.mean_backend_latency_seconds),
        ),
        gauge(
            "service_mean_request_latency_seconds",
            "The same, each backend counted by its weight",
            of(|row| row.mean_request_latency_seconds),
        ),
        gauge("service_latency_p99_seconds", "99th percentile over all backends", of(|row| row.p99_seconds)),
        gauge(
            "service_capacity_connections_per_second",
            "P1: connections a second at which the 99th percentile was within its target",
            of(|row| row.capacity),
        ),
        gauge(
            "service_capacity_gained_connections_per_second",
            "P1 - P0: the same without what configured weights would carry, inferred",
            of(|row| row.capacity_gained),
        ),
        gauge("service_weights_gain", "The controller's gain at its last step", of(|row| Some(row.gain))),
    ]
}

fn backends(report: &Report) -> Vec<MetricFamily> {
    let labels =
        |service: &str, backend: &str| vec![("service", service.to_owned()), ("backend", backend.to_owned())];
    let of = |value: fn(&LatencyRow) -> Option<f64>| -> Vec<Row> {
        let rows = report.backends.iter();
        rows.filter_map(|row| Some((labels(&row.service, &row.backend), value(row.latency.as_ref()?)?)))
            .collect()
    };
    let states = report.backends.iter().filter_map(|row| {
        let mut labels = labels(&row.service, &row.backend);
        labels.push(("state", row.latency.as_ref()?.state.clone()));
        Some((labels, 1.0))
    });
    vec![
        gauge("backend_weight_factor", "What latency makes of the weight", of(|row| Some(row.factor))),
        gauge("backend_weight_state", "1 for why the factor is as it is", states),
        gauge(
            "backend_latency_smoothed_seconds",
            "The average that the controller follows",
            of(|row| row.smoothed_seconds),
        ),
        gauge("backend_latency_mean_seconds", "Mean of the last window", of(|row| row.mean_seconds)),
        gauge("backend_latency_p50_seconds", "Median of the last samples", of(|row| row.p50_seconds)),
        gauge(
            "backend_latency_p99_seconds",
            "99th percentile of the last samples",
            of(|row| row.p99_seconds),
        ),
        counter(
            "backend_latency_samples_total",
            "Samples of the backend's latency",
            of(|row| Some(number(row.samples))),
        ),
    ]
}
