//! Netlink: from a backend's address to what a frame to it needs, and word when that changes.
//!
//! ```text
//!   backend 198.18.5.1
//!      │  RTM_GETROUTE                      the kernel's own look-up: rules, tables, multipath
//!      ▼
//!   interface 4, gateway 198.18.0.1 ───┐    no gateway: the backend itself is the neighbour
//!      │  RTM_GETLINK                  │  RTM_GETNEIGH
//!      ▼                               ▼
//!   eth0, source MAC, MTU         destination MAC      unknown: RTM_NEWNEIGH with NTF_USE
//!      └────────────► NextHop ◄────────┘               asks the kernel to find it
//!
//!   RTNLGRP_LINK, _NEIGH, _ROUTE, _RULE, _IFADDR ──► Watch ──► Change: resolve again
//! ```
//!
//! A [`Resolver`] only reports what the kernel knows at the time of the call. Whether a backend that was
//! resolved and then fails keeps its last MAC is for the caller to decide. Messages and attributes are those of
//! rtnetlink(7); sockets belong to the network namespace of the thread that opens them.
//!
//! **Keeping neighbours fresh.** The balancer's frames never pass the kernel's own output path, so the kernel
//! takes the backends for unused and forgets them. [`Resolver::refresh`], called every [`REFRESH_INTERVAL`],
//! marks them as used (`NTF_USE`). `NTF_EXT_MANAGED` would let the kernel do that alone, but it needs Linux
//! 5.16, a 5.15 kernel ignores the attribute without an error, and a managed entry stays managed after the
//! daemon has died. `NTF_USE` works on all of them and leaves nothing behind.
//!
//! **Large sets.** The kernel drops unreferenced neighbours above `net.ipv4.neigh.default.gc_thresh2` (512) and
//! refuses new ones above `gc_thresh3` (1024); with more neighbours than that both must be raised (the same
//! under `net.ipv6`). The refusal is [`ResolveError::NeighbourTableFull`].
//!
//! **Policy routing.** The look-up is that of a packet which this host sends: a rule that matches an input
//! interface (`ip rule add iif ...`) does not apply to it.

mod address;
mod entry;
mod error;
mod filter;
mod link;
pub(crate) mod netlink;
mod resolver;
mod route;
mod watch;

use std::{net::IpAddr, time::Duration};

pub use address::InterfaceAddress;
pub use error::{NetlinkError, Refusal, ResolveError};
pub use link::{AttachedXdp, Interface, XdpMode};
pub use resolver::Resolver;
pub use route::Route;
pub use watch::{Change, Watch};

/// How often the daemon calls [`Resolver::refresh`]: well below the kernel's `gc_stale_time` of 60 s, after
/// which an unused entry may be dropped.
pub const REFRESH_INTERVAL: Duration = Duration::from_secs(15);

/// What a frame to a backend needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// The backend's address (an IPv4 address mapped into IPv6 is shown as IPv4).
    pub address: IpAddr,
    /// Index of the interface that leads there.
    pub ifindex: u32,
    /// The interface that frames leave by: the one that leads there, or the one below it where that is a VLAN's.
    pub port: u32,
    /// VLAN identifier of the interface that leads there; 0: it has none.
    pub vlan: u16,
    /// This host's address towards the backend, as the route has it.
    pub local: Option<IpAddr>,
    /// Name of that interface.
    pub interface: String,
    /// MAC address of that interface.
    pub source: [u8; 6],
    /// MAC address of the neighbour; `None`: not resolved (yet).
    pub mac: Option<[u8; 6]>,
    /// The router on the way; `None`: the backend is on-link. It can be an IPv6 address for an IPv4 backend
    /// (RFC 5549, `RTA_VIA`).
    pub gateway: Option<IpAddr>,
    /// Largest packet, in bytes from the IP header on: the smaller of the interface's and the route's MTU.
    pub mtu: u32,
}

impl NextHop {
    /// The address that the neighbour table is asked for: the gateway's, or the backend's own.
    #[must_use]
    pub fn neighbour(&self) -> IpAddr {
        self.gateway.unwrap_or(self.address)
    }

    /// The neighbour table's key.
    fn key(&self) -> entry::Key {
        (self.ifindex, self.neighbour())
    }
}
