//! The harness of the bench: `BPF_PROG_TEST_RUN` runs it again and again on one frame. Each time it puts the frame back as it
//! was, writes the next flow's address and port, and calls the program under test, or one that does nothing: the zero line.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![expect(
    unsafe_code,
    missing_docs,
    reason = "a BPF entry: exported symbols, raw packet bounds, and a macro's own items"
)]

use aya_ebpf::{
    EbpfContext as _,
    bindings::xdp_action,
    btf_maps::{Array, ProgramArray},
    helpers::bpf_xdp_adjust_head,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::bench::{Harness, TEMPLATE, address_of, port_of};

/// `BPF_F_MMAPABLE`.
const MMAPABLE: usize = 1 << 10;

#[btf_map]
static HARNESS: Array<Harness, 1, MMAPABLE> = Array::new();
#[btf_map]
static PROGRAMS: ProgramArray<2> = ProgramArray::new();

/// The harness. An action of XDP that the program under test never gives tells that it could not run.
// Marked for fragments, as the balancer is: programs that call each other are alike in that.
#[xdp(frags)]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
pub fn harness(ctx: XdpContext) -> u32 {
    if let Some(target) = prepare(&ctx) {
        // SAFETY: the map and the context are the kernel's.
        unsafe { PROGRAMS.tail_call(&ctx, target) };
    }
    xdp_action::XDP_ABORTED
}

/// The zero line.
#[xdp(frags)]
pub fn zero(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// The rate that frames are dropped at, for comparison.
#[xdp(frags)]
pub fn sink(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

#[inline(always)]
fn prepare(ctx: &XdpContext) -> Option<u32> {
    let harness = HARNESS.get_ptr_mut(0)?;
    // SAFETY: one processor runs the harness at a time.
    let harness = unsafe { &mut *harness };
    if harness.restores != 0 {
        let longer = (ctx.data_end() - ctx.data()) as i32 - harness.length as i32;
        // SAFETY: a helper call; pointers into the frame are made anew after it.
        if unsafe { bpf_xdp_adjust_head(ctx.as_ptr().cast(), longer) } != 0 {
            return None;
        }
    }
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + TEMPLATE > end {
        return None;
    }
    // SAFETY: so many bytes are there; words may lie at any address where XDP runs.
    unsafe { (data as *mut [u64; TEMPLATE / 8]).write(harness.template) };
    let flow = harness.next_flow();
    let address = data + (harness.address_at as usize & 0x3f);
    if address + 4 > end {
        return None;
    }
    let address = address as *mut u32;
    // SAFETY: inside the frame, as was just checked; this part of it is the template's.
    let first = u32::from_be(unsafe { address.read() });
    // SAFETY: as above.
    unsafe { address.write((first + address_of(flow)).to_be()) };
    let port = data + (harness.port_at as usize & 0x3f);
    if port + 2 > end {
        return None;
    }
    // SAFETY: inside the frame, as was just checked.
    unsafe { *(port as *mut u16) = u16::from_ne_bytes(port_of(flow)) };
    Some(harness.target)
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
