//! The XDP program of a backend: takes the balancer's tunnels off, so that the kernel sees the client's packet as it
//! was sent to the VIP. docs/decap.md tells how it is set up.
//!
//! `link -> outer -> own address? -> open -> inner -> VIP? -> check -> strip -> count`

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    unsafe_code,
    missing_docs,
    reason = "a BPF entry: exported symbols, raw packet bounds, and the form that a macro wants"
)]

mod maps;

use aya_ebpf::{bindings::xdp_action, helpers::bpf_xdp_adjust_head, macros::xdp, programs::XdpContext};
use lb_common::decap::{DecapAction, DecapVerdict};
use lb_ebpf::{
    cursor::Cursor,
    tunnel::{
        Version, ecn, inner, link,
        outer::{self, Carried},
    },
};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

/// The decapsulator.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn decap(ctx: XdpContext) -> u32 {
    let bytes = (ctx.data_end() - ctx.data()) as u64;
    let (Ok(verdict) | Err(verdict)) = decapsulate(&ctx);
    if let Some(count) = maps::counter(verdict.counter()) {
        count.packets += 1;
        count.bytes += bytes;
    }
    match verdict.action() {
        DecapAction::Decapsulate | DecapAction::Pass => xdp_action::XDP_PASS,
        DecapAction::Drop => xdp_action::XDP_DROP,
    }
}

/// The packet's whole way. An error is a packet that keeps its tunnel, if it has one.
#[inline(always)]
fn decapsulate(ctx: &XdpContext) -> Result<DecapVerdict, DecapVerdict> {
    let frame = frame(ctx);
    let mut cursor = frame;
    let link = link::parse(&mut cursor)?;
    // Before the look-up: what is no tunnel, most of a machine's packets, costs a few comparisons.
    let outer = outer::parse(&mut cursor, link.version, maps::gue_port())?;
    if !maps::is_local(&outer.destination) {
        return Err(DecapVerdict::NotOwn);
    }
    let carried = outer.open()?;
    let inner = inner::parse(&carried)?;
    if !maps::is_vip(&inner.destination) {
        return Err(DecapVerdict::NotVip);
    }
    let ecn = inner.check(carried.length, outer.destination, outer.ecn)?;
    if ecn != inner.ecn {
        mark(&carried, ecn).ok_or(DecapVerdict::InnerHeader)?;
    }
    let stripped = match link.tags {
        0 => strip::<7>(ctx, frame, &carried),
        1 => strip::<9>(ctx, frame, &carried),
        _ => strip::<11>(ctx, frame, &carried),
    };
    stripped.map(|()| carried.tunnel).ok_or(DecapVerdict::AdjustHead)
}

/// Marks the inner packet.
#[inline(always)]
fn mark(carried: &Carried<'_>, mark: ecn::Ecn) -> Option<()> {
    match carried.version {
        // SAFETY: the inner header was read, and no reference to it is left.
        Version::V4 => ecn::set_v4(unsafe { carried.cursor.writer() }.take::<Ipv4Hdr>()?, mark),
        // SAFETY: as above.
        Version::V6 => ecn::set_v6(unsafe { carried.cursor.writer() }.take::<Ipv6Hdr>()?, mark),
    }
    Some(())
}

/// Takes the outer headers out from between the link-layer headers, of `WORDS` 16-bit words, and the inner packet.
#[inline(always)]
fn strip<const WORDS: usize>(ctx: &XdpContext, old: Cursor<'_>, carried: &Carried<'_>) -> Option<()> {
    // By way of the stack: the two places may overlap, and the helper takes all pointers into the packet away.
    let mut headers = *old.peek::<[u16; WORDS]>()?;
    headers[WORDS - 1] = carried.version.ether_type();
    // SAFETY: a valid context; the kernel checks the number of bytes.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, carried.overhead as i32) } != 0 {
        return None;
    }
    // SAFETY: no reference into the packet outlived the helper.
    *unsafe { frame(ctx).writer() }.take::<[u16; WORDS]>()? = headers;
    Some(())
}

#[inline(always)]
fn frame(ctx: &XdpContext) -> Cursor<'_> {
    // SAFETY: the kernel gives the bounds, and the verifier checks every use of them.
    unsafe { Cursor::new(ctx.data(), ctx.data_end()) }
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
