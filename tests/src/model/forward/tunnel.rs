//! ipip and gue: the packet inside another one. What is behind the packet in the frame stays behind it.

use lb_common::{
    backend::{Backend, Forwarding},
    service::address_from_bytes,
};

use crate::{
    fixture::tunnel::{Carrier, Tunnel},
    model::{forward::Refusal, ip::Packet},
};

/// The type of the outer packet, and its bytes to the frame's end.
pub fn above(
    frame: &[u8],
    packet: &Packet,
    backend: &Backend,
    mode: Forwarding,
    hash: u64,
) -> Result<(u16, Vec<u8>), Refusal> {
    let carrier = match mode {
        Forwarding::Gue => Carrier::Udp(u16::from_be_bytes(backend.port)),
        _ => Carrier::Ip,
    };
    let source = address_from_bytes(backend.tunnel_source);
    let destination = address_from_bytes(backend.address);
    let outer = Tunnel { carrier, source, varied: backend.source_bits }
        .outer(destination, packet.traffic_class, hash)
        .around(&frame[packet.start..packet.end]);
    if outer.len() > usize::from(backend.mtu) {
        let added = outer.len() - (packet.end - packet.start);
        return Err(Refusal::TooBig(u32::from(backend.mtu).saturating_sub(added as u32)));
    }
    let kind = if destination.is_ipv4() { 0x0800 } else { 0x86dd };
    Ok((kind, [&outer, &frame[packet.end..]].concat()))
}
