//! What the maps do not say of backends: which of them drain, count as dead, or leave, and what their checks say.

use super::{vitals::Vitals, weights::Governors};
use crate::{
    state::{DesiredBackend, DesiredService, Standing},
    view::{BackendRow, Report},
};
use lb_common::backend::Forwarding;
use std::net::SocketAddr;

/// The rows with the state of each backend as the daemon knows it.
pub(super) fn told(
    mut report: Report,
    desired: &[DesiredService],
    vitals: &Vitals,
    governors: &Governors,
    flows: impl Fn(u16) -> Option<u32>,
) -> Report {
    let steered = governors.shown();
    for row in &mut report.services {
        row.panic = vitals.panics(&row.service);
        row.weights = steered.get(&row.service).map(Into::into);
    }
    for row in &mut report.backends {
        row.flows = flows(row.index);
        let service = desired.iter().find(|service| service.name == row.service);
        let backend = service.and_then(|service| {
            let mut those = service.backends.iter().filter(|backend| backend.name == row.backend);
            those.find(|backend| shown(service, backend) == row.address)
        });
        if backend.is_some() {
            row.health = vitals.ledger().row(&row.service, &row.backend);
            let latency = steered.get(&row.service).and_then(|own| own.backends.get(&row.backend));
            row.latency = latency.map(Into::into);
        }
        tell(row, backend);
    }
    report
}

/// State and weight of a row, as the daemon knows them.
fn tell(row: &mut BackendRow, backend: Option<&DesiredBackend>) {
    let word = match backend.map(|backend| (backend.standing, backend.weight)) {
        Some((Standing::Draining, _)) => "draining",
        // The operator's word, whatever the checks say.
        Some((_, 0)) => "disabled",
        Some((Standing::Failing, _)) => "failing",
        Some((Standing::Down, _)) => "down",
        None => "leaving",
        Some((Standing::Serving, _)) => {
            let resolved = backend.filter(|_| row.effective_weight > 0.0);
            row.effective_weight = resolved.map_or(0.0, DesiredBackend::effective_weight);
            return;
        }
    };
    row.state = word.into();
    row.effective_weight = 0.0;
}

/// The address as the rows write it.
fn shown(service: &DesiredService, backend: &DesiredBackend) -> String {
    if service.forwarding == Forwarding::Nat && backend.port != 0 {
        return SocketAddr::new(backend.address, backend.port).to_string();
    }
    backend.address.to_string()
}
