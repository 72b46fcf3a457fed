//! Services that come and go while the balancer runs, a new configuration, and the tags by which a writer says what it has seen.

use super::{Change, Clocks, Event, State};
use crate::{
    config::{
        Config, WrittenBackend, WrittenService,
        rules::{Checked, Refusal},
        validate,
    },
    hex::sha256,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::net::IpAddr;

impl State {
    /// Takes a service in, under the rules of the configuration.
    pub fn add_service(&mut self, service: WrittenService) -> Checked<()> {
        let name = service.name.clone();
        if self.services.iter().any(|have| have.name == name) {
            return Err(Refusal(format!(
                "there is a service {name:?} already; remove it first, or choose another name"
            )));
        }
        let mut all: Vec<_> = self.services.iter().map(WrittenService::from).collect();
        all.push(service);
        self.services = validate(&all).map_err(|problems| Refusal(problems.join("\n")))?;
        self.drains.retain(|(of, _), _| *of != name);
        Ok(())
    }

    /// Takes a service out, with its backends and all that they have.
    pub fn remove_service(&mut self, name: &str) -> Checked<()> {
        let at = self.services.iter().position(|have| have.name == name);
        let at = at.ok_or_else(|| self.no_service(name))?;
        self.services.remove(at);
        self.drains.retain(|(of, _), _| of != name);
        Ok(())
    }

    /// Takes a new configuration in. Run-time changes stay where it says of them what the last one said; gives those that end.
    pub fn reconfigure(&mut self, config: Config, clocks: Clocks) -> Vec<String> {
        let kept = self.kept(clocks);
        self.handle(Event::Configured(config));
        self.restore(&kept, clocks)
    }

    /// That there is no such service.
    #[must_use]
    pub fn no_service(&self, name: &str) -> Refusal {
        let names: Vec<_> = self.services.iter().map(|have| have.name.as_str()).collect();
        let those = if names.is_empty() {
            "there is none".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        Refusal(format!("there is no service {name:?}; {those}"))
    }

    /// Whether there is what a change names: the service, and but for a new one the backend.
    #[must_use]
    pub fn has(&self, change: &Change) -> bool {
        let (service, backend) = change.names();
        let service = self.services.iter().find(|have| have.name == service);
        let new = matches!(change, Change::AddBackend { .. });
        service.is_some_and(|have| new || have.backends.iter().any(|have| have.name == backend))
    }

    /// Whether the configuration names a backend at the address.
    #[must_use]
    pub fn is_configured(&self, address: IpAddr) -> bool {
        self.configured.iter().any(|service| service.backends.iter().any(|have| have.address == address))
    }

    /// Text that changes with what is desired of a service; `None`: there is none.
    #[must_use]
    pub fn tag(&self, service: &str) -> Option<String> {
        let found = self.services.iter().find(|have| have.name == service)?;
        let drains: Vec<_> = self.drains.iter().filter(|((of, _), _)| of == service).collect();
        Some(tag(&(WrittenService::from(found), drains)))
    }

    /// Text that changes with anything that is desired.
    #[must_use]
    pub fn tag_of_all(&self) -> String {
        let services: Vec<_> = self.services.iter().map(WrittenService::from).collect();
        let drains: Vec<_> = self.drains.iter().collect();
        tag(&(services, drains))
    }

    /// A backend in words for the audit log; null: there is none.
    #[must_use]
    pub fn told(&self, service: &str, backend: &str) -> Value {
        let found = self.services.iter().find(|have| have.name == service);
        let found =
            found.and_then(|have| have.backends.iter().find(|have| have.name == backend).zip(Some(have)));
        let Some((backend, service)) = found else { return Value::Null };
        let standing = self.standing(service, backend, self.verdict(service));
        let standing = format!("{standing:?}").to_lowercase();
        let WrittenBackend { address, weight, .. } = backend.into();
        json!({ "address": address, "weight": weight, "standing": standing })
    }

    /// A service in words for the audit log; null: there is none.
    #[must_use]
    pub fn told_service(&self, name: &str) -> Value {
        let found = self.services.iter().find(|have| have.name == name).map(WrittenService::from);
        serde_json::to_value(found).unwrap_or_default()
    }
}

/// 64 bits of the hash: enough to tell one state from another.
fn tag(of: &impl Serialize) -> String {
    let text = serde_json::to_vec(of).unwrap_or_default();
    sha256(&text)[..16].to_owned()
}
