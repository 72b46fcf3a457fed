//! What the daemon serves itself may not be in the place of a service: the program would take its packets away.

use super::{
    model::{Daemon, Protocol, Service},
    rules::{Checked, Refusal},
};

/// Refuses a service that is where the daemon listens.
///
/// # Errors
/// With what is there, and what to do.
pub fn check(daemon: &Daemon, service: &Service) -> Checked<()> {
    let listeners =
        [("metrics", daemon.metrics), ("api_tls", daemon.api_tls.as_ref().map(|tls| tls.address))];
    let taken = listeners.into_iter().find_map(|(key, address)| {
        let address = address?;
        // Port 0 is every port.
        let covers = service.port == 0 || service.port == address.port();
        (covers && address.ip().to_canonical() == service.address).then_some((key, address))
    });
    match taken {
        Some((key, address)) if service.protocol == Protocol::Tcp => Err(Refusal(format!(
            "service {} would take the packets of {address}, where the daemon itself listens ({key}); give one of the two another address or port",
            service.name
        ))),
        _ => Ok(()),
    }
}
