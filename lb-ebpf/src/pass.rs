//! Passes every packet to the kernel.
//!
//! A veth drops what XDP sends to it unless its peer carries an XDP program too; the far end of a test's or a
//! container's veth pair gets this one.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    unsafe_code,
    missing_docs,
    reason = "a BPF entry: exported symbols, raw packet bounds, and a macro's own items"
)]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// The program.
// Marked for fragments, so that interfaces with jumbo frames take it too.
#[xdp(frags)]
pub fn pass(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
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
