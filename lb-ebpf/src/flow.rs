//! From a parsed packet to the flow that it belongs to: its service, its slot, and what is to be done with it.

use crate::{
    counters::{NO_SERVICE, mark},
    fragments, maps, service, track,
};
use lb_common::{
    counters::{DropReason, PassReason},
    meta::features,
    service::{Service, UDP, service_flags},
    slot::{BackendIndex, NO_BACKEND},
};
use lb_ebpf::{
    forward::{Inner, mss},
    parse::{
        Packet, Part, Transport,
        icmp::{Message, Quoted, message},
        l4::Signal,
    },
    select::{Ends, Question, slot_index},
};
use network_types::ip::Ipv6Hdr;

/// What is to be done with a packet: the two below, or dropped with the [`DropReason`] of this number. A plain number, because the
/// stack is full: see [`crate::track`].
pub type Fate = u32;
/// Forward it to the flow's backend.
pub const FORWARD: Fate = 0;
/// Answer an echo request to a virtual address.
pub const ECHO: Fate = 1;

/// A packet with all that forwarding it needs. Every field is always set, see [`crate::counters::Outcome`].
pub struct Flow {
    /// What is to be done.
    pub fate: Fate,
    /// Identifier of the service.
    pub service: u32,
    /// Index of the backend; [`NO_BACKEND`]: none.
    pub backend: u32,
    /// The flow's hash.
    pub hash: u64,
    /// Bits of [`mark`].
    pub marks: u8,
    /// Whether its sender may be told that it does not fit: not of an error, nor of a later fragment (RFC 1122 section 3.2.2).
    pub answerable: bool,
    /// What an encapsulation needs of the IP header.
    pub inner: Inner,
}

impl Flow {
    /// Not yet known.
    pub const NONE: Self = Self {
        fate: DropReason::NoBackend as Fate,
        service: NO_SERVICE,
        backend: NO_BACKEND as u32,
        hash: 0,
        marks: 0,
        answerable: false,
        inner: Inner { ipv6: false, length: 0, traffic_class: 0 },
    };

    /// A TCP or UDP packet, of which `beyond` bytes lie in further buffers: whole, a first fragment, or a later one.
    #[inline(always)]
    pub fn of<E: Ends>(&mut self, packet: &Packet<'_, E>, beyond: usize) -> Result<(), PassReason> {
        let Packet { ends, inner, transport } = packet;
        if let Part::Later(identification) = transport.part {
            return self.of_later_fragment(packet, beyond, identification);
        }
        let ports = transport.ports().ok_or(PassReason::Truncated)?;
        let service =
            service::find(ends, ports.destination, transport.protocol).ok_or(PassReason::NoService)?;
        match transport.check(beyond) {
            Ok(_) if ends.is_martian() => self.drop(DropReason::MartianSource, service.id),
            Err(reason) => self.drop(reason, service.id),
            Ok(signal) => {
                let opens = signal == Signal::Opens;
                if let Part::First(identification) = transport.part {
                    fragments::teach(ends, identification, transport.protocol, ports.word);
                }
                if opens && maps::enabled(features::MSS) && service.mss != 0 {
                    mss::clamp(transport, service.mss);
                }
                self.forward(service, ends, transport, ports.word, signal);
                self.inner = *inner;
                self.marks = mark::of(opens, transport.resets());
                self.answerable = true;
            }
        }
        Ok(())
    }

    /// A fragment without ports goes where the first one of its datagram went.
    #[inline(always)]
    fn of_later_fragment<E: Ends>(
        &mut self,
        packet: &Packet<'_, E>,
        beyond: usize,
        identification: u32,
    ) -> Result<(), PassReason> {
        let Packet { ends, inner, transport } = packet;
        let recalled = fragments::recall(ends, identification, transport.protocol);
        let Some(ports) = recalled.or_else(|| without_ports(ends, transport.protocol)) else {
            if !maps::is_vip(&ends.service_key([0, 0], 0).address) {
                return Err(PassReason::Fragment);
            }
            self.drop(DropReason::UnknownFragment, NO_SERVICE);
            return Ok(());
        };
        let [_, _, high, low] = ports.to_le_bytes();
        let service =
            service::find_by_call(ends, [high, low], transport.protocol).ok_or(PassReason::NoService)?;
        if !transport.has_rest(beyond) {
            self.drop(DropReason::IpLength, service.id);
            return Ok(());
        }
        self.forward(service, ends, transport, ports, Signal::Quoted);
        self.inner = *inner;
        Ok(())
    }

    /// ICMP: an error goes to the backend of the flow that it quotes; an echo request to a virtual address is answered.
    #[inline(always)]
    pub fn of_icmp<E: Ends>(
        &mut self,
        packet: &Packet<'_, E>,
        beyond: usize,
        quoted: impl Fn(&Transport<'_>) -> Option<Quoted<E>>,
    ) -> Result<(), PassReason> {
        let Packet { ends, inner, transport } = packet;
        if transport.part != Part::Whole {
            return Err(PassReason::OtherProtocol);
        }
        let vip = ends.service_key([0, 0], 0).address;
        match message(transport, inner.ipv6).ok_or(PassReason::Truncated)? {
            Message::Echo if is_plain(packet, beyond) && maps::is_vip(&vip) => {
                if ends.is_martian() {
                    self.drop(DropReason::MartianSource, NO_SERVICE);
                } else {
                    self.fate = ECHO;
                }
                Ok(())
            }
            Message::Error => {
                let quoted = quoted(transport).ok_or(PassReason::OtherProtocol)?;
                let service = service::find_by_call(&quoted.ends, quoted.ports.destination, quoted.protocol);
                let about_vip = quoted.ends.service_key([0, 0], 0).address == vip;
                let service = service.filter(|_| about_vip).ok_or(PassReason::NoService)?;
                if !transport.is_complete(beyond) {
                    self.drop(DropReason::IpLength, service.id);
                } else if ends.is_martian() {
                    self.drop(DropReason::MartianSource, service.id);
                } else {
                    let about = Transport { protocol: quoted.protocol, ..*transport };
                    self.forward(service, &quoted.ends, &about, quoted.ports.word, Signal::Quoted);
                    self.inner = *inner;
                }
                Ok(())
            }
            _ => Err(PassReason::OtherProtocol),
        }
    }

    /// The flow's backend: that of its slot, where the slot alone decides.
    #[inline(always)]
    fn forward<E: Ends>(
        &mut self,
        service: &'static Service,
        ends: &E,
        transport: &Transport<'_>,
        ports: u32,
        signal: Signal,
    ) {
        let hash = hash(service, ends, ports, transport.protocol);
        self.fate = FORWARD;
        self.service = service.id;
        self.hash = hash;
        let index = slot_index(service, hash);
        let Some(slot) = maps::slot(index) else { return };
        self.backend = if slot.is_stable() && !tracks_all(service) {
            slot.backend.into()
        } else {
            let udp = transport.protocol == UDP;
            let initial = udp && signal == Signal::Goes && transport.is_quic_initial();
            let signal = if initial { Signal::Opens } else { signal };
            let [high, low, place, hash, rest] =
                Question::new(ends, service, ports, hash, signal, udp).into_words();
            u32::from(track::track(high, low, place, hash, rest) as BackendIndex)
        };
    }

    #[inline(always)]
    fn drop(&mut self, reason: DropReason, service: u32) {
        self.fate = reason as Fate;
        self.service = service;
    }
}

/// Whether every flow of the service is remembered.
#[inline(always)]
fn tracks_all(service: &Service) -> bool {
    maps::enabled(features::ROUND_ROBIN | features::LEAST_CONNECTIONS)
        && service.flags & service_flags::TRACKS_ALL != 0
}

/// The flow's hash, of the addresses alone where the service wants that.
#[inline(always)]
fn hash(service: &Service, ends: &impl Ends, ports: u32, protocol: u8) -> u64 {
    let alone = maps::enabled(features::ADDRESSES_ONLY) && service.flags & service_flags::ADDRESSES_ONLY != 0;
    ends.flow_hash(if alone { 0 } else { ports }, protocol, maps::key_word)
}

/// Ports are not needed for a fragment to a service of every port that hashes on addresses alone.
#[inline(always)]
fn without_ports(ends: &impl Ends, protocol: u8) -> Option<u32> {
    if !maps::enabled(features::ADDRESSES_ONLY) || !maps::enabled(features::EVERY_PORT) {
        return None;
    }
    let service = maps::service_by_call(ends.service_key([0, 0], protocol))?;
    (service.flags & service_flags::ADDRESSES_ONLY != 0).then_some(0)
}

/// Whether the packet is all there, and of IPv6 without extension headers, which a reply could not repeat.
#[inline(always)]
fn is_plain<E>(packet: &Packet<'_, E>, beyond: usize) -> bool {
    let Packet { inner, transport, .. } = packet;
    transport.is_complete(beyond) && (!inner.ipv6 || inner.length - transport.length == Ipv6Hdr::LEN)
}
