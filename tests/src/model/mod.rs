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

pub mod answer;
pub mod forward;
pub mod fragments;
pub mod icmp;
pub mod ip;
pub mod link;
pub mod mss;
mod returned;
pub mod route;
pub mod tally;
pub mod track;
pub mod transport;
mod wire;

use lb_common::{
    backend::Backend,
    counters::{AnswerReason, DropReason, PassReason, Verdict},
    hash::{KeyWords, expand_key, flow_hash, words_v4, words_v6},
    nat::{ReturnEnd, ReturnKey},
    service::{ServiceKey, address_bytes, service_flags},
    slot::NO_BACKEND,
};
use lb_userspace::dataplane::{Installed, InstalledService};
use std::{collections::BTreeMap, net::IpAddr};

use forward::Refusal;
use fragments::Fragments;
use icmp::{ICMP, ICMPV6};
use ip::{Packet, Part};
use link::Link;
use route::Routes;

/// The balancer that is modelled: what its maps hold.
pub struct Model {
    services: BTreeMap<ServiceKey, InstalledService>,
    backends: BTreeMap<u16, Backend>,
    returns: BTreeMap<ReturnKey, ReturnEnd>,
    routes: Routes,
    key: KeyWords,
    ingress: u32,
    ipv6: bool,
    fragments: Fragments,
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
    /// Whether that counts a reset.
    pub resets: bool,
}

/// Where a packet of a service shall go.
struct Chosen<'m> {
    index: u16,
    backend: &'m Backend,
    hash: u64,
}

/// What else there is to know of a packet of a service.
#[derive(Clone, Copy, Default)]
struct Kind {
    opens: bool,
    resets: bool,
    /// Whether its sender may be told that it does not fit.
    answerable: bool,
    /// Of an ICMP error: where the packet that it quotes has its ports.
    quoted: Option<usize>,
}

impl Model {
    /// The model of a balancer that received frames by the interface of index `ingress`, in a namespace with these routes.
    #[must_use]
    pub fn new(installed: &Installed, secret: [u8; 16], ingress: u32, routes: Routes) -> Self {
        let services = installed.services.iter().map(|service| (service.key, service.clone())).collect();
        let backends = installed.backends.iter().map(|backend| (backend.index, backend.record)).collect();
        let ipv6 = installed.services.iter().any(|service| service.key.ip().is_ipv6());
        let (returns, key, fragments) = (installed.returns.clone(), expand_key(secret), Fragments::default());
        Self { services, backends, returns, routes, key, ingress, ipv6, fragments }
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
            resets: false,
        })
    }

    fn balance(&self, arrival: Arrival<'_>) -> Result<Answer, PassReason> {
        let link = link::read(arrival.frame)?;
        if link.ipv6 && !self.ipv6 {
            return Err(PassReason::Ipv6Unused);
        }
        let packet = ip::read(arrival.frame, link.end)?;
        let to_service = match packet.part {
            _ if [ICMP, ICMPV6].contains(&packet.protocol) => self.icmp(arrival, &link, &packet),
            Part::Later(identification) => self.later(arrival, &link, &packet, identification),
            _ => self.with_ports(arrival, &link, &packet),
        };
        match to_service {
            Err(PassReason::NoService) => self.returned(arrival, &link, &packet),
            known => known,
        }
    }

    /// A packet with ports: whole, or a first fragment.
    fn with_ports(&self, arrival: Arrival<'_>, link: &Link, packet: &Packet) -> Result<Answer, PassReason> {
        let ports = transport::ports(arrival.frame, packet).ok_or(PassReason::Truncated)?;
        let service = self.service(packet, ports.1).ok_or(PassReason::NoService)?;
        let opens = match transport::check(arrival.frame, packet) {
            Ok(_) if martian(packet) => return Ok(drop(arrival, DropReason::MartianSource, Some(service))),
            Ok(opens) => opens,
            Err(reason) => return Ok(drop(arrival, reason, Some(service))),
        };
        if let Part::First(identification) = packet.part {
            self.fragments.teach(packet, identification, ports);
        }
        let chosen = self.choose(packet, ports, service);
        let mut frame = arrival.frame.to_vec();
        if opens && service.record.mss != 0 {
            mss::clamp(&mut frame, packet, service.record.mss);
        }
        let arrival = Arrival { frame: &frame, ..arrival };
        Ok(self.deliver(
            arrival,
            link,
            packet,
            service,
            chosen,
            Kind { opens, resets: transport::resets(arrival.frame, packet), answerable: true, quoted: None },
        ))
    }

    /// A later fragment: it goes where the first one of its datagram went.
    fn later(
        &self,
        arrival: Arrival<'_>,
        link: &Link,
        packet: &Packet,
        identification: u32,
    ) -> Result<Answer, PassReason> {
        // A service of every port that hashes on addresses alone needs to know no ports.
        let any_port = self.services.get(&ServiceKey::new(packet.destination, 0, packet.protocol));
        let unneeded = any_port.filter(|service| service.record.flags & service_flags::ADDRESSES_ONLY != 0);
        let recalled = self.fragments.recall(packet, identification);
        let Some(ports) = recalled.or_else(|| unneeded.map(|_| (0, 0))) else {
            let ours = self.is_vip(packet.destination);
            let unknown = || drop(arrival, DropReason::UnknownFragment, None);
            return ours.then(unknown).ok_or(PassReason::Fragment);
        };
        let service = self.service(packet, ports.1).ok_or(PassReason::NoService)?;
        if packet.end > arrival.frame.len() {
            return Ok(drop(arrival, DropReason::IpLength, Some(service)));
        }
        let chosen = self.choose(packet, ports, service);
        Ok(self.deliver(arrival, link, packet, service, chosen, Kind::default()))
    }

    fn icmp(&self, arrival: Arrival<'_>, link: &Link, packet: &Packet) -> Result<Answer, PassReason> {
        let frame = arrival.frame;
        if packet.part != Part::Whole {
            return Err(PassReason::OtherProtocol);
        }
        match icmp::message(frame, packet).ok_or(PassReason::Truncated)? {
            icmp::Message::Echo => {
                // The reply could not repeat extension headers.
                let plain = !link.ipv6 || packet.transport == packet.start + 40;
                if !plain || packet.end > frame.len() || !self.is_vip(packet.destination) {
                    return Err(PassReason::OtherProtocol);
                }
                if martian(packet) {
                    return Ok(drop(arrival, DropReason::MartianSource, None));
                }
                let reply = answer::echo(frame, packet);
                Ok(Answer { frame: reply, ..answered(arrival, AnswerReason::EchoReply, None) })
            }
            icmp::Message::Error => {
                let (quoted, ports) = icmp::quoted(frame, packet).ok_or(PassReason::OtherProtocol)?;
                let service = self.service(&quoted, ports.1);
                let service = service.filter(|_| quoted.destination == packet.destination);
                let service = service.ok_or(PassReason::NoService)?;
                if packet.end > frame.len() {
                    return Ok(drop(arrival, DropReason::IpLength, Some(service)));
                }
                if martian(packet) {
                    return Ok(drop(arrival, DropReason::MartianSource, Some(service)));
                }
                let chosen = self.choose(&quoted, ports, service);
                let kind = Kind { quoted: Some(quoted.transport), ..Kind::default() };
                Ok(self.deliver(arrival, link, packet, service, chosen, kind))
            }
            icmp::Message::Other => Err(PassReason::OtherProtocol),
        }
    }

    fn deliver(
        &self,
        arrival: Arrival<'_>,
        link: &Link,
        packet: &Packet,
        service: &InstalledService,
        chosen: Result<Chosen<'_>, DropReason>,
        kind: Kind,
    ) -> Answer {
        let Chosen { index, backend, hash } = match chosen {
            Ok(chosen) => chosen,
            Err(reason) => return drop(arrival, reason, Some(service)),
        };
        match forward::rewrite(arrival, link, packet, backend, (hash, kind.quoted)) {
            Ok(frame) => {
                let near = backend.ifindex == self.ingress;
                let verdict = if near { Verdict::Transmit } else { Verdict::Redirect };
                let service = Some(service.record.id);
                Answer {
                    verdict,
                    frame,
                    service,
                    backend: Some(index),
                    opens: kind.opens,
                    resets: kind.resets,
                }
            }
            Err(Refusal::TooBig(mtu)) if kind.answerable => {
                match answer::too_big(arrival, link, packet, mtu) {
                    Ok(frame) => {
                        Answer { frame, ..answered(arrival, AnswerReason::PacketTooBig, Some(service)) }
                    }
                    Err(reason) => drop(arrival, reason, Some(service)),
                }
            }
            Err(Refusal::TooBig(_)) => drop(arrival, DropReason::TooBig, Some(service)),
            Err(Refusal::Drop(reason)) => drop(arrival, reason, Some(service)),
        }
    }

    fn is_vip(&self, address: IpAddr) -> bool {
        self.services.keys().any(|key| key.ip() == address)
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
        let alone = service.record.flags & service_flags::ADDRESSES_ONLY != 0;
        let hash = self.hash(packet, if alone { (0, 0) } else { ports });
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

/// A frame that goes no further. Its bytes are nobody's then.
fn drop(arrival: Arrival<'_>, reason: DropReason, service: Option<&InstalledService>) -> Answer {
    let service = service.map(|service| service.record.id);
    let frame = arrival.frame.to_vec();
    Answer { verdict: Verdict::Drop(reason), frame, service, backend: None, opens: false, resets: false }
}

fn answered(arrival: Arrival<'_>, reason: AnswerReason, service: Option<&InstalledService>) -> Answer {
    Answer { verdict: Verdict::Answer(reason), ..drop(arrival, DropReason::NoBackend, service) }
}

/// Whether no packet can come from its source: RFC 1122 section 3.2.1.3, RFC 4291 section 2.7.
fn martian(packet: &Packet) -> bool {
    packet.source == packet.destination
        || match packet.source {
            IpAddr::V4(v4) => [0, 127].contains(&v4.octets()[0]) || v4.octets()[0] >= 224,
            IpAddr::V6(v6) => v6.is_multicast() || v6.is_loopback() || v6.is_unspecified(),
        }
}
