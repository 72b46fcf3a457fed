//! The single owner of the desired state: what the configuration asks for, and the ways to the backends that
//! netlink knows. Takes typed events; knows no clock, socket or map.

mod changes;
mod factors;
mod kept;
#[cfg(test)]
mod kept_tests;
mod services;
#[cfg(test)]
mod tests;
mod vitals;
#[cfg(test)]
mod vitals_tests;

use crate::{
    config::{Algorithm, Backend, Config, HashOn, Prefix, Service, TunnelSource},
    dataplane::{Sizes, Way},
    health::threshold::Verdict,
    neighbour::NextHop,
};
use lb_common::{
    backend::{Departure, Forwarding, LinkAddress},
    limits::{MAX_BACKENDS, MAX_PLAIN_MTU, MAX_SERVICES},
    meta::features,
    service::{ServiceKey, UDP, service_flags},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

pub use changes::Change;
pub use factors::{Factors, Steered, installed_of};
pub use kept::{Clocks, Kept, KeptDrain, Statement};
pub use vitals::Finding;

/// What changes the desired state, beside an operator's [`Change`].
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "none is kept: each is taken in at once")]
pub enum Event {
    /// A new configuration, whole and valid.
    Configured(Config),
    /// Netlink's answer for an address.
    NextHop(IpAddr, NextHop),
    /// What health checks found of a backend.
    Health(Finding),
    /// What latency makes of a service's weights.
    Factors(Factors),
}

/// What a backend is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Standing {
    /// New connections, and those that it has.
    #[default]
    Serving,
    /// Those that it has: an operator lets them end.
    Draining,
    /// Those that it has, for a while: its checks fail.
    Failing,
    /// Nothing: it is dead, and its flows are chosen anew.
    Down,
}

/// A backend as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its weight.
    pub weight: u32,
    /// What its weight comes to in the slot table, in 1/[`crate::weight::WEIGHT_SCALE`] of a weight: less than the whole in
    /// slow start, and whatever latency makes of it.
    pub share: u32,
    /// What it is there for.
    pub standing: Standing,
    /// The encapsulation's port for gue; for nat the backend's own, where 0 is every port; else 0.
    pub port: u16,
    /// Where the outer packets of a tunnel come from.
    pub tunnel_source: Option<Prefix>,
    /// How to reach it; `None`: not known yet, so that it gets no slot.
    pub way: Option<Way>,
}

/// A service as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredService {
    /// Its name.
    pub name: String,
    /// Address, port and protocol.
    pub key: ServiceKey,
    /// Number of slots, a power of two.
    pub slots: u32,
    /// How packets reach its backends.
    pub forwarding: Forwarding,
    /// Largest TCP segment that a SYN may ask for; 0: any.
    pub mss: u16,
    /// Bits of [`service_flags`].
    pub flags: u16,
    /// How its table is filled.
    pub algorithm: Algorithm,
    /// Its backends, sorted by name.
    pub backends: Vec<DesiredBackend>,
    /// Names of backends that left and are to be dropped at once, with the flows that they have.
    pub evict: BTreeSet<String>,
}

/// The desired state.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// As the configuration has them.
    configured: Vec<Service>,
    /// With what was changed since.
    services: Vec<Service>,
    tunnel_source: TunnelSource,
    gue_port: u16,
    /// By the backend's address.
    known: BTreeMap<IpAddr, Known>,
    /// Backends that drain, by service and name, with their deadlines.
    drains: BTreeMap<(String, String), Option<Duration>>,
    /// Backends to be dropped at once, by service and name.
    evict: BTreeSet<(String, String)>,
    vitals: vitals::Vitals,
    /// Factors from latency, by service and backend.
    factors: BTreeMap<String, BTreeMap<String, f64>>,
    /// The time of slow starts, on `CLOCK_MONOTONIC`.
    clock: Duration,
}

/// What netlink told of an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    /// The way there; `None`: the next hop never answered.
    way: Option<Way>,
    /// This host's own address on that way.
    local: Option<IpAddr>,
}

impl State {
    /// Takes an event in. Says whether the desired state may have changed.
    pub fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Configured(config) => {
                self.configured.clone_from(&config.services);
                self.services = config.services;
                self.tunnel_source = config.daemon.tunnel_source;
                self.gue_port = config.daemon.gue_port;
                true
            }
            Event::NextHop(address, next_hop) => self.learn(address, &next_hop),
            Event::Health(finding) => self.found(finding),
            Event::Factors(factors) => self.steer(factors),
        }
    }

    /// A next hop that no longer answers keeps its last MAC address: whether a backend is dead is for
    /// the health checks to say, and a neighbour entry that expired breaks no connection.
    fn learn(&mut self, address: IpAddr, next_hop: &NextHop) -> bool {
        let known = self.known.entry(address).or_default();
        let before = *known;
        known.local = next_hop.local.or(known.local);
        if let Some(mac) = next_hop.mac {
            known.way = Some(Way {
                next_hop: LinkAddress::resolved(mac),
                departure: Departure { mac: next_hop.source, vlan: next_hop.vlan },
                ifindex: next_hop.port,
                mtu: u16::try_from(next_hop.mtu).unwrap_or(u16::MAX),
            });
        }
        *known != before
    }

    /// Whether a backend at the address must be on the balancer's own link.
    #[must_use]
    pub fn must_be_on_link(&self, address: IpAddr) -> bool {
        let mut there =
            self.services.iter().filter(|service| service.backends.iter().any(|b| b.address == address));
        there.any(|service| !service.forwarding.crosses_routers())
    }

    /// The services as they are configured.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Every address that a way is needed to, once each.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let all = self.services.iter().flat_map(|service| &service.backends);
        let mut addresses: Vec<_> = all.map(|backend| backend.address).collect();
        addresses.sort();
        addresses.dedup();
        addresses
    }

    /// Backends whose way is not known, as `service/backend (address)`.
    #[must_use]
    pub fn unresolved(&self) -> Vec<String> {
        let all = self.services.iter().flat_map(|service| service.backends.iter().map(move |b| (service, b)));
        all.filter(|(service, backend)| self.desired_backend(service, backend, Verdict::Heeded).way.is_none())
            .map(|(service, backend)| format!("{}/{} ({})", service.name, backend.name, backend.address))
            .collect()
    }

    /// Names of the backends at an address, as `service/backend (address)`.
    #[must_use]
    pub fn name_of(&self, address: IpAddr) -> String {
        let all = self.services.iter().flat_map(|service| service.backends.iter().map(move |b| (service, b)));
        let there = all.filter(|(_, backend)| backend.address == address);
        let names: Vec<_> =
            there.map(|(service, backend)| format!("{}/{}", service.name, backend.name)).collect();
        format!("{} ({address})", names.join(", "))
    }

    /// The features that the program must have, as bits of [`features`].
    #[must_use]
    pub fn features(&self) -> u32 {
        features_of(&self.services)
    }

    /// What the maps should hold, sorted by name.
    #[must_use]
    pub fn desired(&self) -> Vec<DesiredService> {
        let mut services: Vec<_> =
            self.services.iter().map(|service| self.desired_service(service)).collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        services
    }

    fn desired_service(&self, service: &Service) -> DesiredService {
        let verdict = self.verdict(service);
        let all = service.backends.iter();
        let mut backends: Vec<_> =
            all.map(|backend| self.desired_backend(service, backend, verdict)).collect();
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        DesiredService {
            name: service.name.clone(),
            key: service.key(),
            slots: service.slots,
            mss: service.mss.unwrap_or_default(),
            flags: flags_of(service),
            algorithm: service.algorithm,
            forwarding: service.forwarding,
            backends,
            evict: self.evicted_of(&service.name),
        }
    }

    fn evicted_of(&self, service: &str) -> BTreeSet<String> {
        let own = self.evict.iter().filter(|(of, _)| of == service);
        own.map(|(_, backend)| backend.clone()).collect()
    }

    fn desired_backend(&self, service: &Service, backend: &Backend, verdict: Verdict) -> DesiredBackend {
        let forwarding = service.forwarding;
        let Known { way, local } = self.known.get(&backend.address).copied().unwrap_or_default();
        let configured =
            if backend.address.is_ipv4() { self.tunnel_source.v4 } else { self.tunnel_source.v6 };
        let own = local.map(|address| Prefix { address, length: if address.is_ipv4() { 32 } else { 128 } });
        let tunnel_source = configured.or(own).filter(|_| forwarding.is_tunnel());
        DesiredBackend {
            name: backend.name.clone(),
            address: backend.address,
            weight: backend.weight,
            share: self.share(service, backend, verdict),
            standing: self.standing(service, backend, verdict),
            port: match forwarding {
                Forwarding::L2Dsr | Forwarding::Ipip => 0,
                Forwarding::Gue => self.gue_port,
                Forwarding::Nat => service.port_of(backend),
            },
            tunnel_source,
            // A tunnel packet from no address would be dropped on its way: until there is one, the backend gets no slot.
            way: way.filter(|_| !forwarding.is_tunnel() || tunnel_source.is_some()),
        }
    }
}

/// The features that a program for these services must have, as bits of [`features`].
#[must_use]
pub fn features_of(services: &[Service]) -> u32 {
    services.iter().fold(0, |bits, service| {
        let ipv6 = if service.address.is_ipv6() { features::IPV6 } else { 0 };
        let every_port = if service.port == 0 { features::EVERY_PORT } else { 0 };
        let udp = if service.protocol.number() == UDP { features::UDP } else { 0 };
        let mode = match service.forwarding {
            Forwarding::L2Dsr => 0,
            Forwarding::Ipip => features::IPIP,
            Forwarding::Gue => features::GUE,
            Forwarding::Nat => features::NAT,
        };
        let addresses = if service.hash_on == HashOn::Addresses { features::ADDRESSES_ONLY } else { 0 };
        let mss = if service.mss.is_some() { features::MSS } else { 0 };
        let algorithm = match service.algorithm {
            Algorithm::Hash | Algorithm::Maglev => 0,
            Algorithm::RoundRobin { per_client: false } => features::ROUND_ROBIN,
            Algorithm::RoundRobin { per_client: true } => features::ROUND_ROBIN | features::PER_CLIENT,
            Algorithm::LeastConnections => features::LEAST_CONNECTIONS,
        };
        let sampling = if service.weights.sampled().is_some() { features::SAMPLING } else { 0 };
        bits | ipv6 | every_port | udp | mode | addresses | mss | algorithm | sampling
    })
}

/// The bits of [`service_flags`] that a service has.
fn flags_of(service: &Service) -> u16 {
    let addresses = if service.hash_on == HashOn::Addresses { service_flags::ADDRESSES_ONLY } else { 0 };
    let algorithm = match service.algorithm {
        Algorithm::Hash | Algorithm::Maglev => 0,
        Algorithm::RoundRobin { per_client: false } => service_flags::ROUND_ROBIN,
        Algorithm::RoundRobin { per_client: true } => service_flags::ROUND_ROBIN | service_flags::PER_CLIENT,
        Algorithm::LeastConnections => service_flags::LEAST_CONNECTIONS,
    };
    addresses | algorithm
}

/// Sizes of the maps for these services, with room to grow: maps cannot grow while they are in use. `flows`: entries of
/// each family's flow table.
#[must_use]
pub fn sizes_of(services: &[Service], flows: u32) -> Sizes {
    let count = services.len() as u32;
    let backends: usize = services.iter().map(|service| service.backends.len()).sum();
    let slots: u32 = services.iter().map(|service| service.algorithm.places(service.slots)).sum();
    Sizes {
        services: (count * 2).next_power_of_two().clamp(256, MAX_SERVICES),
        // A changed backend gets a new index before the old one is free: twice the number, and index 0.
        backends: (backends as u32 * 2 + 1).next_power_of_two().clamp(1024, MAX_BACKENDS + 1),
        slots: (slots * 2).next_power_of_two().max(1 << 18),
        flows,
    }
}

/// The features that an interface of this MTU (bytes) asks for, as bits of [`features`].
#[must_use]
pub const fn features_for_mtu(mtu: u32) -> u32 {
    if mtu > MAX_PLAIN_MTU { features::JUMBO } else { 0 }
}
