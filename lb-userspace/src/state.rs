//! The single owner of the desired state: what the configuration asks for, and the ways to the backends that
//! netlink knows. Takes typed events; knows no clock, socket or map.

use crate::{
    config::{Config, Service},
    dataplane::Sizes,
    neighbour::NextHop,
};
use lb_common::{
    backend::{Forwarding, LinkAddress},
    limits::{MAX_BACKENDS, MAX_SERVICES},
    meta::features,
    service::{ServiceKey, UDP},
};
use std::{collections::BTreeMap, net::IpAddr};

/// What changes the desired state.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new configuration, whole and valid.
    Configured(Config),
    /// Netlink's answer for an address.
    NextHop(IpAddr, NextHop),
}

/// The way to a backend: how the frames to it are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// MAC address of the next hop.
    pub next_hop: LinkAddress,
    /// MAC address of the interface that leads there.
    pub source: LinkAddress,
    /// Index of that interface.
    pub ifindex: u32,
}

/// A backend as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredBackend {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its configured weight.
    pub weight: u32,
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
    /// Its backends, sorted by name.
    pub backends: Vec<DesiredBackend>,
}

/// The desired state.
#[derive(Clone, Debug, Default)]
pub struct State {
    services: Vec<Service>,
    ways: BTreeMap<IpAddr, Way>,
}

impl State {
    /// Takes an event in. Says whether the desired state may have changed.
    pub fn handle(&mut self, event: Event) -> bool {
        match event {
            Event::Configured(config) => {
                self.services = config.services;
                true
            }
            Event::NextHop(address, next_hop) => self.learn(address, &next_hop),
        }
    }

    /// A next hop that no longer answers keeps its last MAC address: whether a backend is dead is for
    /// the health checks to say, and a neighbour entry that expired breaks no connection.
    fn learn(&mut self, address: IpAddr, next_hop: &NextHop) -> bool {
        let Some(mac) = next_hop.mac else {
            return false;
        };
        let way = Way {
            next_hop: LinkAddress::resolved(mac),
            source: LinkAddress::resolved(next_hop.source),
            ifindex: next_hop.ifindex,
        };
        self.ways.insert(address, way) != Some(way)
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
        all.filter(|(_, backend)| !self.ways.contains_key(&backend.address))
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
        let backends = service.backends.iter().map(|backend| DesiredBackend {
            name: backend.name.clone(),
            address: backend.address,
            weight: backend.weight,
            way: self.ways.get(&backend.address).copied(),
        });
        let mut backends: Vec<_> = backends.collect();
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        DesiredService {
            name: service.name.clone(),
            key: ServiceKey::new(service.address, service.port, service.protocol.number()),
            slots: service.slots,
            forwarding: service.forwarding,
            backends,
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
        bits | ipv6 | every_port | udp
    })
}

/// Sizes of the maps for these services, with room to grow: maps cannot grow while they are in use.
#[must_use]
pub fn sizes_of(services: &[Service]) -> Sizes {
    let count = services.len() as u32;
    let backends: usize = services.iter().map(|service| service.backends.len()).sum();
    let slots: u32 = services.iter().map(|service| service.slots).sum();
    Sizes {
        services: (count * 2).next_power_of_two().clamp(256, MAX_SERVICES),
        // A changed backend gets a new index before the old one is free: twice the number, and index 0.
        backends: (backends as u32 * 2 + 1).next_power_of_two().clamp(1024, MAX_BACKENDS + 1),
        slots: (slots * 2).next_power_of_two().max(1 << 18),
    }
}
