//! What the balancer answers itself: echo requests to virtual addresses, and packets that do not fit into the tunnel
//! to their backend.

use crate::{
    counters::{NO_SERVICE, Outcome},
    maps, send,
};
use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_csum_diff, bpf_ktime_get_coarse_ns, bpf_xdp_adjust_tail},
    programs::XdpContext,
};
use lb_common::{
    counters::{AnswerReason, DropReason},
    meta::features,
};
use lb_ebpf::{
    cursor::Writer,
    forward::{echo, too_big},
    parse::eth::{Link, Network},
};

/// Turns an echo request into its reply.
#[inline(never)]
pub fn echo(ctx: &XdpContext) -> Outcome {
    if !allowed() {
        return Outcome::drop(DropReason::RateLimited, NO_SERVICE);
    }
    let Ok(link) = send::link_again(ctx) else { return Outcome::drop(DropReason::NoRoom, NO_SERVICE) };
    let mut frame = send::writer(ctx);
    let answered = match link.network {
        Network::Ipv4 => echo::reply_v4(&mut frame, &link.tags),
        Network::Ipv6 => echo::reply_v6(&mut frame, &link.tags),
    };
    match answered {
        Some(()) => Outcome::answer(AnswerReason::EchoReply, NO_SERVICE),
        None => Outcome::drop(DropReason::NoRoom, NO_SERVICE),
    }
}

/// Tells the sender that at most `mtu` bytes fit: fragmentation needed (RFC 792, RFC 1191) or packet too big (RFC 4443).
#[inline(never)]
pub fn too_big(ctx: &XdpContext, link: &Link, mtu: u64, service: u32) -> Outcome {
    if !allowed() {
        return Outcome::drop(DropReason::TooBig, service);
    }
    match write_too_big(ctx, link, mtu as u32) {
        Ok(()) => Outcome::answer(AnswerReason::PacketTooBig, service),
        Err(reason) => Outcome::drop(reason, service),
    }
}

#[inline(always)]
fn write_too_big(ctx: &XdpContext, link: &Link, mtu: u32) -> Result<(), DropReason> {
    let v6 = link.network == Network::Ipv6;
    let facts = too_big::facts(&mut send::writer(ctx), link).ok_or(DropReason::TooBig)?;
    let added = too_big::added(v6);
    let frame = if maps::enabled(features::JUMBO) { send::length(ctx) } else { ctx.data_end() - ctx.data() };
    let surplus = frame as i64 - (link.bytes() + too_big::QUOTED) as i64;
    if surplus < 0 {
        return Err(DropReason::TooBig);
    }
    send::make_room(ctx, added as i32)?;
    // SAFETY: a helper call; the writer is made anew after it.
    if unsafe { bpf_xdp_adjust_tail(ctx.as_ptr().cast(), -surplus as i32) } != 0 {
        return Err(DropReason::TooBig);
    }
    let mut frame = send::writer(ctx);
    too_big::write_headers(&mut frame, link, &facts, mtu).ok_or(DropReason::NoRoom)?;
    finish_checksum(&mut frame, v6, &facts).ok_or(DropReason::NoRoom)
}

/// Sums up the ICMP message, header and quotation, at the writer.
#[inline(always)]
fn finish_checksum(frame: &mut Writer<'_>, v6: bool, facts: &too_big::Facts) -> Option<()> {
    let message = frame.take::<[u8; too_big::MESSAGE]>()?;
    let seed = if v6 { facts.pseudo_sum() } else { 0 };
    let at = message.as_mut_ptr().cast();
    // SAFETY: the message's bytes are inside the packet, as the reference proves.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, at, too_big::MESSAGE as u32, seed) };
    too_big::set_checksum(message, sum as u32);
    Some(())
}

/// Whether this CPU may answer once more.
#[inline(always)]
fn allowed() -> bool {
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_coarse_ns() };
    maps::answers().is_some_and(|budget| budget.take(now, maps::answer_rate()))
}
