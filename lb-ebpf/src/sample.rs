//! How long nat's backends take to answer: of one flow in so many, when its request ended and when the answer began.
//!
//! Both ways pass here, so nothing has to be asked of the backends. docs/latency-control.md tells what the figures are good for.

use crate::{
    flow::Flow,
    maps::{
        self,
        samples::{self, exact_now},
    },
    send,
};
use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use lb_common::{
    backend::{Backend, Forwarding},
    latency::{Awaits, LatencyStats, Said, SampledFlow, bucket, is_behind, sample_key},
    meta::features,
    nat::ReturnEnd,
    service::{TCP, UDP},
};
use lb_ebpf::{
    parse::{
        Packet, Part, Transport,
        eth::{self, Network},
        ipv4, ipv6,
    },
    select::Ends,
};

/// A packet that nat has addressed to a backend.
#[inline(always)]
pub fn request(ctx: &XdpContext, flow: &Flow, backend: &Backend) {
    if maps::enabled(features::SAMPLING)
        && backend.forwarding == Forwarding::Nat as u8
        && samples::sampling(flow.service).takes(flow.hash)
    {
        sample_request(ctx.ctx, flow.hash, flow.backend.into());
    }
}

/// A backend's answer, still as the backend sent it; its header was checked.
#[inline(always)]
pub fn answer<E: Ends>(packet: &Packet<'_, E>, end: &ReturnEnd) {
    if maps::enabled(features::SAMPLING) {
        let _ = answer_to_client(packet, end);
    }
}

/// `None`: the flow is not sampled.
#[inline(always)]
fn answer_to_client<E: Ends>(packet: &Packet<'_, E>, end: &ReturnEnd) -> Option<()> {
    let Packet { ends, transport, .. } = packet;
    let sampling = samples::sampling(end.service);
    if sampling.rate == 0 {
        return None;
    }
    // The flow has the name that its client knows it by.
    let ports = transport.ports()?.answered_by(end.port);
    let word = if sampling.addresses_only == 0 { ports.word } else { 0 };
    let hash = ends.answered_by(&end.address).flow_hash(word, transport.protocol, maps::key_word);
    if sampling.takes(hash) {
        let said = said(transport)? | Said::FROM_BACKEND | u64::from(end.backend);
        sample_answer(sample_key(hash, ports.source()), said);
    }
    Some(())
}

/// What a packet says, but for the backend; `None`: a fragment, which is not looked at.
#[inline(always)]
fn said(transport: &Transport<'_>) -> Option<u64> {
    match transport.protocol {
        _ if transport.part != Part::Whole => None,
        TCP => transport.said_by_tcp(),
        UDP => Some(Said::DATA),
        _ => None,
    }
}

/// A client's packet of a sampled flow. A function of its own, and global, as [`crate::track`] is; it parses the packet
/// again, because its caller has no room on the stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sample_request(ctx: *mut xdp_md, hash: u64, backend: u64) -> u64 {
    // As in `nat_to_backend`.
    if maps::enabled(features::SAMPLING) {
        let _ = read(&XdpContext::new(ctx), hash, backend);
    }
    0
}

#[inline(always)]
fn read(ctx: &XdpContext, hash: u64, backend: u64) -> Option<()> {
    let mut cursor = send::frame(ctx);
    let transport = match eth::parse(&mut cursor).ok()?.network {
        Network::Ipv4 => ipv4::parse(&mut cursor).ok()?.transport,
        Network::Ipv6 if maps::enabled(features::IPV6) => ipv6::parse(&mut cursor).ok()?.transport,
        Network::Ipv6 => return None,
    };
    let said = Said::from_word(said(&transport)? | backend);
    asked(sample_key(hash, transport.ports()?.source()), said);
    Some(())
}

/// A backend's packet of a sampled flow; `said` is a [`Said`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn sample_answer(key: u64, said: u64) -> u64 {
    if maps::enabled(features::SAMPLING) {
        answered(key, Said::from_word(said));
    }
    0
}

/// A client's packet.
#[inline(always)]
fn asked(key: u64, said: Said) {
    if said.has(Said::RST) {
        return samples::forget(key);
    }
    if !said.has(Said::SYN | Said::DATA) {
        return;
    }
    let now = exact_now();
    let awaits = if said.has(Said::SYN) { Awaits::SynAck } else { Awaits::Answer };
    let flow = SampledFlow {
        asked: now,
        since: now,
        sequence: said.sequence(),
        backend: said.backend(),
        awaits: awaits as u16,
    };
    let Some(known) = samples::sampled(key) else { return samples::remember(key, &flow) };
    let behind = is_behind(said.sequence(), known.sequence) || !said.has(Said::ORDERED);
    let same = known.awaits == awaits as u16;
    if said.has(Said::SYN) {
        // One that is sent again was asked when it was sent first; another number is another connection.
        if !same || said.sequence() != known.sequence {
            *known = flow;
        }
    } else if behind {
        // More of a request moves its end.
        *known = SampledFlow { since: if same { known.since } else { now }, ..flow };
    }
}

/// A backend's packet.
#[inline(always)]
fn answered(key: u64, said: Said) {
    let Some(flow) = samples::sampled(key) else { return };
    // Another backend has the flow by now.
    if flow.backend != said.backend() {
        return;
    }
    let (awaits, asked) = (flow.awaits, flow.asked);
    let over = said.has(Said::FIN | Said::RST);
    if awaits == Awaits::Nothing as u16 || !said.has(Said::SYN | Said::DATA | Said::FIN | Said::RST) {
        if over {
            samples::forget(key);
        }
        return;
    }
    let Some(stats) = samples::latency(said.backend()) else { return };
    let connecting = awaits == Awaits::SynAck as u16;
    if said.has(Said::RST) || (over && !connecting && !said.has(Said::DATA)) {
        stats.errors += 1;
    } else if connecting == said.has(Said::SYN) {
        count(stats, exact_now().saturating_sub(asked), connecting);
    } else {
        return;
    }
    if over {
        samples::forget(key);
    } else {
        flow.awaits = Awaits::Nothing as u16;
    }
}

#[inline(always)]
fn count(stats: &mut LatencyStats, time: u64, connecting: bool) {
    if connecting {
        stats.connects += 1;
        stats.connect_ns += time;
    } else {
        stats.total_ns += time;
        if let Some(count) = stats.buckets.get_mut(bucket(time)) {
            *count += 1;
        }
    }
}
