//! The counters for Prometheus: names, units and help texts, from the same rows as the API's. Pure.
//!
//! Names follow Prometheus' conventions: base units, `_total` for what only grows. Labels are bounded: services, backends with their
//! addresses, and verdicts, which the configuration and the program limit. What a backend counted ends with its index:
//! when a removed one has gone, its series ends; one of the same name that comes later begins anew.

mod health;
mod weights;

use crate::{
    api::Tracking,
    daemon::vitals::Shown,
    view::{BackendRow, Report, ServiceRow},
};
use prometheus::{
    Encoder as _, TextEncoder,
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the daemon knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct About {
    /// Version of the daemon.
    pub version: String,
    /// Fingerprint of the program.
    pub build: String,
    /// Layout of the maps.
    pub abi_version: u32,
    /// Entries that each family's flow table has room for.
    pub flow_table_entries: u32,
    /// Map writes that failed since the daemon began.
    pub map_write_failures: u64,
    /// Writes that were carried out since the daemon began.
    pub changes: u64,
    /// Whether the maps could not be brought to the desired state; it is tried again.
    pub behind: bool,
}

/// All families in the text format (version 0.0.4).
///
/// # Errors
/// When a family has no row or no name, which none here has.
pub fn text(
    report: &Report,
    tracking: &Tracking,
    shown: &Shown,
    about: &About,
) -> prometheus::Result<String> {
    let mut families: Vec<_> = services(&report.services);
    families.extend(backends(&report.backends));
    families.extend(health::families(&report.services, shown));
    families.extend(weights::families(report));
    families.extend(verdicts(report));
    families.extend(flows(tracking, about));
    families.extend(daemon(about));
    // The encoder refuses one without a row.
    families.retain(|family| !family.get_metric().is_empty());
    let mut text = Vec::new();
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Labels of a row, and its value.
type Row = (Vec<(&'static str, String)>, f64);

fn family(name: &str, help: &str, kind: MetricType, rows: impl IntoIterator<Item = Row>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(format!("xdp_lb_{name}"));
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    let metrics = rows.into_iter().map(|(labels, value)| {
        let mut metric = Metric::default();
        let pairs = labels.into_iter().map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.to_owned());
            pair.set_value(value);
            pair
        });
        metric.set_label(pairs.collect());
        if kind == MetricType::COUNTER {
            let mut counter = Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    });
    family.set_metric(metrics.collect());
    family
}

fn counter(name: &str, help: &str, rows: impl IntoIterator<Item = Row>) -> MetricFamily {
    family(name, help, MetricType::COUNTER, rows)
}

fn gauge(name: &str, help: &str, rows: impl IntoIterator<Item = Row>) -> MetricFamily {
    family(name, help, MetricType::GAUGE, rows)
}

/// Exact up to 2^53, like every value of Prometheus.
#[expect(clippy::cast_precision_loss, reason = "Prometheus has no other numbers")]
const fn number(value: u64) -> f64 {
    value as f64
}

fn services(rows: &[ServiceRow]) -> Vec<MetricFamily> {
    let of = |value: fn(&ServiceRow) -> u64| {
        rows.iter().map(move |row| (vec![("service", row.service.clone())], number(value(row))))
    };
    let phases = rows.iter().flat_map(|row| {
        let phases = [("stable", row.stable), ("learning", row.learning), ("holding", row.holding)];
        phases.map(|(phase, slots)| {
            (vec![("service", row.service.clone()), ("phase", phase.to_owned())], f64::from(slots))
        })
    });
    vec![
        counter(
            "service_packets_total",
            "Packets to the service, whatever became of them",
            of(|row| row.packets),
        ),
        counter("service_bytes_total", "Bytes of the frames to the service", of(|row| row.bytes)),
        counter(
            "service_dropped_packets_total",
            "Packets to the service that were dropped",
            of(|row| row.dropped),
        ),
        gauge("service_slots", "Slots of the service by phase", phases),
        counter(
            "service_flow_lookups_total",
            "Packets for which the flow table was looked at",
            of(|row| row.lookups),
        ),
        counter("service_flow_hits_total", "Look-ups that knew the flow", of(|row| row.hits)),
        counter("service_flows_opened_total", "New connections that were remembered", of(|row| row.opened)),
        counter(
            "service_flows_learned_total",
            "Flows from before a slot's change that were remembered",
            of(|row| row.learned),
        ),
        counter(
            "service_flows_reused_total",
            "Known flows whose port a new connection used again",
            of(|row| row.reused),
        ),
        counter("service_flows_orphaned_total", "Known flows whose backend was gone", of(|row| row.orphaned)),
        counter(
            "service_flow_overflows_total",
            "Flows that the flow table had no room for",
            of(|row| row.overflows),
        ),
    ]
}

fn backends(rows: &[BackendRow]) -> Vec<MetricFamily> {
    let labels = |row: &BackendRow| {
        vec![
            ("service", row.service.clone()),
            ("backend", row.backend.clone()),
            ("address", row.address.clone()),
        ]
    };
    let of = |value: fn(&BackendRow) -> u64| rows.iter().map(move |row| (labels(row), number(value(row))));
    let states = rows.iter().map(|row| {
        let mut labels = labels(row);
        labels.push(("state", row.state.to_string()));
        (labels, 1.0)
    });
    vec![
        counter("backend_packets_total", "Packets forwarded to the backend", of(|row| row.packets)),
        counter("backend_bytes_total", "Bytes of the frames forwarded to the backend", of(|row| row.bytes)),
        counter(
            "backend_connections_total",
            "TCP connection attempts forwarded to the backend",
            of(|row| row.connections),
        ),
        counter(
            "backend_return_packets_total",
            "Answers of the backend that came back through the balancer (nat)",
            of(|row| row.return_packets),
        ),
        counter(
            "backend_return_bytes_total",
            "Bytes of the frames of those answers",
            of(|row| row.return_bytes),
        ),
        counter(
            "backend_resets_total",
            "TCP segments with RST, of clients and, with nat, of the backend",
            of(|row| row.resets),
        ),
        gauge(
            "backend_flows",
            "Flows that are remembered, as the last pass of the sweep counted them",
            rows.iter().filter_map(|row| Some((labels(row), f64::from(row.flows?)))),
        ),
        gauge("backend_slots", "Slots of the service that name the backend", of(|row| row.slots.into())),
        gauge("backend_weight", "The configured weight", of(|row| row.weight.into())),
        gauge(
            "backend_effective_weight",
            "The weight in force, with slow start and what latency makes of it",
            rows.iter().map(|row| (labels(row), row.effective_weight)),
        ),
        gauge("backend_state", "1 for the state that the backend is in", states),
    ]
}

fn verdicts(report: &Report) -> Vec<MetricFamily> {
    let of = |value: fn(u64, u64) -> u64| {
        report.verdicts.iter().map(move |row| {
            let labels = vec![("action", row.action.to_string()), ("reason", row.reason.to_string())];
            (labels, number(value(row.packets, row.bytes)))
        })
    };
    vec![
        counter("verdict_packets_total", "Packets by what became of them, and why", of(|packets, _| packets)),
        counter("verdict_bytes_total", "Bytes of their frames", of(|_, bytes| bytes)),
    ]
}

fn flows(tracking: &Tracking, about: &About) -> Vec<MetricFamily> {
    let classes = [("opening", tracking.opening), ("open", tracking.open), ("closing", tracking.closing)];
    let classes = classes.map(|(class, flows)| (vec![("class", class.to_owned())], number(flows)));
    let families = [("ipv4", tracking.read_ipv4), ("ipv6", tracking.read_ipv6)];
    let entries = families.map(|(family, entries)| (vec![("family", family.to_owned())], number(entries)));
    let capacity = f64::from(about.flow_table_entries);
    let capacity = ["ipv4", "ipv6"].map(|family| (vec![("family", family.to_owned())], capacity));
    let of = |value: fn(&crate::api::ServiceTracking) -> u32| {
        let rows = tracking.services.iter();
        rows.map(move |row| (vec![("service", row.service.clone())], f64::from(value(row))))
    };
    vec![
        gauge("flows", "Flows that are remembered, as the last pass of the sweep saw them", classes),
        gauge(
            "flow_table_entries",
            "Entries of the flow table, as the last pass of the sweep read them",
            entries,
        ),
        gauge("flow_table_capacity_entries", "Entries that the flow table has room for", capacity),
        gauge(
            "service_oldest_learn_seconds",
            "How long the slot that has been learning longest has been",
            of(|row| row.oldest_learn_seconds),
        ),
        gauge(
            "service_slots_not_advancing",
            "Slots that learn once more, because flows found no room in the flow table",
            of(|row| row.not_advancing),
        ),
        counter("sweep_passes_total", "Whole passes of the sweep", [(vec![], number(tracking.passes))]),
        gauge("sweep_pass_seconds", "How long the last pass took", [(vec![], tracking.duration_seconds)]),
    ]
}

fn daemon(about: &About) -> Vec<MetricFamily> {
    let build = vec![
        ("version", about.version.clone()),
        ("build", about.build.clone()),
        ("abi_version", about.abi_version.to_string()),
    ];
    vec![
        gauge("build_info", "1, with what runs", [(build, 1.0)]),
        counter(
            "map_write_failures_total",
            "Map writes that failed",
            [(vec![], number(about.map_write_failures))],
        ),
        counter("changes_total", "Writes that were carried out", [(vec![], number(about.changes))]),
        gauge(
            "behind",
            "1 while the maps could not be brought to the desired state",
            [(vec![], f64::from(u8::from(about.behind)))],
        ),
    ]
}
