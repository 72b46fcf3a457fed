//! The XDP program: a packet's whole way, one line a step.
//!
//! `parse -> service -> check -> select -> forward -> count`; docs/packet-path.md draws it.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    unsafe_code,
    missing_docs,
    reason = "a BPF entry: exported symbols, raw packet bounds, and the form that a macro wants"
)]

mod counters;
mod maps;
mod service;

use aya_ebpf::{helpers::bpf_redirect, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use counters::Outcome;
use lb_common::{
    counters::{DropReason, PassReason, Verdict},
    meta::features,
};
use lb_ebpf::{
    cursor::Cursor,
    forward::l2_dsr,
    parse::{Transport, eth, ipv4, ipv6},
    select::{Addresses, slot_index},
};
use network_types::eth::EthHdr;

/// The balancer.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn balancer(ctx: XdpContext) -> u32 {
    let bytes = (ctx.data_end() - ctx.data()) as u64;
    let outcome = balance(&ctx).unwrap_or_else(Outcome::Pass);
    let verdict = outcome.finish(bytes);
    log(&ctx, outcome, verdict);
    match outcome {
        Outcome::Forward { ifindex: Some(ifindex), .. } => redirect(ifindex),
        _ => counters::action(verdict),
    }
}

#[inline(always)]
fn balance(ctx: &XdpContext) -> Result<Outcome, PassReason> {
    let frame = frame(ctx);
    let mut cursor = frame;
    match eth::parse(&mut cursor)? {
        eth::Network::Ipv4 => {
            let (ip, transport) = ipv4::parse(&mut cursor)?;
            balance_ip(ctx, frame, ip, &transport)
        }
        eth::Network::Ipv6 if maps::enabled(features::IPV6) => {
            let (ip, transport) = ipv6::parse(&mut cursor)?;
            balance_ip(ctx, frame, ip, &transport)
        }
        eth::Network::Ipv6 => Err(PassReason::Ipv6Unused),
    }
}

/// From the service on, the same for IPv4 and IPv6.
#[inline(always)]
fn balance_ip(
    ctx: &XdpContext,
    frame: Cursor<'_>,
    ip: &impl Addresses,
    transport: &Transport<'_>,
) -> Result<Outcome, PassReason> {
    let ports = transport.ports().ok_or(PassReason::Truncated)?;
    let service = service::find(ip, ports.destination, transport.protocol).ok_or(PassReason::NoService)?;
    let drop = |reason| Ok(Outcome::Drop { reason, service: service.id });
    let opens = match transport.check() {
        Ok(opens) => opens,
        Err(reason) => return drop(reason),
    };
    let hash = ip.flow_hash(ports.word, transport.protocol, maps::key_word);
    let Some(slot) = maps::slot(slot_index(service, hash)) else {
        return drop(DropReason::NoBackend);
    };
    match forward(ctx, frame, slot.backend) {
        Ok(ifindex) => Ok(Outcome::Forward { service: service.id, backend: slot.backend, opens, ifindex }),
        Err(reason) => drop(reason),
    }
}

/// Rewrites the frame for the backend; gives the interface to send it by where that is another one.
#[inline(always)]
fn forward(ctx: &XdpContext, frame: Cursor<'_>, index: u16) -> Result<Option<u32>, DropReason> {
    let backend = match maps::backend(index) {
        Some(backend) if index != lb_common::slot::NO_BACKEND => backend,
        _ => return Err(DropReason::NoBackend),
    };
    let (next_hop, source, ifindex) = maps::next_hop(backend);
    if !next_hop.is_resolved() {
        return Err(DropReason::NoNextHop);
    }
    let ethernet = ethernet(frame).ok_or(DropReason::IpLength)?;
    l2_dsr::rewrite(ethernet, next_hop, source);
    Ok((ifindex as usize != ctx.ingress_ifindex()).then_some(ifindex))
}

#[inline(always)]
fn frame(ctx: &XdpContext) -> Cursor<'_> {
    // SAFETY: the kernel gives the bounds, and the verifier checks every use of them.
    unsafe { Cursor::new(ctx.data(), ctx.data_end()) }
}

#[inline(always)]
fn ethernet(frame: Cursor<'_>) -> Option<&mut EthHdr> {
    // SAFETY: parsing is over, its reference to the Ethernet header is gone.
    unsafe { frame.peek_mut::<EthHdr>() }
}

#[inline(always)]
fn redirect(ifindex: u32) -> u32 {
    // SAFETY: a helper without pointers.
    unsafe { bpf_redirect(ifindex, 0) as u32 }
}

/// One line a packet for debugging. The level is a constant to the verifier: switched off, this is no code.
#[inline(always)]
fn log(ctx: &XdpContext, outcome: Outcome, verdict: Verdict) {
    match outcome {
        Outcome::Pass(_) => debug!(ctx, "{} {}", verdict.action(), verdict.reason()),
        Outcome::Drop { service, .. } => {
            debug!(ctx, "{} {} service {}", verdict.action(), verdict.reason(), service);
        }
        Outcome::Forward { service, backend, .. } => {
            debug!(ctx, "{} service {} backend {}", verdict.action(), service, backend);
        }
    }
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
