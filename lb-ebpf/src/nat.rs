//! nat on a packet's way: to the backend, and its answer back.
//!
//! Both are functions of their own, called, which parse the packet again: packets of other modes share neither
//! registers nor branches with them, and a program without NAT has no trace of them.

use crate::{
    counters::{Outcome, mark},
    fragments, maps,
    route::{self, Question, Route},
    sample,
    send::{self, Failure},
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    backend::{Backend, Departure, Forwarding, LinkAddress},
    counters::{DropReason, PassReason, Verdict},
    meta::features,
    nat::ReturnEnd,
    service::UDP,
    slot::{BackendIndex, NO_BACKEND},
};
use lb_ebpf::{
    cursor::Writer,
    forward::{
        l2_dsr,
        nat::{End, IpHeader, rewrite, rewrite_error_back},
    },
    parse::{
        Packet, Part, Transport,
        eth::{self, Link, Network},
        icmp::{self, Message, Quoted},
        ipv4, ipv6,
    },
    select::Ends,
};
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

/// Addresses a packet to its backend, where the mode is nat; nothing is changed when it cannot go there.
#[inline(always)]
pub fn to_backend(ctx: &XdpContext, index: BackendIndex, backend: &Backend) -> Result<(), Failure> {
    if backend.forwarding != Forwarding::Nat as u8 {
        return Ok(());
    }
    match nat_to_backend(ctx.ctx, index.into()) {
        REWRITTEN => Ok(()),
        OUT_OF_HOPS => Err(DropReason::TtlExceeded.into()),
        TOO_BIG => Err(Failure::TooBig(backend.mtu.into())),
        _ => Err(DropReason::NoRoom.into()),
    }
}

/// What [`nat_to_backend`] says: a called function gives no more than a number.
const REWRITTEN: u64 = 0;
const OUT_OF_HOPS: u64 = 1;
const TOO_BIG: u64 = 2;
const NOT_PARSED: u64 = 3;

/// Global, as [`crate::track`] is, so that the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn nat_to_backend(ctx: *mut xdp_md, backend: u64) -> u64 {
    let ctx = &XdpContext::new(ctx);
    let Some(backend) = maps::backend(backend as BackendIndex) else { return NOT_PARSED };
    let mut cursor = send::frame(ctx);
    let Ok(link) = eth::parse(&mut cursor) else { return NOT_PARSED };
    let done = match link.network {
        Network::Ipv4 => {
            ipv4::parse(&mut cursor).ok().and_then(|packet| aim::<_, Ipv4Hdr>(ctx, &link, &packet, backend))
        }
        Network::Ipv6 if maps::enabled(features::IPV6) => {
            ipv6::parse(&mut cursor).ok().and_then(|packet| aim::<_, Ipv6Hdr>(ctx, &link, &packet, backend))
        }
        Network::Ipv6 => None,
    };
    done.unwrap_or(NOT_PARSED)
}

#[inline(always)]
fn aim<E: Ends, T: IpHeader>(
    ctx: &XdpContext,
    link: &Link,
    packet: &Packet<'_, E>,
    backend: &Backend,
) -> Option<u64> {
    let ip = at(ctx, link.bytes())?.take::<T>()?;
    if ip.hops() <= 1 {
        return Some(OUT_OF_HOPS);
    }
    if packet.inner.length > usize::from(backend.mtu) {
        return Some(TOO_BIG);
    }
    ip.spend_hop();
    replace::<T>(ctx, link, &packet.transport, End::Destination, &backend.address, backend.port)?;
    Some(REWRITTEN)
}

/// A packet that no service is the destination of: the answer of a backend, which is sent on to the client, or nothing of
/// ours. Gives XDP's verdict.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn nat_answer(ctx: *mut xdp_md) -> u32 {
    let ctx = &XdpContext::new(ctx);
    let (bytes, beyond) = send::lengths(ctx);
    let outcome = send_answer(ctx, beyond);
    if let Some(stats) = maps::backend_stats(outcome.backend)
        && outcome.backend != u32::from(NO_BACKEND)
    {
        stats.return_packets += 1;
        stats.return_bytes += bytes as u64;
        stats.resets += outcome.resets();
    }
    let action = Outcome { backend: NO_BACKEND.into(), ..outcome }.finish(bytes as u64);
    crate::log(ctx, &outcome);
    action
}

#[inline(always)]
fn send_answer(ctx: &XdpContext, beyond: usize) -> Outcome {
    let mut cursor = send::frame(ctx);
    let Ok(link) = eth::parse(&mut cursor) else { return Outcome::pass(PassReason::NoService) };
    let done = match link.network {
        Network::Ipv4 => ipv4::parse(&mut cursor).ok().and_then(|packet| match packet.transport.protocol {
            ipv4::ICMP => {
                error_packet::<_, Ipv4Hdr>(ctx, &link, &packet, beyond, icmp::quoted_v4(&packet.transport)?)
            }
            _ => answer_packet::<_, Ipv4Hdr>(ctx, &link, &packet, beyond),
        }),
        Network::Ipv6 if maps::enabled(features::IPV6) => {
            ipv6::parse(&mut cursor).ok().and_then(|packet| match packet.transport.protocol {
                ipv6::ICMPV6 => error_packet::<_, Ipv6Hdr>(
                    ctx,
                    &link,
                    &packet,
                    beyond,
                    icmp::quoted_v6(&packet.transport)?,
                ),
                _ => answer_packet::<_, Ipv6Hdr>(ctx, &link, &packet, beyond),
            })
        }
        Network::Ipv6 => None,
    };
    done.unwrap_or(Outcome::pass(PassReason::NoService))
}

/// `None`: not the answer of a backend.
#[inline(always)]
fn answer_packet<E: Ends, T: IpHeader>(
    ctx: &XdpContext,
    link: &Link,
    packet: &Packet<'_, E>,
    beyond: usize,
) -> Option<Outcome> {
    let Packet { ends, transport, .. } = packet;
    let ports = match transport.part {
        Part::Later(identification) => fragments::recall(ends, identification, transport.protocol)?,
        _ => transport.ports()?.word,
    };
    let end = find(ends, ports, transport.protocol)?;
    if let Err(reason) = check(transport, beyond) {
        return Some(Outcome::drop(reason, end.service));
    }
    // Read before the packet is changed.
    let resets = transport.resets();
    sample::answer(packet, end);
    if let Part::First(identification) = transport.part {
        fragments::teach(ends, identification, transport.protocol, ports);
    }
    let way = send_on::<E, T>(ctx, link, packet, end, end.address, ports.to_le())?;
    if !matches!(way, Route::Refused) {
        replace::<T>(ctx, link, transport, End::Source, &end.address, end.port)?;
    }
    let outcome = leave::<T>(ctx, link, end, &way)?;
    Some(Outcome { marks: mark::of(false, resets).into(), ..outcome })
}

/// An ICMP error about a packet that nat sent to a backend, from the backend or a router on the way: the client that is
/// told knows that packet as one to the service. `None`: not about such a packet.
#[inline(always)]
fn error_packet<E: Ends, T: IpHeader>(
    ctx: &XdpContext,
    link: &Link,
    packet: &Packet<'_, E>,
    beyond: usize,
    quoted: Quoted<E>,
) -> Option<Outcome> {
    let Packet { ends, inner, transport } = packet;
    if transport.part != Part::Whole || !matches!(icmp::message(transport, inner.ipv6)?, Message::Error) {
        return None;
    }
    // What is quoted, turned round, is an answer of the backend to the client.
    let end = find(&quoted.ends, quoted.ports.word, quoted.protocol)?;
    if quoted.ends.service_key([0, 0], 0).address != ends.service_key([0, 0], 0).address {
        return None;
    }
    if !transport.is_complete(beyond) {
        return Some(Outcome::drop(DropReason::IpLength, end.service));
    }
    let from_backend = quoted.ends.source() == ends.source();
    let source = if from_backend { end.address } else { ends.source() };
    let way = send_on::<E, T>(ctx, link, packet, end, source, 0)?;
    if !matches!(way, Route::Refused) {
        let (mut ip, mut message) = (at(ctx, link.bytes())?, at(ctx, transport.cursor.offset())?);
        rewrite_error_back::<T>(&mut ip, &mut message, from_backend, &end.address, end.port)?;
    }
    leave::<T>(ctx, link, end, &way)
}

/// Asks for the way of a packet that will come from `source`, with these ports as they lie on the wire (0: without); one
/// that is out of hops has none.
#[inline(always)]
fn send_on<E: Ends, T: IpHeader>(
    ctx: &XdpContext,
    link: &Link,
    packet: &Packet<'_, E>,
    end: &ReturnEnd,
    source: [u8; 16],
    ports: u32,
) -> Option<Route> {
    let ip = at(ctx, link.bytes())?.take::<T>()?;
    if ip.hops() <= 1 {
        // The kernel tells the backend (RFC 1812 section 5.3.1), which knows the packet only as it sent it.
        return Some(Route::Refused);
    }
    let question = Question {
        inner: packet.inner,
        whole: ip.is_whole(),
        protocol: carried(&packet.transport),
        source,
        destination: ip.destination(),
        ports,
        service_port: if ports == 0 { [0, 0] } else { end.port },
    };
    Some(route::find(ctx, &question))
}

/// Lets a rewritten packet go its way; one that was refused a way stays as it came.
#[inline(always)]
fn leave<T: IpHeader>(ctx: &XdpContext, link: &Link, end: &ReturnEnd, way: &Route) -> Option<Outcome> {
    if matches!(way, Route::Refused) {
        return Some(Outcome::pass(PassReason::ReturnRefused));
    }
    // Behind a tag the kernel's interface is the VLAN's, of which the look-up did not know.
    if let Route::Here { destination, source } = *way
        && link.tags.count == 0
    {
        // The kernel takes the hop of what is left to it.
        at(ctx, link.bytes())?.take::<T>()?.spend_hop();
        let ethernet = send::writer(ctx).take::<EthHdr>()?;
        let departure = Departure { mac: source, vlan: 0 };
        l2_dsr::rewrite(ethernet, LinkAddress::resolved(destination), departure);
        return Some(Outcome::returned(Verdict::Return, end.backend));
    }
    Some(Outcome::returned(Verdict::Pass(PassReason::Returned), end.backend))
}

/// Whose answer a packet is: of its source's port, else of port 0, which stands for every port.
#[inline(always)]
fn find(ends: &impl Ends, ports: u32, protocol: u8) -> Option<&'static ReturnEnd> {
    if protocol == UDP && !maps::enabled(features::UDP) {
        return None;
    }
    let [high, low, ..] = ports.to_le_bytes();
    let mut key = ends.return_key([high, low], protocol);
    let end = maps::nat_return(&key);
    if end.is_some() || !maps::enabled(features::EVERY_PORT) {
        return end;
    }
    key.port = [0, 0];
    maps::nat_return(&key)
}

/// Checks lengths and, where there is one, the transport header.
#[inline(always)]
fn check(transport: &Transport<'_>, beyond: usize) -> Result<(), DropReason> {
    match transport.part {
        Part::Later(_) if transport.has_rest(beyond) => Ok(()),
        Part::Later(_) => Err(DropReason::IpLength),
        _ => transport.check(beyond).map(|_| ()),
    }
}

/// What a packet has at its transport header: its protocol, or 0 for the rest of a datagram.
#[inline(always)]
const fn carried(transport: &Transport<'_>) -> u8 {
    if matches!(transport.part, Part::Later(_)) { 0 } else { transport.protocol }
}

/// A writer so many bytes behind the frame's start.
#[inline(always)]
fn at(ctx: &XdpContext, offset: usize) -> Option<Writer<'_>> {
    let mut cursor = send::frame(ctx);
    cursor.skip(offset)?;
    // SAFETY: each header is written through one writer at a time, and what parsing read of it is not read again.
    Some(unsafe { cursor.rewrite() })
}

#[inline(always)]
fn replace<T: IpHeader>(
    ctx: &XdpContext,
    link: &Link,
    transport: &Transport<'_>,
    end: End,
    address: &[u8; 16],
    port: [u8; 2],
) -> Option<()> {
    let (mut ip, mut segment) = (at(ctx, link.bytes())?, at(ctx, transport.cursor.offset())?);
    rewrite::<T>(&mut ip, &mut segment, carried(transport), end, address, port)
}
