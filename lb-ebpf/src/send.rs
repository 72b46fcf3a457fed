//! Sends a packet to its backend in the backend's forwarding mode: room for what is added, the headers, the way out.

use crate::maps;
use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_get_buff_len},
    programs::XdpContext,
};
use lb_common::{
    backend::{Backend, Departure, Forwarding, LinkAddress},
    counters::DropReason,
    meta::features,
};
use lb_ebpf::{
    cursor::{Cursor, Writer, opaque},
    forward::{Inner, gue, ipip, l2_dsr, link, outer},
    parse::eth::{self, Link, Network, Tags},
};
use network_types::{eth::EthHdr, ip::IpProto};

/// Why a packet was not sent. As wide as a pointer, for the verifier's sake.
#[derive(Clone, Copy)]
pub enum Failure {
    /// To be dropped.
    Drop(DropReason),
    /// Longer than this many bytes, the most that fits once encapsulated.
    TooBig(u64),
}

impl From<DropReason> for Failure {
    #[inline(always)]
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

/// A way to a backend that is known.
struct Way {
    next_hop: LinkAddress,
    departure: Departure,
    tags: Tags,
}

impl Way {
    #[inline(always)]
    const fn new(next_hop: LinkAddress, departure: Departure, link: &Link) -> Self {
        Self { next_hop, departure, tags: link.tags.leaving_by(departure.vlan) }
    }
}

/// Rewrites the frame for the backend; gives the interface to send it by, 0 for the one that it came in by.
#[inline(always)]
pub fn send(ctx: &XdpContext, inner: &Inner, backend: &Backend, hash: u64) -> Result<u32, Failure> {
    let (next_hop, departure) = maps::way(backend);
    if !next_hop.is_resolved() {
        return Err(DropReason::NoNextHop.into());
    }
    let (ipip, gue) = (maps::enabled(features::IPIP), maps::enabled(features::GUE));
    if (ipip && backend.forwarding == Forwarding::Ipip as u8)
        || (gue && backend.forwarding == Forwarding::Gue as u8)
    {
        tunnel(ctx, next_hop, departure, inner, backend, hash)?;
    } else {
        dsr(ctx, next_hop, departure)?;
    }
    Ok(if backend.ifindex as usize == ctx.ingress_ifindex() { 0 } else { backend.ifindex })
}

/// l2-dsr: new addresses, and another tag where the backend's interface has one of its own.
#[inline(always)]
fn dsr(ctx: &XdpContext, next_hop: LinkAddress, departure: Departure) -> Result<(), DropReason> {
    if departure.vlan != 0 {
        let link = link_again(ctx)?;
        let way = &Way::new(next_hop, departure, &link);
        make_room(ctx, way.tags.bytes() as i32 - link.tags.bytes() as i32)?;
        return write_link(&mut writer(ctx), way, link.network);
    }
    let ethernet = writer(ctx).take::<EthHdr>().ok_or(DropReason::NoRoom)?;
    l2_dsr::rewrite(ethernet, next_hop, departure);
    Ok(())
}

/// ipip and gue: the packet becomes the inside of another one.
#[inline(always)]
fn tunnel(
    ctx: &XdpContext,
    next_hop: LinkAddress,
    departure: Departure,
    inner: &Inner,
    backend: &Backend,
    hash: u64,
) -> Result<(), Failure> {
    let udp = maps::enabled(features::GUE) && backend.forwarding == Forwarding::Gue as u8;
    let ipv6 = outer::is_v6(backend);
    let added = if ipv6 { 40 } else { 20 } + if udp { gue::HEADER } else { 0 };
    let fits = usize::from(backend.mtu).saturating_sub(added);
    if inner.length > fits {
        return Err(Failure::TooBig(fits as u64));
    }
    let link = link_again(ctx)?;
    let way = &Way::new(next_hop, departure, &link);
    make_room(ctx, added as i32 + way.tags.bytes() as i32 - link.tags.bytes() as i32)?;
    let mut frame = writer(ctx);
    write_link(&mut frame, way, if ipv6 { Network::Ipv6 } else { Network::Ipv4 })?;
    let protocol = if udp { IpProto::Udp as u8 } else { ipip::protocol(inner) };
    let payload = inner.length + if udp { gue::HEADER } else { 0 };
    if ipv6 {
        outer::write_v6(room(&mut frame)?, backend, inner, payload, protocol, hash);
    } else {
        outer::write_v4(room(&mut frame)?, backend, inner, payload, protocol, hash);
    }
    if udp {
        gue::write(room(&mut frame)?, backend, inner.length, hash);
    }
    Ok(())
}

/// Makes the frame longer by `bytes` at its head, or shorter. Every pointer into it is void afterwards.
#[inline(always)]
pub fn make_room(ctx: &XdpContext, bytes: i32) -> Result<(), DropReason> {
    // SAFETY: a helper call; all cursors are made anew after it.
    let done = unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), -bytes) };
    if done == 0 { Ok(()) } else { Err(DropReason::NoRoom) }
}

/// Bytes of the frame in all its buffers.
#[inline(always)]
pub fn length(ctx: &XdpContext) -> usize {
    // SAFETY: a helper call with the context that the kernel gave.
    unsafe { bpf_xdp_get_buff_len(ctx.as_ptr().cast()) as usize }
}

/// Bytes of the frame, and how many of them lie in further buffers, out of sight.
#[inline(always)]
pub fn lengths(ctx: &XdpContext) -> (usize, usize) {
    let first = ctx.data_end() - ctx.data();
    let bytes = if maps::enabled(features::JUMBO) { length(ctx) } else { first };
    (bytes, bytes - first)
}

/// A cursor at the frame's start.
#[inline(always)]
pub fn frame(ctx: &XdpContext) -> Cursor<'_> {
    // SAFETY: the kernel gives the bounds, and the verifier checks every use of them.
    unsafe { Cursor::new(ctx.data(), ctx.data_end()) }
}

/// The link-layer header of a frame of which it was parsed before. Those few who need its tags parse it again: kept, they would
/// take room and time of every packet. So the optimiser must not know that it is the same.
#[inline(always)]
pub fn link_again(ctx: &XdpContext) -> Result<Link, DropReason> {
    let ctx = XdpContext::new(opaque(ctx.ctx.expose_provenance()) as *mut xdp_md);
    eth::parse(&mut frame(&ctx)).map_err(|_| DropReason::NoRoom)
}

/// The frame, to be rewritten.
#[inline(always)]
pub fn writer(ctx: &XdpContext) -> Writer<'_> {
    // SAFETY: the kernel gives the bounds; parsing is over, what it borrowed is no longer used.
    unsafe { Writer::new(ctx.data(), ctx.data_end()) }
}

#[inline(always)]
fn write_link(frame: &mut Writer<'_>, way: &Way, network: Network) -> Result<(), DropReason> {
    link::write(frame, way.next_hop, way.departure, &way.tags, network).ok_or(DropReason::NoRoom)
}

/// The next bytes of the frame.
#[inline(always)]
fn room<'p, const BYTES: usize>(frame: &mut Writer<'p>) -> Result<&'p mut [u8; BYTES], DropReason> {
    frame.take().ok_or(DropReason::NoRoom)
}
