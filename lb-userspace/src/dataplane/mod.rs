//! The data plane as the daemon sees it: what the maps hold, the operations that change them, and the trait
//! behind which the kernel stands ([`kernel`]) or a fake in memory ([`fake`]).

mod batch;
pub mod bpffs;
pub mod decap;
mod detach;
pub mod fake;
mod flow_table;
mod flows;
mod grace;
pub mod kernel;
mod latency_table;
pub mod link;
pub mod loader;
pub mod mapped;
pub mod object;
mod samples;
mod service_index;
pub mod stats;

pub use flow_table::{FlowBatch, FlowCursor, FlowKey, FlowTable};
pub use latency_table::LatencyTable;

use lb_common::{
    backend::{Backend, Departure, LinkAddress},
    nat::{ReturnEnd, ReturnKey},
    service::{Service, ServiceKey},
    slot::{BackendIndex, Slot},
};
use std::{collections::BTreeMap, io, net::IpAddr, path::PathBuf};

/// Entries of each map, fixed when it is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Services.
    pub services: u32,
    /// Backend records, the unused record 0 included.
    pub backends: u32,
    /// Slots of all services together.
    pub slots: u32,
    /// Entries of each family's flow table.
    pub flows: u32,
}

/// The way to a backend: how the frames to it are addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// MAC address of the next hop.
    pub next_hop: LinkAddress,
    /// The interface that leads there.
    pub departure: Departure,
    /// Index of the interface that frames leave by.
    pub ifindex: u32,
    /// Largest IP packet on the way, in bytes.
    pub mtu: u16,
}

impl Way {
    /// The way that a record has; whether the backend is down is no part of it.
    #[must_use]
    pub const fn of(record: &Backend) -> Self {
        Self {
            next_hop: record.next_hop.with_down(false),
            departure: record.departure,
            ifindex: record.ifindex,
            mtu: record.mtu,
        }
    }

    /// The record with this way, down as before or not.
    #[must_use]
    pub const fn on(self, record: Backend) -> Backend {
        let Self { next_hop, departure, ifindex, mtu } = self;
        let next_hop = next_hop.with_down(record.next_hop.is_down());
        Backend { next_hop, departure, ifindex, mtu, ..record }
    }
}

/// A service as the maps hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledService {
    /// Its name.
    pub name: String,
    /// Its key in SERVICES.
    pub key: ServiceKey,
    /// Its value in SERVICES.
    pub record: Service,
    /// Its slots, in order.
    pub slots: Vec<Slot>,
    /// The backends that each client walks, behind the slots; empty unless the service is per client.
    pub ring: Vec<BackendIndex>,
}

/// Where a service's ring lies in SLOTS: right behind its table.
#[must_use]
pub const fn ring_range(record: &Service) -> std::ops::Range<u32> {
    let first = record.first_slot + record.slot_mask + 1;
    first..first + record.ring
}

/// A backend as the maps hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstalledBackend {
    /// Its index in BACKENDS.
    pub index: BackendIndex,
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u32,
    /// Its value in BACKENDS.
    pub record: Backend,
}

impl InstalledBackend {
    /// Identifier of the service that it belongs to.
    #[must_use]
    pub fn service(&self) -> u32 {
        self.record.service.into()
    }
}

/// All that the maps hold, for the planner to compare with what is desired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Entries of each map.
    pub sizes: Sizes,
    /// The services.
    pub services: Vec<InstalledService>,
    /// The backends of all services; also those of a service that no longer exists, after a crash.
    pub backends: Vec<InstalledBackend>,
    /// Generation of each index of BACKENDS, in use or not.
    pub generations: Vec<u32>,
    /// The virtual addresses that are answered for, sorted, each with the number of its services.
    pub vips: Vec<(IpAddr, u32)>,
    /// What the answers of nat's backends become.
    pub returns: BTreeMap<ReturnKey, ReturnEnd>,
}

/// One change of the maps. Each is visible to packets whole or not at all, and harmless when the next never follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Gives an index to a backend and clears its counters.
    AddBackend(InstalledBackend),
    /// Changes the way to a backend; it stays down, or not.
    SetWay {
        /// Index in BACKENDS.
        index: BackendIndex,
        /// The new way.
        way: Way,
    },
    /// Records a backend's new weight; its slots move by operations of their own.
    SetWeight {
        /// Index in BACKENDS.
        index: BackendIndex,
        /// The weight.
        weight: u32,
    },
    /// Marks a backend as dead, or as alive again: packets no longer follow flows to it, or do again.
    SetDown {
        /// Index in BACKENDS.
        index: BackendIndex,
        /// Dead.
        down: bool,
    },
    /// Writes slots.
    SetSlots {
        /// The service's name, for those who read the plan.
        service: String,
        /// Index in SLOTS and what to write there.
        slots: Vec<(u32, Slot)>,
    },
    /// Names a service and clears its counters; packets do not find it yet.
    NameService {
        /// The service's identifier.
        id: u32,
        /// Its name.
        name: String,
    },
    /// Lets packets find a service, or find it elsewhere.
    PutService {
        /// Address, port and protocol.
        key: ServiceKey,
        /// Identifier and slots.
        record: Service,
    },
    /// Packets no longer find the service.
    RemoveService {
        /// Address, port and protocol.
        key: ServiceKey,
    },
    /// Answers echo requests to an address, and takes its fragments.
    PutVip {
        /// The address.
        address: IpAddr,
        /// How many services it has.
        services: u32,
    },
    /// No longer does.
    RemoveVip {
        /// The address.
        address: IpAddr,
    },
    /// Frees a service's identifier.
    FreeService {
        /// The service's identifier.
        id: u32,
    },
    /// Marks the backend as dead and frees its index; the record keeps its generation.
    FreeBackend {
        /// Index in BACKENDS.
        index: BackendIndex,
    },
    /// Makes what comes from there an answer of a nat service.
    PutReturn {
        /// The backend's address, port and protocol.
        key: ReturnKey,
        /// What becomes the source.
        end: ReturnEnd,
    },
    /// What comes from there is no answer any more.
    RemoveReturn {
        /// The backend's address, port and protocol.
        key: ReturnKey,
    },
}

/// The maps, real or not.
pub trait Dataplane {
    /// What the maps hold.
    fn installed(&self) -> Result<Installed, Error>;

    /// Carries one operation out.
    fn apply(&mut self, operation: &Operation) -> Result<(), Error>;
}

/// What can go wrong between the daemon and the kernel. Each says what, where and what to do, in one line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No maps are pinned.
    #[error("nothing is loaded under {}; start `xdp-lb run -c FILE` or `xdp-lb attach IFACE`, or name another --pin-dir", .0.display())]
    NothingPinned(PathBuf),
    /// The pinned maps were written by another version.
    #[error("the maps under {} have layout version {found}, this xdp-lb has {ours}; use the xdp-lb that made them, or remove them with `xdp-lb detach --all` (packets then reach the kernel)", pin_dir.display())]
    Abi {
        /// Where the maps are pinned.
        pin_dir: PathBuf,
        /// Their version.
        found: u32,
        /// The version of this program.
        ours: u32,
    },
    /// A map could not be reached.
    #[error("cannot {action} map {map}: {source}")]
    Map {
        /// What was tried.
        action: &'static str,
        /// The map's name.
        map: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The kernel refused the program or its maps.
    #[error("the kernel refuses the XDP program: {0}")]
    Load(String),
    /// A file of the BPF file system.
    #[error("cannot {action} {}: {source}", path.display())]
    Pin {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The machine lacks something.
    #[error("{0}")]
    Machine(String),
    /// The interface carries another XDP program.
    #[error(
        "interface {interface} already carries XDP program \"{program}\" (id {id}), which is not of this pin directory; take it off (`xdp-lb --pin-dir DIR detach {interface}` when it is another xdp-lb's, `ip link set dev {interface} xdp off`, or `bpftool link detach id N`), or choose another interface"
    )]
    Occupied {
        /// The interface.
        interface: String,
        /// Name of the program there.
        program: String,
        /// Its identifier.
        id: u32,
    },
    /// The interface does not take the program.
    #[error("cannot attach to interface {interface} in {mode} mode: {cause}; {mend}")]
    Attach {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// The kernel's answer.
        cause: String,
        /// What to do.
        mend: &'static str,
    },
    /// The interface takes no tunnels off.
    #[error("interface {interface} has no decap under {}; set it up with `xdp-lb decap --iface {interface} --vip ADDRESS`, or name another --pin-dir", pin_dir.display())]
    NoDecap {
        /// The interface.
        interface: String,
        /// Where it was looked for.
        pin_dir: PathBuf,
    },
    /// The decapsulator's maps were written by another version.
    #[error(
        "the decap maps of interface {interface} have layout version {found}, this xdp-lb has {ours}; use the xdp-lb that made them, or remove them with `xdp-lb decap --iface {interface} --off` (tunnels then reach the kernel)"
    )]
    DecapAbi {
        /// The interface.
        interface: String,
        /// Their version.
        found: u32,
        /// The version of this program.
        ours: u32,
    },
    /// The decapsulator runs in another mode than is asked for.
    #[error(
        "decap runs on interface {interface} in {found} mode already; take it off first (xdp-lb decap --iface {interface} --off), or leave --mode away"
    )]
    DecapMode {
        /// The interface.
        interface: String,
        /// `native` or `generic`.
        found: &'static str,
    },
    /// The interface carries no program of ours.
    #[error("interface {interface} carries no program of ours ({attached}); name one of those, or --all")]
    NotAttached {
        /// The interface.
        interface: String,
        /// Those that do.
        attached: String,
    },
}

impl Error {
    pub(crate) fn map(action: &'static str, map: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Map { action, map, source }
    }

    pub(crate) fn pin(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Pin { action, path, source }
    }
}
