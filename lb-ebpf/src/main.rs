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
mod send;
mod service;

use aya_ebpf::{helpers::bpf_redirect, macros::xdp, programs::XdpContext};
use aya_log_ebpf::debug;
use counters::Outcome;
use lb_common::{
    backend::Backend,
    counters::{DropReason, PassReason, Verdict},
    meta::features,
    service::Service,
    slot::{BackendIndex, NO_BACKEND},
};
use lb_ebpf::{
    parse::{
        Transport,
        eth::{self, Link, Network},
        ipv4, ipv6,
    },
    select::{Addresses, slot_index},
};

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
    let mut cursor = send::frame(ctx);
    let link = eth::parse(&mut cursor)?;
    match link.network {
        Network::Ipv4 => {
            let (ip, transport) = ipv4::parse(&mut cursor)?;
            balance_ip(ctx, &link, ip, &transport)
        }
        Network::Ipv6 if maps::enabled(features::IPV6) => {
            let (ip, transport) = ipv6::parse(&mut cursor)?;
            balance_ip(ctx, &link, ip, &transport)
        }
        Network::Ipv6 => Err(PassReason::Ipv6Unused),
    }
}

/// From the service on, the same for IPv4 and IPv6.
#[inline(always)]
fn balance_ip(
    ctx: &XdpContext,
    link: &Link,
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
    let (index, backend) = match choose(service, hash) {
        Ok(chosen) => chosen,
        Err(reason) => return drop(reason),
    };
    match send::send(ctx, link, &ip.inner(), backend, hash) {
        Ok(ifindex) => Ok(Outcome::Forward { service: service.id, backend: index, opens, ifindex }),
        Err(reason) => drop(reason),
    }
}

/// The backend that the flow's slot names.
#[inline(always)]
fn choose(service: &Service, hash: u64) -> Result<(BackendIndex, &'static Backend), DropReason> {
    let slot = maps::slot(slot_index(service, hash)).ok_or(DropReason::NoBackend)?;
    match maps::backend(slot.backend) {
        Some(backend) if slot.backend != NO_BACKEND => Ok((slot.backend, backend)),
        _ => Err(DropReason::NoBackend),
    }
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
