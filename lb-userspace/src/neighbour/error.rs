//! Why an address has no next hop, and what to do about it.

use std::{fmt, io, net::IpAddr, sync::Arc};

use nix::errno::Errno;

/// Why an address has no next hop.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// No route covers the address (`ENETUNREACH`).
    #[error(
        "no route to {address}; add one (ip route add {address} via GATEWAY) or correct the backend's address"
    )]
    NoRoute {
        /// The backend's address.
        address: IpAddr,
    },
    /// A route covers the address, and refuses it.
    #[error(
        "the route to {address} is {refusal}; see `ip route show match {address}`, remove that route or correct the backend's address"
    )]
    Refused {
        /// The backend's address.
        address: IpAddr,
        /// How the route refuses.
        refusal: Refusal,
    },
    /// The address is the balancer's own: its frames would never leave.
    #[error(
        "{address} is this host's own address; a backend must be another host, correct the backend's address"
    )]
    Local {
        /// The backend's address.
        address: IpAddr,
    },
    /// The address, or the route to it, is of a kind that a backend cannot have.
    #[error("{address} cannot be a backend: {kind}; give the unicast address of one host")]
    NotUnicast {
        /// The backend's address.
        address: IpAddr,
        /// What it is instead.
        kind: &'static str,
    },
    /// The route encapsulates (MPLS, segment routing, IP tunnel metadata), which XDP would not do.
    #[error(
        "the route to {address} encapsulates (ip route show match {address}), which the balancer does not do; add a plain route"
    )]
    Encapsulates {
        /// The backend's address.
        address: IpAddr,
    },
    /// The interface has no Ethernet address: lo, tun, a tunnel.
    #[error(
        "the route to {address} leaves through {interface}, which has no Ethernet address; route it through an Ethernet interface"
    )]
    NoLinkLayer {
        /// The backend's address.
        address: IpAddr,
        /// The interface's name.
        interface: String,
    },
    /// The interface went away between the route's answer and the interface's.
    #[error(
        "interface number {ifindex} went away while {address} was being resolved; bring it back or correct the route"
    )]
    NoInterface {
        /// The backend's address.
        address: IpAddr,
        /// The interface's index.
        ifindex: u32,
    },
    /// The kernel's neighbour table is full (`ENOBUFS`).
    #[error(
        "the kernel's neighbour table is full, {neighbour} does not fit; raise net.ipv4.neigh.default.gc_thresh3 and gc_thresh2 (net.ipv6 for IPv6)"
    )]
    NeighbourTableFull {
        /// The neighbour that was to be added.
        neighbour: IpAddr,
    },
    /// The netlink socket could not be opened.
    #[error("cannot open a netlink route socket")]
    Socket {
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// A netlink request failed for a reason that is not an answer.
    #[error("cannot {request} over netlink")]
    Netlink {
        /// What was asked.
        request: &'static str,
        /// Why it failed.
        #[source]
        source: NetlinkError,
    },
}

impl ResolveError {
    /// The error for a socket that does not open.
    pub(super) fn socket(source: io::Error) -> Self {
        Self::Socket { source: Arc::new(source) }
    }

    /// The error for a request that fails with something else than an answer.
    pub(super) fn netlink(request: &'static str) -> impl Fn(NetlinkError) -> Self {
        move |source| Self::Netlink { request, source }
    }
}

/// How a route refuses an address: the types of ip-route(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `EHOSTUNREACH`.
    Unreachable,
    /// `EINVAL`.
    Blackhole,
    /// `EACCES`.
    Prohibit,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreachable => "of type unreachable",
            Self::Blackhole => "of type blackhole",
            Self::Prohibit => "of type prohibit",
        })
    }
}

/// Why a netlink request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetlinkError {
    /// The kernel refused it.
    #[error("{0}")]
    Kernel(Errno),
    /// The socket is closed: its runtime has ended, or reading failed.
    #[error("the netlink socket is closed")]
    Closed,
    /// No answer in time. The kernel answers at once; an answer that does not parse is lost.
    #[error("the kernel gave no answer that could be read")]
    NoAnswer,
    /// An answer of another kind than was asked for.
    #[error("the kernel gave an answer of another kind")]
    Unexpected,
}
