//! What the maps do not say of backends: which of them drain, count as dead, or leave.

use crate::{
    state::{DesiredBackend, DesiredService, Standing},
    view::Report,
};
use lb_common::backend::Forwarding;
use std::net::SocketAddr;

/// The rows with the state of each backend as the daemon knows it.
pub(super) fn told(mut report: Report, desired: &[DesiredService]) -> Report {
    for row in &mut report.backends {
        let service = desired.iter().find(|service| service.name == row.service);
        let standing = service.and_then(|service| {
            let mut those = service.backends.iter().filter(|backend| backend.name == row.backend);
            those.find(|backend| shown(service, backend) == row.address).map(|backend| backend.standing)
        });
        let word = match standing {
            Some(Standing::Serving) => continue,
            Some(Standing::Draining) => "draining",
            Some(Standing::Failing) => "failing",
            Some(Standing::Down) => "down",
            None => "leaving",
        };
        row.state = word.into();
        row.effective_weight = 0;
    }
    report
}

/// The address as the rows write it.
fn shown(service: &DesiredService, backend: &DesiredBackend) -> String {
    if service.forwarding == Forwarding::Nat && backend.port != 0 {
        return SocketAddr::new(backend.address, backend.port).to_string();
    }
    backend.address.to_string()
}
