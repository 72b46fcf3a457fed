//! Where a flow would go, and why: from what the maps hold, as the program decides it. Pure.

use crate::{
    dataplane::{FlowKey, Installed, InstalledService},
    view::{BackendRow, Report},
};
use lb_common::{
    flow::{FlowClass, FlowEntry, FlowKeyV4, FlowKeyV6, RETRANSMISSION, TICK_SHIFT, Tick, since},
    hash::{KeyWords, ports_word},
    service::{TCP, service_flags},
    slot::{BackendIndex, NO_BACKEND, Phase, Slot},
};
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// A flow, and the slot that it falls into.
#[derive(Clone, Debug)]
pub struct Found<'m> {
    installed: &'m Installed,
    service: &'m InstalledService,
    client: SocketAddr,
    port: u16,
    hash: u64,
    /// Where an entry of its would be in the flow table.
    pub key: FlowKey,
}

/// Where a flow goes, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Name of the service.
    pub service: String,
    /// The client's address and port.
    pub client: SocketAddr,
    /// The virtual address and port.
    pub destination: SocketAddr,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The flow's hash, 16 hex digits.
    pub hash: String,
    /// Position in the service's table, by the hash's low bits.
    pub slot: u32,
    /// Size of the table.
    pub slots: u32,
    /// `stable`, `learning` or `holding`.
    pub phase: &'static str,
    /// What the flow table has of it; null: nothing, or it is not looked at.
    pub flow: Option<Entry>,
    /// Where a further packet of the flow goes; null: nowhere, it is dropped.
    pub goes_on: Option<Destination>,
    /// Where a new connection from there goes; null: to the next in turn, the less loaded one, or nowhere.
    pub new_connection: Option<Destination>,
    /// The reasons, in sentences.
    pub why: Vec<String>,
}

/// A backend that packets go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Destination {
    /// Its name.
    pub backend: String,
    /// Its address.
    pub address: String,
    /// `up`, `unresolved`, `disabled` or `down`, as the maps tell.
    pub state: String,
}

/// An entry of the flow table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Name of the backend that it remembers; null: that is gone.
    pub backend: Option<String>,
    /// `opening`, `open` or `closing`.
    pub class: &'static str,
    /// Since its last packet.
    pub quiet_milliseconds: u64,
}

/// Why nothing can be said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// The service.
    #[error("there is no service \"{name}\"; there are: {have}")]
    Service {
        /// Its name.
        name: String,
        /// Those that are there.
        have: String,
    },
    /// A service of every port.
    #[error("service \"{0}\" is there for every port; say which with --port")]
    Port(String),
    /// Another port than the service's.
    #[error("service \"{name}\" is there for port {port} alone; leave --port out")]
    OtherPort {
        /// Its name.
        name: String,
        /// Its port.
        port: u16,
    },
    /// A more specific service.
    #[error("port {port} of that address is service \"{other}\"'s; ask for that")]
    Taken {
        /// The port.
        port: u16,
        /// The service.
        other: String,
    },
    /// The other version of IP.
    #[error("a client of {client} cannot send to {address}; name an address of the same version of IP")]
    Family {
        /// The client's address.
        client: IpAddr,
        /// The service's.
        address: IpAddr,
    },
    /// No sender has this address.
    #[error("packets from {0} are dropped as `martian-source`: no client has that address")]
    Martian(IpAddr),
}

/// Finds the slot of a flow from `client` to a service. `port`: of a service of every port, where the flow goes to.
///
/// # Errors
/// When there is no such flow.
pub fn find<'m>(
    installed: &'m Installed,
    words: &KeyWords,
    name: &str,
    client: SocketAddr,
    port: Option<u16>,
) -> Result<Found<'m>, NotFound> {
    let service = installed.services.iter().find(|service| service.name == name).ok_or_else(|| {
        let have: Vec<_> = installed.services.iter().map(|service| service.name.as_str()).collect();
        NotFound::Service { name: name.to_owned(), have: have.join(", ") }
    })?;
    let port = destination_port(installed, service, port)?;
    let address = service.key.ip();
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    if is_martian(client.ip(), address) {
        return Err(NotFound::Martian(client.ip()));
    }
    let [a, b] = client.port().to_be_bytes();
    let [c, d] = port.to_be_bytes();
    let (ports, id) = (ports_word([a, b, c, d]), service.record.id);
    let key = match client.ip() {
        IpAddr::V4(source) => FlowKey::V4(FlowKeyV4 { source: source.octets(), ports, service: id }),
        IpAddr::V6(source) => FlowKey::V6(FlowKeyV6 { source: source.octets(), ports, service: id }),
    };
    let hash = key.hash_to(address, service.key.protocol, service.record.flags, words);
    let hash = hash.ok_or(NotFound::Family { client: client.ip(), address })?;
    Ok(Found { installed, service, client, port, hash, key })
}

fn destination_port(
    installed: &Installed,
    service: &InstalledService,
    port: Option<u16>,
) -> Result<u16, NotFound> {
    let name = || service.name.clone();
    let (own, port) = match (service.key.port(), port) {
        (0, None) => return Err(NotFound::Port(name())),
        (0, Some(port)) => (0, port),
        (own, None) => (own, own),
        (own, Some(port)) if own == port => (own, own),
        (own, Some(_)) => return Err(NotFound::OtherPort { name: name(), port: own }),
    };
    let key = lb_common::service::ServiceKey { port: port.to_be_bytes(), ..service.key };
    let other = installed.services.iter().find(|other| own == 0 && other.key == key);
    other
        .filter(|other| other.name != service.name)
        .map_or(Ok(port), |other| Err(NotFound::Taken { port, other: other.name.clone() }))
}

/// As the program's `Ends::is_martian` (RFC 1122 section 3.2.1.3, RFC 4291 section 2.7).
fn is_martian(client: IpAddr, vip: IpAddr) -> bool {
    let by_form = match client {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            first == 0 || first == 127 || first >= 224
        }
        IpAddr::V6(v6) => v6.is_multicast() || u128::from(v6) <= 1,
    };
    by_form || client == vip
}

impl Found<'_> {
    /// What becomes of it. `entry`: what the flow table has under [`Found::key`].
    #[must_use]
    pub fn answer(&self, entry: Option<FlowEntry>, now: Tick) -> Answer {
        let Self { service, client, port, hash, .. } = *self;
        let place = hash as u32 & service.record.slot_mask;
        let slot = service.slots.get(place as usize).copied().unwrap_or(Slot::EMPTY);
        let entry = entry.filter(|_| !slot.is_stable() || self.tracks_all());
        let mut why = vec![self.about_slot(slot)];
        let owner = entry.and_then(|entry| self.owner(entry));
        let (new, how) = self.new_connection(slot);
        let goes_on = owner.or_else(|| some(self.fallback(slot)));
        let repeated = owner.filter(|_| entry.is_some_and(|entry| is_repeated(&entry, now)));
        why.push(match (entry, owner) {
            (None, _) if slot.is_stable() && !self.tracks_all() => {
                "the slot alone decides: the flow table is not looked at".to_owned()
            }
            (None, _) => Self::about_unknown(slot),
            (Some(_), Some(_)) => "the flow table knows the flow: it stays with its backend".to_owned(),
            (Some(_), None) => {
                "the flow table knows the flow, but its backend is gone: chosen anew".to_owned()
            }
        });
        why.extend(how.map(str::to_owned));
        if repeated.is_some() {
            why.push("a SYN within 3 s of the flow's last packet repeats it: the same backend".to_owned());
        }
        Answer {
            service: service.name.clone(),
            client,
            destination: SocketAddr::new(service.key.ip(), port),
            protocol: if service.key.protocol == TCP { "tcp" } else { "udp" },
            hash: format!("{hash:016x}"),
            slot: place,
            slots: service.record.slot_mask + 1,
            phase: match slot.phase() {
                Phase::Stable => "stable",
                Phase::Learn => "learning",
                Phase::Hold => "holding",
            },
            flow: entry.map(|entry| self.entry(&entry, now)),
            goes_on: goes_on.and_then(|index| self.destination(index)),
            new_connection: repeated.or(new).and_then(|index| self.destination(index)),
            why,
        }
    }

    const fn tracks_all(&self) -> bool {
        self.service.record.flags & service_flags::TRACKS_ALL != 0
    }

    fn about_slot(&self, slot: Slot) -> String {
        let name = |index| self.row(index).map_or_else(|| "no backend".to_owned(), |row| row.backend);
        let backend = name(slot.backend);
        match slot.phase() {
            Phase::Stable => format!("the slot is {backend}'s"),
            Phase::Learn => format!(
                "the slot went from {} to {backend} a short while ago, and learns: flows that are not known are the former's, new connections the latter's",
                name(slot.previous)
            ),
            Phase::Hold => format!("the slot is {backend}'s, but for flows that the flow table knows"),
        }
    }

    fn about_unknown(slot: Slot) -> String {
        let what = "the flow table does not know the flow";
        if slot.is_learning() {
            format!("{what}: one that is open is from before the slot's change")
        } else {
            format!("{what}: the slot decides for one that is open")
        }
    }

    /// The owner of an entry, unless it is gone.
    fn owner(&self, entry: FlowEntry) -> Option<BackendIndex> {
        let owner = entry.owner;
        let backend = self.installed.backends.iter().find(|backend| backend.index == owner.backend)?;
        let alive = backend.record.generation == owner.generation && !backend.record.next_hop.is_down();
        alive.then_some(owner.backend)
    }

    /// Where a slot leads flows that nobody remembers.
    fn fallback(&self, slot: Slot) -> BackendIndex {
        let previous = self.installed.backends.iter().find(|backend| backend.index == slot.previous);
        let there = previous.is_some_and(|previous| !previous.record.next_hop.is_down());
        if slot.is_learning() && slot.previous != NO_BACKEND && there { slot.previous } else { slot.backend }
    }

    fn new_connection(&self, slot: Slot) -> (Option<BackendIndex>, Option<&'static str>) {
        let flags = self.service.record.flags;
        if flags & service_flags::PER_CLIENT != 0 {
            return (None, Some("a new connection takes the client's next turn (round-robin, per_client)"));
        }
        if flags & service_flags::ROUND_ROBIN != 0 {
            return (None, Some("a new connection takes the service's next turn (round-robin)"));
        }
        if flags & service_flags::LEAST_CONNECTIONS != 0 {
            let how = "a new connection goes to the less loaded of two backends (least-connections)";
            return (None, Some(how));
        }
        if self.service.key.protocol != TCP && slot.is_learning() {
            return (some(self.fallback(slot)), Some("UDP does not say that a flow is new, but for QUIC"));
        }
        (some(slot.backend), None)
    }

    fn entry(&self, entry: &FlowEntry, now: Tick) -> Entry {
        let class =
            [(FlowClass::Opening, "opening"), (FlowClass::Open, "open"), (FlowClass::Closing, "closing")];
        Entry {
            backend: self.owner(*entry).and_then(|index| self.row(index)).map(|row| row.backend),
            class: class.iter().find(|(class, _)| entry.owner.is(*class)).map_or("unknown", |(_, name)| name),
            quiet_milliseconds: (u64::from(since(now, entry.seen)) << TICK_SHIFT) / 1_000_000,
        }
    }

    fn row(&self, index: BackendIndex) -> Option<BackendRow> {
        let backends = self.installed.backends.iter().filter(|backend| backend.index == index).cloned();
        // Of this backend alone: the rows of thousands need not be made.
        let alone = Installed {
            services: vec![self.service.clone()],
            backends: backends.collect(),
            vips: Vec::new(),
            generations: Vec::new(),
            returns: std::collections::BTreeMap::new(),
            sizes: self.installed.sizes,
        };
        Report::without_counters(&alone).backends.pop()
    }

    fn destination(&self, index: BackendIndex) -> Option<Destination> {
        let row = self.row(index)?;
        let backend = self.installed.backends.iter().find(|backend| backend.index == index)?;
        let down = backend.record.next_hop.is_down();
        let state = if down { "down".to_owned() } else { row.state.into_owned() };
        Some(Destination { backend: row.backend, address: row.address, state })
    }
}

/// Whether a SYN would be taken for a repetition.
fn is_repeated(entry: &FlowEntry, now: Tick) -> bool {
    since(now, entry.seen) < RETRANSMISSION && !entry.owner.is(FlowClass::Closing)
}

const fn some(index: BackendIndex) -> Option<BackendIndex> {
    if index == NO_BACKEND { None } else { Some(index) }
}
