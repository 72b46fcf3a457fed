//! From addresses to next hops.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry as MapEntry},
    net::IpAddr,
    time::Duration,
};

use nix::errno::Errno;
use rtnetlink::{packet_core::NLM_F_CREATE, packet_route::RouteNetlinkMessage};
use tokio::time::Instant;

use super::{
    NextHop,
    address::{self, InterfaceAddress},
    entry::{self, Entry, Key, Table},
    error::{NetlinkError, ResolveError},
    link::{self, Interface},
    netlink::Netlink,
    route::{self, Route},
    watch::Watch,
};

/// Asks the kernel for interfaces, routes and neighbours. Clones share one socket.
#[derive(Clone, Debug)]
pub struct Resolver {
    netlink: Netlink,
}

impl Resolver {
    /// Opens a socket in the network namespace of this thread. Needs a tokio runtime with I/O and time enabled;
    /// only [`Resolver::solicit`], [`Resolver::refresh`] and [`Resolver::resolve_all`] need `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// [`ResolveError::Socket`] when there is no runtime or no socket to be had.
    pub fn new() -> Result<Self, ResolveError> {
        Ok(Self { netlink: Netlink::open()? })
    }

    /// The interface with this name, or alternative name of up to 15 bytes.
    ///
    /// # Errors
    /// [`ResolveError::Netlink`].
    pub async fn interface(&self, name: &str) -> Result<Option<Interface>, ResolveError> {
        match link::by_name(name) {
            Some(request) => self.link(request).await,
            None => Ok(None),
        }
    }

    /// All interfaces.
    ///
    /// # Errors
    /// [`ResolveError::Netlink`].
    pub async fn interfaces(&self) -> Result<Vec<Interface>, ResolveError> {
        let answers =
            self.netlink.dump(link::all()).await.map_err(ResolveError::netlink("list interfaces"))?;
        Ok(answers.iter().filter_map(interface_of).collect())
    }

    /// All addresses of all interfaces.
    ///
    /// # Errors
    /// [`ResolveError::Netlink`].
    pub async fn addresses(&self) -> Result<Vec<InterfaceAddress>, ResolveError> {
        let answers =
            self.netlink.dump(address::all()).await.map_err(ResolveError::netlink("list addresses"))?;
        Ok(answers.iter().filter_map(address_of).collect())
    }

    /// Where the kernel would send a packet to this address.
    ///
    /// # Errors
    /// All of [`ResolveError`] that concern the address and its route.
    pub async fn route(&self, address: IpAddr) -> Result<Route, ResolveError> {
        let address = address.to_canonical();
        route::check(address)?;
        match self.netlink.get(route::to(address)).await {
            Ok(RouteNetlinkMessage::NewRoute(answer)) => Route::from_message(address, &answer),
            Ok(_) => Err(route::failure(address, NetlinkError::Unexpected)),
            Err(error) => Err(route::failure(address, error)),
        }
    }

    /// The next hop of an address as the kernel knows it now; nothing is solicited.
    ///
    /// # Errors
    /// Any of [`ResolveError`]. That the neighbour is not resolved is no error but a missing MAC.
    pub async fn resolve(&self, address: IpAddr) -> Result<NextHop, ResolveError> {
        let mut next_hop = self.next_hop(address, &mut HashMap::new()).await?;
        next_hop.mac = self.entry(next_hop.key()).await?.and_then(|entry| entry.mac);
        Ok(next_hop)
    }

    /// The next hops of many addresses, in their order. Neighbours that the kernel does not know are solicited
    /// and waited for until each is resolved or given up by the kernel (about 3 s), or `deadline` has passed.
    pub async fn resolve_all(
        &self,
        addresses: &[IpAddr],
        deadline: Duration,
    ) -> Vec<Result<NextHop, ResolveError>> {
        let deadline = Instant::now() + deadline;
        let mut interfaces = HashMap::new();
        let mut next_hops = Vec::with_capacity(addresses.len());
        for address in addresses {
            next_hops.push(self.next_hop(*address, &mut interfaces).await);
        }
        if let Err(error) = self.complete(&mut next_hops, deadline).await {
            for next_hop in &mut next_hops {
                if next_hop.is_ok() {
                    *next_hop = Err(error.clone());
                }
            }
        }
        next_hops
    }

    /// Asks the kernel to resolve or confirm a next hop's neighbour, unless it is permanent or under way. The
    /// kernel sends the request; the outcome arrives through a [`Watch`].
    ///
    /// # Errors
    /// [`ResolveError::NeighbourTableFull`] and [`ResolveError::Netlink`] (also without `CAP_NET_ADMIN`).
    pub async fn solicit(&self, next_hop: &NextHop) -> Result<(), ResolveError> {
        let key = next_hop.key();
        if self.entry(key).await?.is_none_or(Entry::wants_solicitation) {
            self.mark_used(key).await
        } else {
            Ok(())
        }
    }

    /// Keeps the neighbours of these next hops from going stale or being forgotten: solicits those that are
    /// stale, failed or gone. To be called every [`super::REFRESH_INTERVAL`]. Returns how many were solicited.
    ///
    /// # Errors
    /// As [`Resolver::solicit`]; the first, after all have been tried.
    pub async fn refresh(&self, next_hops: &[NextHop]) -> Result<usize, ResolveError> {
        let keys: HashSet<Key> = next_hops.iter().map(NextHop::key).collect();
        let table = self.table(&keys).await?;
        let mut solicited = 0;
        let mut outcome = Ok(());
        for key in keys {
            if table.get(&key).copied().is_none_or(Entry::wants_solicitation) {
                let marked = self.mark_used(key).await;
                solicited += usize::from(marked.is_ok());
                outcome = outcome.and(marked);
            }
        }
        outcome.map(|()| solicited)
    }

    /// Finds the MACs of next hops, soliciting what is missing.
    async fn complete(
        &self,
        next_hops: &mut [Result<NextHop, ResolveError>],
        deadline: Instant,
    ) -> Result<(), ResolveError> {
        let keys: HashSet<Key> = next_hops.iter().flatten().map(NextHop::key).collect();
        let table = self.table(&keys).await?;
        fill(next_hops, &table);
        if missing(next_hops).is_empty() {
            return Ok(());
        }
        // Before the solicitation and the next look at the table, so that no answer goes unnoticed.
        let mut watch = Watch::neighbours()?;
        self.solicit_missing(next_hops, &table).await;
        loop {
            let table = self.table(&keys).await?;
            fill(next_hops, &table);
            let undecided = |key: &Key| table.get(key).is_none_or(|entry| !entry.is_failed());
            if !missing(next_hops).iter().any(undecided)
                || tokio::time::timeout_at(deadline, watch.changed()).await.is_err()
            {
                return Ok(());
            }
        }
    }

    /// Solicits each neighbour that is missing; one that cannot be is the error of its next hops.
    async fn solicit_missing(&self, next_hops: &mut [Result<NextHop, ResolveError>], table: &Table) {
        for key in missing(next_hops) {
            if !table.get(&key).copied().is_none_or(Entry::wants_solicitation) {
                continue;
            }
            if let Err(error) = self.mark_used(key).await {
                for next_hop in next_hops.iter_mut() {
                    if next_hop.as_ref().is_ok_and(|hop| hop.key() == key) {
                        *next_hop = Err(error.clone());
                    }
                }
            }
        }
    }

    /// Route and interface of an address; the MAC is left open.
    async fn next_hop(
        &self,
        address: IpAddr,
        interfaces: &mut HashMap<u32, Interface>,
    ) -> Result<NextHop, ResolveError> {
        let address = address.to_canonical();
        let Route { ifindex, gateway, mtu, source: local } = self.route(address).await?;
        let interface = match interfaces.entry(ifindex) {
            MapEntry::Occupied(known) => known.into_mut(),
            MapEntry::Vacant(unknown) => {
                let interface = self.link(link::by_index(ifindex)).await?;
                unknown.insert(interface.ok_or(ResolveError::NoInterface { address, ifindex })?)
            }
        };
        let name = interface.name.clone();
        Ok(NextHop {
            address,
            ifindex,
            port: interface.vlan.map_or(ifindex, |vlan| vlan.lower),
            vlan: interface.vlan.map_or(0, |vlan| vlan.id),
            local,
            source: interface
                .mac
                .ok_or_else(|| ResolveError::NoLinkLayer { address, interface: name.clone() })?,
            interface: name,
            mac: None,
            gateway,
            mtu: mtu.map_or(interface.mtu, |mtu| mtu.min(interface.mtu)),
        })
    }

    async fn link(&self, request: RouteNetlinkMessage) -> Result<Option<Interface>, ResolveError> {
        match self.netlink.get(request).await {
            Ok(answer) => Ok(interface_of(&answer)),
            Err(NetlinkError::Kernel(Errno::ENODEV)) => Ok(None),
            Err(error) => Err(ResolveError::netlink("look up an interface")(error)),
        }
    }

    async fn entry(&self, key: Key) -> Result<Option<Entry>, ResolveError> {
        match self.netlink.get(entry::one(key)).await {
            Ok(answer) => Ok(entry_of(&answer).map(|(_, entry)| entry)),
            Err(NetlinkError::Kernel(Errno::ENOENT)) => Ok(None),
            Err(error) => Err(ResolveError::netlink("look up a neighbour")(error)),
        }
    }

    /// The neighbour table, as far as these keys need it: one dump, of one interface when all are on it.
    async fn table(&self, keys: &HashSet<Key>) -> Result<Table, ResolveError> {
        let mut interfaces = keys.iter().map(|(ifindex, _)| *ifindex);
        let Some(first) = interfaces.next() else { return Ok(Table::new()) };
        let only = interfaces.all(|ifindex| ifindex == first).then_some(first);
        let answers =
            self.netlink.dump(entry::all(only)).await.map_err(ResolveError::netlink("list neighbours"))?;
        Ok(answers.iter().filter_map(entry_of).collect())
    }

    async fn mark_used(&self, key: Key) -> Result<(), ResolveError> {
        self.netlink.change(entry::mark_used(key), NLM_F_CREATE).await.map_err(|error| match error {
            NetlinkError::Kernel(Errno::ENOBUFS) => ResolveError::NeighbourTableFull { neighbour: key.1 },
            source => ResolveError::Netlink { request: "solicit a neighbour", source },
        })
    }
}

fn interface_of(answer: &RouteNetlinkMessage) -> Option<Interface> {
    match answer {
        RouteNetlinkMessage::NewLink(link) => Interface::from_message(link),
        _ => None,
    }
}

fn address_of(answer: &RouteNetlinkMessage) -> Option<InterfaceAddress> {
    match answer {
        RouteNetlinkMessage::NewAddress(address) => InterfaceAddress::from_message(address),
        _ => None,
    }
}

fn entry_of(answer: &RouteNetlinkMessage) -> Option<(Key, Entry)> {
    match answer {
        RouteNetlinkMessage::NewNeighbour(neighbour) => Entry::from_message(neighbour),
        _ => None,
    }
}

fn fill(next_hops: &mut [Result<NextHop, ResolveError>], table: &Table) {
    for next_hop in next_hops.iter_mut().flatten() {
        next_hop.mac = table.get(&next_hop.key()).and_then(|entry| entry.mac);
    }
}

fn missing(next_hops: &[Result<NextHop, ResolveError>]) -> HashSet<Key> {
    next_hops.iter().flatten().filter(|next_hop| next_hop.mac.is_none()).map(NextHop::key).collect()
}
