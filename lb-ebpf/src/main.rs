//! The XDP program: a packet's whole way, one line a step.
//!
//! `parse -> service -> check -> select -> forward -> count`; docs/packet-path.md draws it.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    unsafe_code,
    missing_docs,
    reason = "a BPF entry: exported symbols, raw packet bounds, and the form that a macro wants"
)]

mod atomic;
mod counters;
mod flow;
mod fragments;
mod icmp;
mod maps;
mod nat;
mod route;
mod sample;
mod send;
mod service;
mod track;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use counters::Outcome;
use flow::Flow;
use lb_common::{
    counters::{DropReason, PassReason},
    meta::features,
    slot::{BackendIndex, NO_BACKEND},
};
use lb_ebpf::parse::{
    self,
    eth::{self, Network},
    ipv4, ipv6,
};
use send::Failure;

/// The balancer of services without nat: all in one function, because a call and its return cost 10 ns where they are guarded
/// against speculation.
#[xdp(frags)]
#[inline(always)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn balancer(ctx: XdpContext) -> u32 {
    balance::<false>(&ctx)
}

/// The balancer with nat. What clients send and what backends answer are functions of their own, each with a stack of its own:
/// the verifier adds up the stacks of callers, and either's is most of what there is (512 bytes, of which older kernels, 6.1
/// among them, count every function's in steps of 32, and those that are never called too, which is why it is another program).
#[xdp(frags)]
#[inline(always)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn balancer_nat(ctx: XdpContext) -> u32 {
    match client_packet(ctx.ctx) {
        NOT_OURS => nat::nat_answer(ctx.ctx),
        action => action,
    }
}

/// No action of XDP: the packet is for no service, and not counted yet, because it may be an answer.
const NOT_OURS: u32 = u32::MAX;

/// What clients send to services with nat.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn client_packet(ctx: *mut xdp_md) -> u32 {
    balance::<true>(&XdpContext::new(ctx))
}

/// What clients send, most of all packets. `NAT`: what is for no service is [`NOT_OURS`].
#[inline(always)]
fn balance<const NAT: bool>(ctx: &XdpContext) -> u32 {
    let (bytes, beyond) = send::lengths(ctx);
    let outcome = match decide::<NAT>(ctx, beyond) {
        Ok(outcome) => outcome,
        Err(PassReason::NoService) if NAT => return NOT_OURS,
        Err(reason) => Outcome::pass(reason),
    };
    let action = outcome.finish(bytes as u64);
    log(ctx, &outcome);
    if action == xdp_action::XDP_REDIRECT { redirect(outcome.ifindex) } else { action }
}

/// One line a packet for debugging. The level is a constant to the verifier: switched off, this is no code.
#[inline(always)]
fn log(ctx: &XdpContext, outcome: &Outcome) {
    debug!(ctx, "verdict {} service {} backend {}", outcome.counter, outcome.service, outcome.backend);
}

/// `beyond`: bytes of the frame that lie in further buffers, out of sight.
#[inline(always)]
fn decide<const NAT: bool>(ctx: &XdpContext, beyond: usize) -> Result<Outcome, PassReason> {
    let mut cursor = send::frame(ctx);
    let network = eth::parse(&mut cursor)?.network;
    let mut flow = Flow::NONE;
    match network {
        Network::Ipv4 => {
            let packet = ipv4::parse(&mut cursor)?;
            match packet.transport.protocol {
                ipv4::ICMP => flow.of_icmp(&packet, beyond, parse::icmp::quoted_v4)?,
                _ => flow.of(&packet, beyond)?,
            }
        }
        Network::Ipv6 if maps::enabled(features::IPV6) => {
            let packet = ipv6::parse(&mut cursor)?;
            match packet.transport.protocol {
                ipv6::ICMPV6 => flow.of_icmp(&packet, beyond, parse::icmp::quoted_v6)?,
                _ => flow.of(&packet, beyond)?,
            }
        }
        Network::Ipv6 => return Err(PassReason::Ipv6Unused),
    }
    Ok(match flow.fate {
        flow::FORWARD => forward::<NAT>(ctx, &flow),
        flow::ECHO => icmp::echo(ctx),
        reason => Outcome::dropped(reason, flow.service),
    })
}

/// Sends a flow's packet to its backend.
#[inline(always)]
fn forward<const NAT: bool>(ctx: &XdpContext, flow: &Flow) -> Outcome {
    let service = flow.service;
    let index = flow.backend as BackendIndex;
    let Some(backend) = maps::backend(index).filter(|_| index != NO_BACKEND) else {
        return Outcome::drop(DropReason::NoBackend, service);
    };
    let rewritten = if NAT { nat::to_backend(ctx, index, backend) } else { Ok(()) };
    if NAT && rewritten.is_ok() {
        sample::request(ctx, flow, backend);
    }
    match rewritten.and_then(|()| send::send(ctx, &flow.inner, backend, flow.hash)) {
        Ok(ifindex) => Outcome::forward(service, index, flow.marks, ifindex),
        Err(Failure::TooBig(mtu)) if flow.answerable => match send::link_again(ctx) {
            Ok(link) => icmp::too_big(ctx, &link, mtu, service),
            Err(reason) => Outcome::drop(reason, service),
        },
        Err(Failure::TooBig(_)) => Outcome::drop(DropReason::TooBig, service),
        Err(Failure::Drop(reason)) => Outcome::drop(reason, service),
    }
}

#[inline(always)]
fn redirect(ifindex: u32) -> u32 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
