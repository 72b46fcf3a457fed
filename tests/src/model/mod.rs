//! A model of the data plane in plain Rust: what the design says becomes of a packet, written without the program's
//! code. It reads a frame by offsets, allocates as it likes and knows nothing of the verifier, so that the two can
//! only agree where both are right (or both read the design wrongly). The flow hash and the records of the maps are
//! shared.
//!
//! ```text
//!   link ──► ip ──► transport ──► service, slot, backend ──► forward
//! ```
//!
//! One file a layer, as in the program; a forwarding mode is a file in [`forward`].

pub mod forward;
pub mod ip;
pub mod link;
pub mod tally;
pub mod transport;
mod wire;

use lb_common::{
    backend::Backend,
    counters::{DropReason, PassReason, Verdict},
    hash::{KeyWords, expand_key, flow_hash, words_v4, words_v6},
    service::{ServiceKey, address_bytes},
    slot::NO_BACKEND,
};
use lb_userspace::dataplane::{Installed, InstalledService};
use std::{collections::BTreeMap, net::IpAddr};

use ip::Packet;
use link::Link;

/// The balancer that is modelled: what its maps hold.
pub struct Model {
    services: BTreeMap<ServiceKey, InstalledService>,
    backends: BTreeMap<u16, Backend>,
    key: KeyWords,
    ingress: u32,
    ipv6: bool,
}

/// A frame on its way in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'f> {
    /// From the destination MAC address on.
    pub frame: &'f [u8],
    /// Bytes in front of it that headers can be put into.
    pub headroom: usize,
}

/// What becomes of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Action and reason.
    pub verdict: Verdict,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// Identifier of the service that counts it.
    pub service: Option<u32>,
    /// The backend that gets it.
    pub backend: Option<u16>,
    /// Whether that counts a connection.
    pub opens: bool,
}

/// Where a packet of a service shall go.
struct Chosen<'m> {
    index: u16,
    backend: &'m Backend,
    hash: u64,
}

impl Model {
    /// The model of a balancer that received frames by the interface of index `ingress`.
    #[must_use]
    pub fn new(installed: &Installed, secret: [u8; 16], ingress: u32) -> Self {
        let services = installed.services.iter().map(|service| (service.key, service.clone())).collect();
        let backends = installed.backends.iter().map(|backend| (backend.index, backend.record)).collect();
        let ipv6 = installed.services.iter().any(|service| service.key.ip().is_ipv6());
        Self { services, backends, key: expand_key(secret), ingress, ipv6 }
    }

    /// What becomes of a frame.
    #[must_use]
    pub fn run(&self, arrival: Arrival<'_>) -> Answer {
        self.balance(arrival).unwrap_or_else(|reason| Answer {
            verdict: Verdict::Pass(reason),
            frame: arrival.frame.to_vec(),
            service: None,
            backend: None,
            opens: false,
        })
    }

    fn balance(&self, arrival: Arrival<'_>) -> Result<Answer, PassReason> {
        let frame = arrival.frame;
        let link = link::read(frame)?;
        if link.ipv6 && !self.ipv6 {
            return Err(PassReason::Ipv6Unused);
        }
        let packet = ip::read(frame, link.end)?;
        let ports = transport::ports(frame, &packet).ok_or(PassReason::Truncated)?;
        let service = self.service(&packet, ports.1).ok_or(PassReason::NoService)?;
        let mut answer = Answer {
            verdict: Verdict::Transmit,
            frame: frame.to_vec(),
            service: Some(service.record.id),
            backend: None,
            opens: false,
        };
        match self.deliver(arrival, &link, &packet, ports, service, &mut answer) {
            Ok(verdict) => answer.verdict = verdict,
            Err(reason) => answer.verdict = Verdict::Drop(reason),
        }
        Ok(answer)
    }

    fn deliver(
        &self,
        arrival: Arrival<'_>,
        link: &Link,
        packet: &Packet,
        ports: (u16, u16),
        service: &InstalledService,
        answer: &mut Answer,
    ) -> Result<Verdict, DropReason> {
        let opens = transport::check(arrival.frame, packet)?;
        let Chosen { index, backend, hash } = self.choose(packet, ports, service)?;
        answer.frame = forward::rewrite(arrival, link, packet, backend, hash)?;
        answer.backend = Some(index);
        answer.opens = opens;
        Ok(if backend.ifindex == self.ingress { Verdict::Transmit } else { Verdict::Redirect })
    }

    /// The service of the port, else of every port. An IPv4 address mapped into IPv6 has none: on the wire it is nobody's.
    fn service(&self, packet: &Packet, port: u16) -> Option<&InstalledService> {
        if let IpAddr::V6(v6) = packet.destination
            && v6.to_ipv4_mapped().is_some()
        {
            return None;
        }
        let find = |port| self.services.get(&ServiceKey::new(packet.destination, port, packet.protocol));
        find(port).or_else(|| find(0))
    }

    fn choose(
        &self,
        packet: &Packet,
        ports: (u16, u16),
        service: &InstalledService,
    ) -> Result<Chosen<'_>, DropReason> {
        let hash = self.hash(packet, ports);
        let slot = service.slots[(hash % service.slots.len() as u64) as usize];
        if slot.backend == NO_BACKEND {
            return Err(DropReason::NoBackend);
        }
        let backend = self.backends.get(&slot.backend).ok_or(DropReason::NoBackend)?;
        Ok(Chosen { index: slot.backend, backend, hash })
    }

    fn hash(&self, packet: &Packet, (source, destination): (u16, u16)) -> u64 {
        // Both ports as they lie on the wire, read as one little-endian word.
        let ports = u32::from(source.swap_bytes()) | u32::from(destination.swap_bytes()) << 16;
        match (packet.source, packet.destination) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let key = [self.key[0], self.key[1], self.key[2], self.key[3]];
                flow_hash(words_v4(from.octets(), to.octets(), ports, packet.protocol), key)
            }
            (from, to) => {
                let (from, to) = (address_bytes(from), address_bytes(to));
                flow_hash(words_v6(from, to, ports, packet.protocol), self.key)
            }
        }
    }
}
