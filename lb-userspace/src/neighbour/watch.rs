//! Word of changes: the kernel's multicast groups, filtered and gathered.

use std::{ops::BitOrAssign, time::Duration};

use futures::{StreamExt, channel::mpsc::UnboundedReceiver};
use rtnetlink::{
    MulticastGroup, packet_core::NetlinkMessage, packet_route::RouteNetlinkMessage, sys::SocketAddr,
};
use tokio::{task::AbortHandle, time::Instant};

use super::{error::ResolveError, filter::Filter, netlink};

/// After the last message so much silence ends a change: one `ip` command causes several messages.
const QUIET: Duration = Duration::from_millis(20);

/// A change is told no later than this after its first message, however many follow.
const PATIENCE: Duration = Duration::from_millis(200);

/// How long to wait before a socket that could not be opened is tried again.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// Addresses and rules move routes too, and the kernel does not tell of every route that goes with them.
/// Next-hop objects are told as routes (`net.ipv4.nexthop_compat_mode`, on by default).
const EVERYTHING: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
];

type Messages = UnboundedReceiver<(NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

/// What has changed. All three are set when messages were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// An interface came, went, or changed name, MAC, MTU, state or XDP program (the kernel need not tell of
    /// a program that was attached by a BPF link).
    pub links: bool,
    /// A neighbour got another MAC, was resolved, failed or was forgotten.
    pub neighbours: bool,
    /// A route, a rule or an own address came or went.
    pub routes: bool,
}

impl Change {
    pub(super) const NOTHING: Self = Self { links: false, neighbours: false, routes: false };
    pub(super) const LINKS: Self = Self { links: true, ..Self::NOTHING };
    pub(super) const NEIGHBOURS: Self = Self { neighbours: true, ..Self::NOTHING };
    pub(super) const ROUTES: Self = Self { routes: true, ..Self::NOTHING };
    /// Anything may have changed.
    pub const EVERYTHING: Self = Self { links: true, neighbours: true, routes: true };

    fn is_nothing(self) -> bool {
        self == Self::NOTHING
    }
}

impl BitOrAssign for Change {
    fn bitor_assign(&mut self, other: Self) {
        self.links |= other.links;
        self.neighbours |= other.neighbours;
        self.routes |= other.routes;
    }
}

/// Listens for changes in the network namespace where it was made. Open it before the first resolution: what
/// changes in between is then told.
#[derive(Debug)]
pub struct Watch {
    groups: &'static [MulticastGroup],
    messages: Messages,
    task: AbortHandle,
    filter: Filter,
    /// What was heard and not yet told; kept here so that a cancelled [`Watch::changed`] loses nothing.
    pending: Change,
}

impl Watch {
    /// Listens for interfaces, neighbours, routes, rules and own addresses. Needs a tokio runtime with I/O
    /// and time enabled.
    ///
    /// # Errors
    /// [`ResolveError::Socket`] when there is no runtime or no socket to be had.
    pub fn new() -> Result<Self, ResolveError> {
        Self::open(EVERYTHING)
    }

    /// Listens for neighbours only.
    pub(super) fn neighbours() -> Result<Self, ResolveError> {
        Self::open(&[MulticastGroup::Neigh])
    }

    fn open(groups: &'static [MulticastGroup]) -> Result<Self, ResolveError> {
        let (messages, task) = subscribe(groups)?;
        Ok(Self { groups, messages, task, filter: Filter::default(), pending: Change::NOTHING })
    }

    /// Waits for a change, then for a moment of silence, and tells all that changed until then. When messages
    /// were lost (the socket's buffer overran, `ENOBUFS`, or the socket had to be opened anew) that is
    /// [`Change::EVERYTHING`].
    ///
    /// Cancel safe: what was heard before the cancellation is told by the next call.
    pub async fn changed(&mut self) -> Change {
        while self.pending.is_nothing() {
            self.receive().await;
        }
        let last = Instant::now() + PATIENCE;
        loop {
            let now = Instant::now();
            // Checked here as well: a timeout does not end a future that is always ready.
            if now >= last || tokio::time::timeout_at(last.min(now + QUIET), self.receive()).await.is_err() {
                return std::mem::take(&mut self.pending);
            }
        }
    }

    /// Takes one message.
    async fn receive(&mut self) {
        match self.messages.next().await {
            Some((message, _)) => self.pending |= self.filter.observe(&message),
            None => self.reopen().await,
        }
    }

    /// Reading failed and the task is gone: listens anew. What happened meanwhile is lost.
    async fn reopen(&mut self) {
        loop {
            match subscribe(self.groups) {
                Ok((messages, task)) => {
                    tracing::warn!("the netlink socket for changes was closed and has been opened again");
                    (self.messages, self.task) = (messages, task);
                    self.pending |= self.filter.lost();
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "cannot listen for network changes; trying again in {REOPEN_PAUSE:?}"
                    );
                    tokio::time::sleep(REOPEN_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The task would only notice with the next message.
        self.task.abort();
    }
}

fn subscribe(groups: &[MulticastGroup]) -> Result<(Messages, AbortHandle), ResolveError> {
    let runtime = netlink::runtime()?;
    let (connection, _handle, messages) =
        rtnetlink::new_multicast_connection(groups).map_err(ResolveError::socket)?;
    Ok((messages, runtime.spawn(connection).abort_handle()))
}
