//! A trunk to the balancer: frames to virtual addresses reach it in VLAN 100, and what it forwards must be tagged so.
//!
//! ```text
//! client ─┐
//!         ├─ br0 ── access ═ trunk   Trunk   balancer ═ eth0 of the balancer
//! backends┘                           ──► tag on, for VIPs
//!                                     ◄── tag off; counted
//! ```
//!
//! It stands in for a bridge's VLAN filtering and for VLAN devices, which a kernel can be without. All else, the
//! balancer's own ARP and neighbour discovery, stays untagged: the trunk's native VLAN.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::IpAddr,
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{ifaddrs::getifaddrs, sys::socket};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use crate::bed::{Bed, run};

/// The VLAN.
pub const VLAN: u16 = 100;
/// Both MAC addresses; the tag stands behind them.
const MACS: usize = 12;
/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// A running trunk. Dropping it ends its threads; links go with the bed.
#[derive(Debug)]
pub struct Trunk {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    to_balancer: AtomicU64,
    from_balancer: AtomicU64,
}

/// What a thread carries.
#[derive(Clone, Copy, Debug)]
enum Lane {
    /// All to the balancer; a tag on frames for these addresses.
    Down,
    /// Frames of the VLAN from the balancer.
    Tagged,
    /// Frames without a tag from the balancer.
    Untagged,
}

impl Trunk {
    /// Puts the trunk between the bed's switch and its balancer, in place of the balancer's port.
    pub fn lay(bed: &Bed) -> Result<Self> {
        let (switch, port) = (bed.switch(), bed.balancer().role());
        switch.ip(&[
            format!("link set {port} nomaster"),
            "link add access type veth peer name trunk".to_owned(),
            "link set access master br0 up".to_owned(),
            "link set trunk up".to_owned(),
        ])?;
        // A frame is carried as it is, not merged with others.
        for interface in [port, "trunk"] {
            run(switch
                .command("ethtool")
                .args(["-K", interface, "gro", "off", "rxvlan", "off", "txvlan", "off"]))?;
        }
        let vips: Arc<[IpAddr]> = bed.vips().into();
        let shared = Arc::new(Shared::default());
        let mut trunk = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for (lane, from, to) in
            [(Lane::Down, "trunk", port), (Lane::Tagged, port, "trunk"), (Lane::Untagged, port, "trunk")]
        {
            let (from, to) = switch.run_in(|| Ok((packets(from, &filter(lane))?, packets(to, &NOTHING)?)))?;
            let (vips, shared) = (Arc::clone(&vips), Arc::clone(&shared));
            trunk.threads.push(thread::spawn(move || carry(lane, from, to, &vips, &shared)));
        }
        Ok(trunk)
    }

    /// Frames that reached the balancer with the tag.
    #[must_use]
    pub fn to_balancer(&self) -> u64 {
        self.shared.to_balancer.load(Ordering::SeqCst)
    }

    /// Frames that the balancer sent with the tag.
    #[must_use]
    pub fn from_balancer(&self) -> u64 {
        self.shared.from_balancer.load(Ordering::SeqCst)
    }
}

impl Drop for Trunk {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn carry(lane: Lane, mut from: Socket, mut to: Socket, vips: &[IpAddr], shared: &Shared) {
    let mut frame = [0; 2048];
    while !shared.stopping.load(Ordering::SeqCst) {
        let length = match from.read(&mut frame) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            // The links are gone, and the bed with them.
            Err(_) => return,
        };
        let (head, rest) = frame[..length].split_at(MACS.min(length));
        // What cannot be sent is missed by the client.
        let _ = match lane {
            Lane::Down if is_for(rest, vips) => {
                shared.to_balancer.fetch_add(1, Ordering::SeqCst);
                let [high, low] = VLAN.to_be_bytes();
                to.write(&[head, &[0x81, 0x00, high, low], rest].concat())
            }
            Lane::Tagged => {
                shared.from_balancer.fetch_add(1, Ordering::SeqCst);
                // The kernel has taken the tag off, and told the filter.
                to.write(&frame[..length])
            }
            Lane::Down | Lane::Untagged => to.write(&frame[..length]),
        };
    }
}

/// Whether a frame, from its type on, is an IP packet to one of the addresses.
fn is_for(rest: &[u8], vips: &[IpAddr]) -> bool {
    vips.iter().any(|vip| match vip {
        IpAddr::V4(vip) => rest.starts_with(&[0x08, 0x00]) && rest.get(18..22) == Some(&vip.octets()),
        IpAddr::V6(vip) => rest.starts_with(&[0x86, 0xdd]) && rest.get(26..42) == Some(&vip.octets()),
    })
}

/// A packet socket of whole frames on an interface of the calling thread's namespace.
fn packets(interface: &str, filter: &[SockFilter]) -> Result<Socket> {
    /// `ETH_P_ALL`.
    const ALL: u16 = 3;
    let what = || format!("cannot open a packet socket on {interface}");
    let mut socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ALL.to_be()))))
        .with_context(what)?;
    socket.attach_filter(&NOTHING).with_context(what)?;
    let mut interfaces = getifaddrs().with_context(what)?.filter(|one| one.interface_name == interface);
    let address = interfaces.find_map(|one| one.address?.as_link_addr().copied()).with_context(what)?;
    socket::bind(socket.as_raw_fd(), &address).with_context(what)?;
    // What came before the filter, from any interface, is not for us.
    socket.set_nonblocking(true).with_context(what)?;
    while socket.read(&mut [0; 64]).is_ok() {}
    socket.set_nonblocking(false).with_context(what)?;
    socket.set_read_timeout(Some(LOOK)).with_context(what)?;
    socket.attach_filter(filter).with_context(what)?;
    Ok(socket)
}

// Classic BPF, linux/bpf_common.h and linux/filter.h: load a byte or half word, compare, mask, return.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
const JUMP_IF_EQUAL: u16 = 0x15;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;
/// `SKF_AD_OFF`, behind which the kernel's own facts stand.
const FACTS: u32 = 0xffff_f000;
/// `SKF_AD_PKTTYPE`, of which `PACKET_OUTGOING` is what this host sends itself.
const KIND: u32 = FACTS + 4;
const OUTGOING: u32 = 4;
/// `SKF_AD_VLAN_TAG` and `SKF_AD_VLAN_TAG_PRESENT`.
const TAG: u32 = FACTS + 44;
const TAG_PRESENT: u32 = FACTS + 48;

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> SockFilter {
    SockFilter::new(code, jt, jf, k)
}

const LEAVE: SockFilter = step(RETURN, 0, 0, 0);
/// For a socket that only sends.
const NOTHING: [SockFilter; 1] = [LEAVE];

/// Lets incoming frames of the lane through.
fn filter(lane: Lane) -> Vec<SockFilter> {
    let mut steps = vec![step(LOAD_BYTE, 0, 0, KIND), step(JUMP_IF_EQUAL, 0, 1, OUTGOING), LEAVE];
    match lane {
        Lane::Down => {}
        Lane::Untagged => {
            steps.extend([step(LOAD_BYTE, 0, 0, TAG_PRESENT), step(JUMP_IF_EQUAL, 1, 0, 0), LEAVE]);
        }
        Lane::Tagged => steps.extend([
            step(LOAD_BYTE, 0, 0, TAG_PRESENT),
            step(JUMP_IF_EQUAL, 1, 0, 1),
            LEAVE,
            step(LOAD_HALF, 0, 0, TAG),
            step(AND, 0, 0, 0xfff),
            step(JUMP_IF_EQUAL, 1, 0, VLAN.into()),
            LEAVE,
        ]),
    }
    steps.push(step(RETURN, 0, 0, u32::MAX));
    steps
}
