//! nat's way back: a packet to no service may be a backend's answer, which its source tells.

use lb_common::{
    counters::{DropReason, PassReason, Verdict},
    nat::{ReturnEnd, ReturnKey},
    service::{TCP, UDP, address_from_bytes},
};

use super::{
    Answer, Arrival, Model,
    forward::nat::{self, End},
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
        let frame = arrival.frame;
        let (ports, end) = self.whose(frame, packet).ok_or(PassReason::NoService)?;
        let checked = match packet.part {
            Part::Later(_) if packet.end > frame.len() => Err(DropReason::IpLength),
            Part::Later(_) => Ok(false),
            _ => transport::check(frame, packet),
        };
        if let Err(reason) = checked {
            let (verdict, service) = (Verdict::Drop(reason), Some(end.service));
            return Ok(Answer { verdict, frame: frame.to_vec(), service, backend: None, opens: false });
        }
        if let Part::First(identification) = packet.part {
            self.fragments.teach(packet, identification, ports);
        }
        if nat::hops(frame, packet) <= 1 {
            return Err(PassReason::ReturnRefused);
        }
        let whole = link.ipv6 || number(frame, packet.start + 6).is_some_and(|flags| flags & 0x4000 != 0);
        let way = self.routes.find(packet.destination, packet.end - packet.start, whole);
        if way == Way::Refused {
            return Err(PassReason::ReturnRefused);
        }
        let mut frame = frame.to_vec();
        let (address, port) = (address_from_bytes(end.address), u16::from_be_bytes(end.port));
        nat::segment(&mut frame, packet, End::Source, address, port);
        let mut verdict = Verdict::Pass(PassReason::Returned);
        if let Way::Here(mac) = way
            && link.tags.is_empty()
        {
            nat::spend_hop(&mut frame, packet);
            frame[..6].copy_from_slice(&mac);
            frame[6..12].copy_from_slice(&self.routes.mac);
            verdict = Verdict::Return;
        }
        Ok(Answer { verdict, frame, service: None, backend: Some(end.backend), opens: false })
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
        let find = |port| self.returns.get(&ReturnKey::new(packet.source, port, packet.protocol));
        find(ports.0).or_else(|| find(0)).map(|end| (ports, end))
    }
}
