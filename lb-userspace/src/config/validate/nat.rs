//! That nat's way back is not ambiguous: it keeps no flows, so a backend's address, port and protocol alone must
//! name the service that an answer belongs to.

use super::{Check, RawService, Refusal, Service};
use lb_common::{backend::Forwarding, service::ServiceKey};
use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};
use toml::Spanned;

/// Backends of nat services by address, port and protocol, and where they stand.
type Answers<'s> = HashMap<ServiceKey, (&'s Service, usize)>;

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
                if let Some(vip) = vips.get(&backend.address) {
                    refused.push((at, virtual_address(backend.address, vip)));
                } else if let Some((other, line)) = answers.get(&key) {
                    refused.push((at, taken(key, other, self.source.line(*line))));
                } else {
                    answers.insert(key, (service, at));
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
    let pairs = one_port.filter_map(|(key, (service, at))| {
        let (every, _) = answers.get(&ServiceKey { port: [0, 0], ..*key })?;
        let apart = every.address == service.address && service.port == key.port();
        (!apart).then(|| (*at, shared(*key, every)))
    });
    pairs.collect()
}

fn virtual_address(address: IpAddr, service: &Service) -> Refusal {
    let name = &service.name;
    Refusal(format!(
        "address {address} is that of service {name:?}, which nat would send on again; write the real server's"
    ))
}

fn taken(key: ServiceKey, other: &Service, line: usize) -> Refusal {
    let (name, end) = (&other.name, shown(key));
    Refusal(format!(
        "{end} answers for nat service {name:?} already, on line {line}, and the two could not be told apart; give the backend another port or address, or one of the services another forwarding"
    ))
}

fn shared(key: ServiceKey, every: &Service) -> Refusal {
    let (name, end) = (&every.name, shown(key));
    Refusal(format!(
        "{end} answers for nat service {name:?} too, which has every port, and the two could not be told apart; give the backend another address, or one of the services another forwarding"
    ))
}

fn shown(key: ServiceKey) -> String {
    match key.port() {
        0 => format!("every port of {}", key.ip()),
        port => SocketAddr::new(key.ip(), port).to_string(),
    }
}
