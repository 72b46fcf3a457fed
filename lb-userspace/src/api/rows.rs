//! What the API takes and gives, with the names of the configuration.

use crate::{metrics::About, plan, tracking::Figures};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A backend to be added.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "name": "auth-4", "address": "198.18.0.14", "weight": 50 }))]
pub struct AddBackend {
    /// Its name.
    #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub name: String,
    /// Its address; for nat also with a port.
    pub address: String,
    /// Its weight, 0 to 10,000; 100 unless told.
    #[schema(minimum = 0, maximum = 10000)]
    pub weight: Option<i64>,
}

/// What changes of a backend.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "weight": 50 }))]
pub struct SetBackend {
    /// The new weight, 0 to 10,000.
    #[schema(minimum = 0, maximum = 10000)]
    pub weight: i64,
}

/// How a backend drains.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "deadline": "5m" }))]
pub struct DrainBackend {
    /// After so long, like `5m`, it counts as dead; without it, it keeps its connections until they end.
    pub deadline: Option<String>,
}

/// What a change does, or would do, to its service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// Name of the service.
    pub service: String,
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Size of its table.
    pub slots: u32,
    /// Slots that change their backend.
    pub moved: u32,
    /// Slots that should too, once they are stable.
    pub waiting: u32,
    /// Flows of all services that are remembered, as the last pass of the sweep counted them.
    pub flows: u64,
    /// What the operator should know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its backends.
    pub backends: Vec<ChangedBackend>,
}

/// What a change does to a backend.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangedBackend {
    /// Its name.
    pub backend: String,
    /// Slots that name it before.
    pub before: u32,
    /// Slots that name it after.
    pub after: u32,
    /// It is out, and keeps its flows until they end.
    pub leaving: bool,
}

impl Changed {
    /// What a plan's report says of a service.
    #[must_use]
    pub fn new(report: &plan::Report, service: &str, dry_run: bool, figures: &Figures) -> Option<Self> {
        let report = report.services.iter().find(|report| report.service == service)?;
        let backends = report.backends.iter().map(|backend| ChangedBackend {
            backend: backend.backend.clone(),
            before: backend.before,
            after: backend.after,
            leaving: backend.leaving,
        });
        Some(Self {
            service: service.to_owned(),
            dry_run,
            slots: report.slots,
            moved: report.moved,
            waiting: report.waiting,
            flows: figures.classes.iter().sum(),
            note: report.note.clone(),
            backends: backends.collect(),
        })
    }
}

/// What a write of whole services does, or would do.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Applied {
    /// Whether nothing was changed.
    pub dry_run: bool,
    /// Slots that change their backend.
    pub moved: u32,
    /// Slots that should too, once they are stable.
    pub waiting: u32,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// The services of which slots move or wait.
    pub services: Vec<Changed>,
}

impl Applied {
    /// What a plan's report says.
    #[must_use]
    pub fn new(report: &plan::Report, notes: Vec<String>, dry_run: bool, figures: &Figures) -> Self {
        let those = report.services.iter().filter(|service| service.moved + service.waiting > 0);
        let services = those.filter_map(|service| Changed::new(report, &service.service, dry_run, figures));
        let (moved, waiting) = (report.moved(), report.waiting());
        Self { dry_run, moved, waiting, notes, services: services.collect() }
    }
}

/// Why a service's weights are what they are.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Name of the service.
    pub service: String,
    /// The state and the last decisions, in words.
    pub lines: Vec<String>,
}

/// Every counter.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Stats {
    /// Rows of services, backends and verdicts.
    #[serde(flatten)]
    pub report: crate::view::Report,
    /// Remembered flows; null where no daemon was asked.
    pub tracking: Option<Tracking>,
    /// What the daemon knows of itself; null where none was asked.
    pub daemon: Option<About>,
}

/// What the last whole pass of the sweep saw.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Tracking {
    /// Whole passes since the daemon began.
    pub passes: u64,
    /// How long the last took.
    pub duration_seconds: f64,
    /// Flows that saw nothing but a SYN.
    pub opening: u64,
    /// Flows that go on.
    pub open: u64,
    /// Flows that saw a FIN or RST.
    pub closing: u64,
    /// Entries that it read of the table of IPv4.
    pub read_ipv4: u64,
    /// Entries that it read of the table of IPv6.
    pub read_ipv6: u64,
    /// Entries that the last pass deleted.
    pub deleted: u64,
    /// The services' slots.
    pub services: Vec<ServiceTracking>,
}

/// The slots of a service.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ServiceTracking {
    /// Name of the service.
    pub service: String,
    /// Slots that alone decide.
    pub stable: u32,
    /// Slots whose flows are being learnt.
    pub learning: u32,
    /// Slots of whose flows some are another backend's.
    pub holding: u32,
    /// How long the longest has been learning.
    pub oldest_learn_seconds: u32,
    /// Slots that learn once more, because flows found no room in the flow table.
    pub not_advancing: u32,
}

impl From<&Figures> for Tracking {
    fn from(figures: &Figures) -> Self {
        let [opening, open, closing] = figures.classes;
        let [read_ipv4, read_ipv6] = figures.read;
        let services = figures.services.iter().map(|service| ServiceTracking {
            service: service.service.clone(),
            stable: service.stable,
            learning: service.learning,
            holding: service.holding,
            oldest_learn_seconds: service.oldest_learn,
            not_advancing: service.not_advancing,
        });
        Self {
            passes: figures.passes,
            duration_seconds: figures.duration.as_secs_f64(),
            opening,
            open,
            closing,
            read_ipv4,
            read_ipv6,
            deleted: figures.deleted,
            services: services.collect(),
        }
    }
}
