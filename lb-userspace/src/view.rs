//! What the command line and the API show of the maps: rows with the names of the configuration.

use crate::{
    dataplane::{
        Dataplane as _, Error, Installed, InstalledBackend, InstalledService, kernel::Kernel, loader,
    },
    health::ledger::HealthRow,
    weight::{LatencyRow, WeightsRow},
};
use lb_common::{
    backend::{Backend, Forwarding},
    counters::{BackendStats, ServiceStats},
    flow::TrackStats,
    service::{TCP, address_from_bytes},
    slot::Phase,
};
use serde::Serialize;
use std::{borrow::Cow, collections::HashMap, net::SocketAddr, path::Path};
use utoipa::ToSchema;

/// A service and its counters.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ServiceRow {
    /// Name of the service.
    pub service: String,
    /// Virtual address and port, as in the configuration.
    pub address: String,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The forwarding mode.
    pub forwarding: &'static str,
    /// Number of slots.
    pub slots: u32,
    /// Packets to the service, whatever became of them.
    pub packets: u64,
    /// Bytes of the frames.
    pub bytes: u64,
    /// Packets to the service that were dropped.
    pub dropped: u64,
    /// Slots that alone decide.
    pub stable: u32,
    /// Slots whose flows are being learnt.
    pub learning: u32,
    /// Slots of whose flows some are another backend's.
    pub holding: u32,
    /// Packets for which the flow table was looked at.
    pub lookups: u64,
    /// Of those: their flow was known.
    pub hits: u64,
    /// New connections that were remembered.
    pub opened: u64,
    /// Flows from before a slot's change that were remembered.
    pub learned: u64,
    /// Known flows whose port a new connection used again.
    pub reused: u64,
    /// Known flows whose backend was gone.
    pub orphaned: u64,
    /// Flows that the flow table had no room for.
    pub overflows: u64,
    /// So few backends are up that health is ignored; false where no daemon was asked.
    pub panic: bool,
    /// Where weights follow latency, what they come to; else null, and where no daemon was asked.
    pub weights: Option<WeightsRow>,
}

/// A backend and its counters.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BackendRow {
    /// Name of the service.
    pub service: String,
    /// Name of the backend.
    pub backend: String,
    /// Its address; with the port that it listens on where that is not a packet's own.
    pub address: String,
    /// `up`; `unresolved`: its MAC address is not known yet; `disabled`: weight 0. The daemon tells more: `draining`, it keeps
    /// the connections that it has; `failing`, its checks fail, and it keeps them for its grace; `down`, it counts as dead;
    /// `leaving`, it was removed and keeps its connections.
    pub state: Cow<'static, str>,
    /// The configured weight.
    pub weight: u32,
    /// The weight in force, with slow start and what latency makes of it; 0: no new connections.
    #[serde(serialize_with = "short")]
    pub effective_weight: f64,
    /// What its health checks say; null without checks, and where no daemon was asked.
    pub health: Option<HealthRow>,
    /// Where weights follow latency, what it says; else null, and where no daemon was asked.
    pub latency: Option<LatencyRow>,
    /// Slots of the service that name it.
    pub slots: u32,
    /// Its share of the service's slots, 0 to 1.
    pub share: f64,
    /// The interface that leads to it; empty while unresolved.
    pub interface: String,
    /// MAC address of the next hop; empty while unresolved.
    pub mac: String,
    /// Its index in BACKENDS and `BACKEND_STATS`.
    pub index: u16,
    /// Packets forwarded to it.
    pub packets: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// TCP connection attempts forwarded to it.
    pub connections: u64,
    /// Its answers that came back through the balancer (nat).
    pub return_packets: u64,
    /// Bytes of those frames.
    pub return_bytes: u64,
    /// TCP segments with RST: of clients, and of the backend in nat.
    pub resets: u64,
    /// Its flows that are remembered, as the last pass of the sweep counted them: flows of slots at rest are not. Null where no daemon
    /// was asked, and before the first pass.
    pub flows: Option<u32>,
}

/// A verdict and its counters.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct VerdictRow {
    /// `tx`, `redirect`, `pass` or `drop`.
    pub action: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Packets that ended so.
    pub packets: u64,
    /// Bytes of the frames.
    pub bytes: u64,
    /// The reason in a sentence.
    pub meaning: &'static str,
}

/// All rows.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Report {
    /// Services by name.
    pub services: Vec<ServiceRow>,
    /// Backends by service and name.
    pub backends: Vec<BackendRow>,
    /// Verdicts in the order of their counters.
    pub verdicts: Vec<VerdictRow>,
}

/// Reads the maps pinned under `pin_dir`.
pub fn read(pin_dir: &Path) -> Result<Report, Error> {
    loader::require_root("reading the pinned maps")?;
    loader::pinned_meta(pin_dir)?.ok_or_else(|| Error::NothingPinned(pin_dir.to_owned()))?;
    of(&Kernel::open(pin_dir)?)
}

/// Reads the maps.
pub fn of(kernel: &Kernel) -> Result<Report, Error> {
    let installed = kernel.installed()?;
    let mut report = Report::new(
        &installed,
        |id| Ok((kernel.service_stats(id)?, kernel.track_stats(id)?)),
        |backend| kernel.backend_stats(backend.index),
    )?;
    report.verdicts = kernel
        .verdicts()?
        .into_iter()
        .map(|(verdict, count)| VerdictRow {
            action: verdict.action(),
            reason: verdict.reason(),
            packets: count.packets,
            bytes: count.bytes,
            meaning: verdict.meaning(),
        })
        .collect();
    Ok(report)
}

impl Report {
    /// Rows of maps that count nothing.
    #[must_use]
    pub fn without_counters(installed: &Installed) -> Self {
        let none = |_| Ok::<_, std::convert::Infallible>((ServiceStats::default(), TrackStats::default()));
        let Ok(report) = Self::new(installed, none, |_| Ok(BackendStats::default()));
        report
    }

    fn new<E>(
        installed: &Installed,
        service_stats: impl Fn(u32) -> Result<(ServiceStats, TrackStats), E>,
        backend_stats: impl Fn(&InstalledBackend) -> Result<BackendStats, E>,
    ) -> Result<Self, E> {
        let mut services = Vec::new();
        let mut backends = Vec::new();
        let names = interface_names();
        // By index: services have millions of slots together.
        let mut slots = vec![0; installed.generations.len().max(1)];
        for service in &installed.services {
            let own: Vec<_> =
                installed.backends.iter().filter(|backend| backend.service() == service.record.id).collect();
            let forwarding = own.first().map_or(Forwarding::L2Dsr as u8, |backend| backend.record.forwarding);
            let (counted, tracked) = service_stats(service.record.id)?;
            services.push(service_row(service, forwarding, &counted, &tracked));
            for slot in &service.slots {
                if let Some(count) = slots.get_mut(usize::from(slot.backend)) {
                    *count += 1;
                }
            }
            for backend in own {
                // Taken, so that the next service counts from 0: a backend is of one service.
                let slots = slots.get_mut(usize::from(backend.index)).map(std::mem::take).unwrap_or_default();
                let via = interface_name(&names, backend.record.ifindex);
                backends.push(backend_row(service, backend, via, slots, &backend_stats(backend)?));
            }
        }
        backends.sort_by(|a, b| (&a.service, &a.backend).cmp(&(&b.service, &b.backend)));
        Ok(Self { services, backends, verdicts: Vec::new() })
    }

    /// Only the rows of one service; all when none is named.
    pub fn of_service(mut self, service: Option<&str>) -> anyhow::Result<Self> {
        let Some(name) = service else {
            return Ok(self);
        };
        if !self.services.iter().any(|row| row.service == name) {
            let have: Vec<_> = self.services.iter().map(|row| row.service.as_str()).collect();
            anyhow::bail!("there is no service \"{name}\"; there are: {}", have.join(", "));
        }
        self.services.retain(|row| row.service == name);
        self.backends.retain(|row| row.service == name);
        Ok(self)
    }
}

/// Whole numbers without a point.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields by reference")]
fn short<S: serde::Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 {
        serializer.serialize_u64(*number as u64)
    } else {
        serializer.serialize_f64(*number)
    }
}

fn service_row(
    service: &InstalledService,
    forwarding: u8,
    stats: &ServiceStats,
    tracked: &TrackStats,
) -> ServiceRow {
    let mut phases = [0; 3];
    for slot in &service.slots {
        phases[slot.phase() as usize] += 1;
    }
    let in_phase = |phase: Phase| phases[phase as usize];
    ServiceRow {
        service: service.name.clone(),
        address: SocketAddr::new(service.key.ip(), service.key.port()).to_string(),
        protocol: if service.key.protocol == TCP { "tcp" } else { "udp" },
        forwarding: Forwarding::from_number(forwarding).map_or("unknown", Forwarding::name),
        slots: service.record.slot_mask + 1,
        packets: stats.packets,
        bytes: stats.bytes,
        dropped: stats.dropped,
        stable: in_phase(Phase::Stable),
        learning: in_phase(Phase::Learn),
        holding: in_phase(Phase::Hold),
        lookups: tracked.lookups,
        hits: tracked.hits,
        opened: tracked.opened,
        learned: tracked.learned,
        reused: tracked.reused,
        orphaned: tracked.orphaned,
        overflows: tracked.overflows,
        panic: false,
        weights: None,
    }
}

fn backend_row(
    service: &InstalledService,
    backend: &InstalledBackend,
    via: String,
    slots: u32,
    counted: &BackendStats,
) -> BackendRow {
    let record = &backend.record;
    let resolved = record.next_hop.is_resolved();
    let state = match (resolved, backend.weight) {
        (_, 0) => "disabled",
        (false, _) => "unresolved",
        (true, _) => "up",
    };
    BackendRow {
        service: service.name.clone(),
        backend: backend.name.clone(),
        address: address_of(record),
        state: Cow::Borrowed(state),
        weight: backend.weight,
        effective_weight: if resolved { backend.weight.into() } else { 0.0 },
        health: None,
        latency: None,
        slots,
        share: f64::from(slots) / f64::from(service.record.slot_mask + 1),
        interface: via,
        mac: if resolved { mac(record.next_hop.mac) } else { String::new() },
        index: backend.index,
        packets: counted.packets,
        bytes: counted.bytes,
        connections: counted.connections,
        return_packets: counted.return_packets,
        return_bytes: counted.return_bytes,
        resets: counted.resets,
        flows: None,
    }
}

fn address_of(record: &Backend) -> String {
    let address = address_from_bytes(record.address);
    match u16::from_be_bytes(record.port) {
        port if port != 0 && record.forwarding == Forwarding::Nat as u8 => {
            SocketAddr::new(address, port).to_string()
        }
        _ => address.to_string(),
    }
}

/// Names of this network namespace's interfaces by index.
fn interface_names() -> HashMap<u32, String> {
    let all = nix::net::if_::if_nameindex();
    let named = |interface: &nix::net::if_::Interface| {
        (interface.index(), interface.name().to_string_lossy().into_owned())
    };
    all.map(|all| all.iter().map(named).collect()).unwrap_or_default()
}

/// The interface's name; its number where this network namespace has no such interface.
fn interface_name(names: &HashMap<u32, String>, ifindex: u32) -> String {
    match names.get(&ifindex) {
        Some(name) => name.clone(),
        None if ifindex == 0 => String::new(),
        None => format!("if{ifindex}"),
    }
}

fn mac(bytes: [u8; 6]) -> String {
    bytes.map(|byte| format!("{byte:02x}")).join(":")
}
