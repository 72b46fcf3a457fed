//! The kernel's routing, asked for the way of a packet that is sent on.

use aya_ebpf::{EbpfContext as _, bindings, helpers::bpf_fib_lookup, programs::XdpContext};
use lb_ebpf::{cursor::load_u32x4, forward::Inner};

/// Address families of the kernel (socket.h).
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The packet as it will be sent: what routing rules look at.
pub struct Question {
    /// Length, version and traffic class.
    pub inner: Inner,
    /// Whether no router may fragment it.
    pub whole: bool,
    /// TCP or UDP; 0: the rest of a datagram.
    pub protocol: u8,
    /// Source address, IPv4 mapped into IPv6.
    pub source: [u8; 16],
    /// Destination address as it lies on the wire, of which IPv4 has the last word.
    pub destination: [u32; 4],
    /// Both ports as they lie on the wire.
    pub ports: u32,
    /// In place of the source port; 0: that stays.
    pub service_port: [u8; 2],
}

/// Where a packet goes.
pub enum Route {
    /// Out of the interface that it came in by, from and to these MAC addresses.
    Here { destination: [u8; 6], source: [u8; 6] },
    /// Where only the kernel can bring it: by another interface, in fragments, or to a neighbour it has to ask for.
    Kernel,
    /// Nowhere: the kernel tells the sender.
    Refused,
}

/// Asks for the way.
#[inline(always)]
pub fn find(ctx: &XdpContext, packet: &Question) -> Route {
    let ingress = ctx.ingress_ifindex() as u32;
    let mut ask = lookup(packet, ingress);
    let size = size_of::<bindings::bpf_fib_lookup>() as i32;
    // SAFETY: the kernel reads and writes `ask`, of the size that it is told.
    let found = unsafe { bpf_fib_lookup(ctx.as_ptr(), &raw mut ask, size, 0) };
    match found as u32 {
        bindings::BPF_FIB_LKUP_RET_SUCCESS if ask.ifindex == ingress => {
            Route::Here { destination: ask.dmac, source: ask.smac }
        }
        bindings::BPF_FIB_LKUP_RET_BLACKHOLE
        | bindings::BPF_FIB_LKUP_RET_UNREACHABLE
        | bindings::BPF_FIB_LKUP_RET_PROHIBIT => Route::Refused,
        bindings::BPF_FIB_LKUP_RET_FRAG_NEEDED if packet.whole => Route::Refused,
        _ => Route::Kernel,
    }
}

#[inline(always)]
fn lookup(packet: &Question, ingress: u32) -> bindings::bpf_fib_lookup {
    let (source, destination) = (load_u32x4(&packet.source), packet.destination);
    let [a, b, c, d] = packet.ports.to_ne_bytes();
    let class = packet.inner.traffic_class;
    // SAFETY: numbers and arrays of them.
    let mut ask: bindings::bpf_fib_lookup = unsafe { core::mem::zeroed() };
    ask.l4_protocol = packet.protocol;
    ask.sport = u16::from_ne_bytes(if packet.service_port == [0, 0] { [a, b] } else { packet.service_port });
    ask.dport = u16::from_ne_bytes([c, d]);
    ask.__bindgen_anon_1.tot_len = packet.inner.length as u16;
    ask.ifindex = ingress;
    if packet.inner.ipv6 {
        ask.family = AF_INET6;
        ask.__bindgen_anon_2.flowinfo = (u32::from(class) << 20).to_be();
        ask.__bindgen_anon_3.ipv6_src = source;
        ask.__bindgen_anon_4.ipv6_dst = destination;
    } else {
        ask.family = AF_INET;
        ask.__bindgen_anon_2.tos = class;
        ask.__bindgen_anon_3.ipv4_src = source[3];
        ask.__bindgen_anon_4.ipv4_dst = destination[3];
    }
    ask
}
