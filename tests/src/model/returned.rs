//! nat's way back: a packet to no service may be a backend's answer, which its source tells, or an ICMP error about a packet
//! that went to a backend, which the destination of what it quotes tells.

use std::net::IpAddr;

use lb_common::{
    counters::{DropReason, PassReason, Verdict},
    nat::{ReturnEnd, ReturnKey},
    service::{TCP, UDP, address_from_bytes},
};

use super::{
    Answer, Arrival, Model,
    forward::nat::{self, End},
    icmp::{self, ICMP, ICMPV6, Message},
    ip::{Packet, Part},
    link::Link,
    route::Way,
    transport,
    wire::number,
};

impl Model {
    /// What becomes of a packet to no service.
    pub(super) fn returned(
        &self,
        arrival: Arrival<'_>,
        link: &Link,
        packet: &Packet,
    ) -> Result<Answer, PassReason> {
        if [ICMP, ICMPV6].contains(&packet.protocol) {
            return self.returned_error(arrival, link, packet);
        }
        let frame = arrival.frame;
        let (ports, end) = self.whose(frame, packet).ok_or(PassReason::NoService)?;
        let checked = match packet.part {
            Part::Later(_) if packet.end > frame.len() => Err(DropReason::IpLength),
            Part::Later(_) => Ok(false),
            _ => transport::check(frame, packet),
        };
        if let Err(reason) = checked {
            return Ok(refused(frame, reason, end));
        }
        if let Part::First(identification) = packet.part {
            self.fragments.teach(packet, identification, ports);
        }
        self.send_on(arrival, link, packet, end, |frame, address, port| {
            nat::segment(frame, packet, End::Source, address, port);
        })
    }

    /// An ICMP error about a packet that a backend got, for the client that knows it as one to the service (RFC 5508
    /// section 4.2).
    fn returned_error(
        &self,
        arrival: Arrival<'_>,
        link: &Link,
        packet: &Packet,
    ) -> Result<Answer, PassReason> {
        let frame = arrival.frame;
        if packet.part != Part::Whole || !matches!(icmp::message(frame, packet), Some(Message::Error)) {
            return Err(PassReason::NoService);
        }
        // As the backend would have answered the packet that is quoted: from its destination to its source.
        let (answer, ports) = icmp::quoted(frame, packet).ok_or(PassReason::NoService)?;
        let end = self.end(&answer, ports.0).filter(|_| answer.destination == packet.destination);
        let end = end.ok_or(PassReason::NoService)?;
        if packet.end > frame.len() {
            return Ok(refused(frame, DropReason::IpLength, end));
        }
        // A router between balancer and backend stays who it is.
        let source = (answer.source == packet.source).then_some(End::Source);
        self.send_on(arrival, link, packet, end, |frame, address, port| {
            nat::error(frame, packet, (source, End::Destination), answer.transport, address, port);
        })
    }

    /// Rewrites a packet and sends it on, back out or by way of the kernel.
    fn send_on(
        &self,
        arrival: Arrival<'_>,
        link: &Link,
        packet: &Packet,
        end: &ReturnEnd,
        rewrite: impl FnOnce(&mut [u8], IpAddr, u16),
    ) -> Result<Answer, PassReason> {
        let frame = arrival.frame;
        if nat::hops(frame, packet) <= 1 {
            return Err(PassReason::ReturnRefused);
        }
        let whole = link.ipv6 || number(frame, packet.start + 6).is_some_and(|flags| flags & 0x4000 != 0);
        let way = self.routes.find(packet.destination, packet.end - packet.start, whole);
        if way == Way::Refused {
            return Err(PassReason::ReturnRefused);
        }
        let resets = transport::resets(frame, packet);
        let mut frame = frame.to_vec();
        let (address, port) = (address_from_bytes(end.address), u16::from_be_bytes(end.port));
        rewrite(&mut frame, address, port);
        let mut verdict = Verdict::Pass(PassReason::Returned);
        if let Way::Here(mac) = way
            && link.tags.is_empty()
        {
            nat::spend_hop(&mut frame, packet);
            frame[..6].copy_from_slice(&mac);
            frame[6..12].copy_from_slice(&self.routes.mac);
            verdict = Verdict::Return;
        }
        Ok(Answer { verdict, frame, service: None, backend: Some(end.backend), opens: false, resets })
    }

    /// The ports of a backend's answer, and what its source becomes.
    fn whose(&self, frame: &[u8], packet: &Packet) -> Option<((u16, u16), &ReturnEnd)> {
        if ![TCP, UDP].contains(&packet.protocol) {
            return None;
        }
        let ports = match packet.part {
            Part::Later(identification) => self.fragments.recall(packet, identification)?,
            _ => transport::ports(frame, packet)?,
        };
        self.end(packet, ports.0).map(|end| (ports, end))
    }

    /// What the source of an answer from this port becomes: that of the port, else of every port.
    fn end(&self, answer: &Packet, port: u16) -> Option<&ReturnEnd> {
        let find = |port| self.returns.get(&ReturnKey::new(answer.source, port, answer.protocol));
        find(port).or_else(|| find(0))
    }
}

/// An answer that is too broken to be sent on.
fn refused(frame: &[u8], reason: DropReason, end: &ReturnEnd) -> Answer {
    let (verdict, service) = (Verdict::Drop(reason), Some(end.service));
    Answer { verdict, frame: frame.to_vec(), service, backend: None, opens: false, resets: false }
}
