//! That nat's way back is not ambiguous: it keeps no flows, so a backend's address, port and protocol alone must
//! name the service that an answer belongs to.

use super::{Backend, Check, RawService, Refusal, Service};
use lb_common::{backend::Forwarding, service::ServiceKey};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};
use toml::Spanned;

/// Backends of nat services by address, port and protocol.
type Answers<'s> = HashMap<ServiceKey, Place<'s>>;

/// A backend of a nat service.
#[derive(Clone, Copy)]
struct Place<'s> {
    service: &'s Service,
    backend: &'s Backend,
    /// Where its address stands.
    at: usize,
}

impl Place<'_> {
    fn name(&self) -> String {
        format!("{}/{}", self.service.name, self.backend.name)
    }
}

impl Check<'_> {
    pub(super) fn answers(&mut self, raw: &[Spanned<RawService>], services: &[Service]) -> Option<()> {
        let vips: BTreeMap<IpAddr, &Service> =
            services.iter().map(|service| (service.address, service)).collect();
        let mut answers = Answers::new();
        let mut refused = Vec::new();
        for (raw, service) in
            raw.iter().zip(services).filter(|(_, service)| service.forwarding == Forwarding::Nat)
        {
            for (raw, backend) in raw.get_ref().backends.iter().zip(&service.backends) {
                let at = raw.get_ref().address.as_ref().map_or(raw.span().start, |text| text.span().start);
                let key =
                    ServiceKey::new(backend.address, service.port_of(backend), service.protocol.number());
                let place = Place { service, backend, at };
                if let Some(vip) = vips.get(&backend.address) {
                    refused.push((at, virtual_address(place, vip)));
                } else if let Some(other) = answers.get(&key) {
                    refused.push((at, taken(key, place, *other, self.source.line(other.at))));
                } else {
                    answers.insert(key, place);
                }
            }
        }
        refused.extend(every_port(&answers));
        for (at, refusal) in &refused {
            self.at::<()>(*at, Err(refusal.clone()));
        }
        refused.is_empty().then_some(())
    }
}

/// Backends of a service of every port that have a port for another service, which the first could send to as well.
/// Only a service of the same virtual address takes that port from the first, if its own port is the same.
fn every_port(answers: &Answers<'_>) -> Vec<(usize, Refusal)> {
    let one_port = answers.iter().filter(|(key, _)| key.port != [0, 0]);
    let pairs = one_port.filter_map(|(key, place)| {
        let every = answers.get(&ServiceKey { port: [0, 0], ..*key })?;
        let apart = every.service.address == place.service.address && place.service.port == key.port();
        (!apart).then(|| (place.at, shared(*key, *place, *every)))
    });
    pairs.collect()
}

fn virtual_address(place: Place<'_>, service: &Service) -> Refusal {
    let (address, name) = (place.backend.address, &service.name);
    Refusal(format!(
        "backend {}: address {address} is that of service {name:?}, which nat would send on again; write the real server's",
        place.name()
    ))
}

fn taken(key: ServiceKey, place: Place<'_>, other: Place<'_>, line: usize) -> Refusal {
    Refusal(format!(
        "backend {} answers from {}, and so does {} on line {line}: nat could not tell of which service an answer is; give the backend another port or address, or one of the services another forwarding",
        place.name(),
        shown(key),
        other.name()
    ))
}

fn shared(key: ServiceKey, place: Place<'_>, every: Place<'_>) -> Refusal {
    Refusal(format!(
        "backend {} answers from {}, and so does {}, from every port: nat could not tell of which service an answer is; give the backend another address, or one of the services another forwarding",
        place.name(),
        shown(key),
        every.name()
    ))
}

fn shown(key: ServiceKey) -> String {
    match key.port() {
        0 => format!("every port of {}", key.ip()),
        port => SocketAddr::new(key.ip(), port).to_string(),
    }
}
