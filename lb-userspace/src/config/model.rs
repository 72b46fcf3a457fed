//! The configuration as validated. A value of these types that came from [`super::parse`] keeps every rule.

mod health;
mod weights;

pub use health::{Check, CheckType, Health, Http, Iso8583, Start, Tls, Via};
pub use weights::{Constants, LatencySource, Weights};

pub(super) use lb_common::backend::Forwarding;
use lb_common::service::{ServiceKey, TCP, UDP};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The daemon's own settings.
    pub daemon: Daemon,
    /// Names are unique, and so are address, port and protocol together. May be empty.
    pub services: Vec<Service>,
}

/// The daemon's own settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Interfaces to attach to at start, without repetition. May be empty.
    pub interfaces: Vec<String>,
    /// How to attach.
    pub xdp_mode: XdpMode,
    /// Absolute path of the directory of the durable state.
    pub state_dir: PathBuf,
    /// Absolute path of the directory of the pinned maps and links.
    pub pin_dir: PathBuf,
    /// Secret of the flow hash; `None`: one is made and kept in `state_dir`.
    pub hash_key: Option<HashKey>,
    /// Absolute path of the API's Unix socket.
    pub api: PathBuf,
    /// Where the API is served over TCP; `None`: nowhere.
    pub api_tls: Option<ApiTls>,
    /// Where metrics and the dashboard are served; `None`: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Least severe level that is logged.
    pub log: LogLevel,
    /// Where the source addresses of tunnel packets come from; a family without one uses the interface's address.
    pub tunnel_source: TunnelSource,
    /// UDP destination port of gue packets.
    pub gue_port: u16,
    /// Answers a second and CPU to pings and packets that do not fit; 0: none.
    pub answer_rate: u32,
    /// How flows are remembered.
    pub tracking: Tracking,
}

/// The API over TCP, with TLS and client certificates. The paths are absolute, of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiTls {
    /// Where it listens.
    pub address: SocketAddr,
    /// The daemon's certificate, with those that lead to its authority.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities whose certificates may use the API.
    pub client_ca: PathBuf,
}

/// How flows are remembered, and for how long. docs/connection-consistency.md says what hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// Entries of each family's flow table.
    pub flows: u32,
    /// How long a slot that moved learns, and how long a quiet flow of it is remembered.
    pub learn: Duration,
    /// The same for UDP.
    pub learn_udp: Duration,
    /// How long a quiet TCP flow is remembered by services that remember all flows.
    pub idle: Duration,
}

impl Default for Tracking {
    fn default() -> Self {
        Self {
            flows: 262_144,
            // Above the 350 s after which the usual load balancers and NATs drop idle connections.
            learn: Duration::from_mins(6),
            learn_udp: Duration::from_secs(30),
            idle: Duration::from_hours(1),
        }
    }
}

/// Source prefixes of tunnel packets, at most one a family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelSource {
    /// The IPv4 prefix.
    pub v4: Option<Prefix>,
    /// The IPv6 prefix.
    pub v6: Option<Prefix>,
}

/// An address prefix whose host bits are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub length: u8,
}

impl Prefix {
    /// Bits behind the prefix.
    #[must_use]
    pub const fn host_bits(&self) -> u8 {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        width - self.length
    }
}

/// The secret of the flow hash. Its debug output does not show it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u8; 16]);

/// A virtual address, port and protocol with its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// At most [`lb_common::limits::NAME_BYTES`] bytes of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// The virtual address: unicast, and never an IPv4 address mapped into IPv6.
    pub address: IpAddr,
    /// Port in host byte order; 0: every port.
    pub port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
    /// How a packet reaches the backends.
    pub forwarding: Forwarding,
    /// How a flow finds its backend.
    pub algorithm: Algorithm,
    /// What the flow's hash is made of.
    pub hash_on: HashOn,
    /// Largest TCP segment that a SYN may ask for, in bytes of payload.
    pub mss: Option<u16>,
    /// Size of the slot table: a power of two, at least the number of backends with weight.
    pub slots: u32,
    /// How the backends are checked; `None`: not at all, and all count as up.
    pub health: Option<Health>,
    /// How the weights in force come about.
    pub weights: Weights,
    /// Percent of the backends that must be up for health to be heeded; 0: it always is.
    pub panic_threshold: u8,
    /// How long a backend that came up takes to its whole weight; 0: it has it at once.
    pub slow_start: Duration,
    /// Names and addresses are unique within the service. May be empty.
    pub backends: Vec<Backend>,
}

/// One real server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Of the same form as a service's name.
    pub name: String,
    /// Unicast; of the service's family, but for tunnels.
    pub address: IpAddr,
    /// Port of its own, for nat alone; 0: the service's.
    pub port: u16,
    /// 0 (no new connections) to [`lb_common::limits::MAX_WEIGHT`].
    pub weight: u32,
}

/// How the program is attached to an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// In the driver if it can, else generic.
    #[default]
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's generic receive path.
    Generic,
}

/// Transport protocol of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
}

/// How a flow finds its backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Slot by flow hash, slots in weighted round-robin order.
    #[default]
    Hash,
    /// Slot by flow hash, slots as Maglev fills them: the same on balancers with the same configuration, whatever their
    /// past.
    Maglev,
    /// Each new connection takes the next slot; all flows are remembered.
    RoundRobin {
        /// Each client walks the backends on its own.
        per_client: bool,
    },
    /// Each new connection takes the less loaded of two slots' backends; all flows are remembered.
    LeastConnections,
}

/// What the flow's hash is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HashOn {
    /// Addresses, ports and protocol.
    #[default]
    Flow,
    /// Addresses and protocol: all connections of a client go to one backend.
    Addresses,
}

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what an operator should look at.
    Warn,
    /// And what changed.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And every step.
    Trace,
}

/// A value that is one of a few words, as it is written in the configuration, in JSON and on the command
/// line.
pub trait Choice: Copy + PartialEq + 'static {
    /// The key in the configuration.
    const KEY: &'static str;
    /// Every value and its word.
    const CHOICES: &'static [(&'static str, Self)];
    /// Words that the documentation knows and this version does not have yet.
    const LATER: &'static [&'static str] = &[];

    /// The value's word.
    fn word(self) -> &'static str {
        Self::CHOICES.iter().find(|(_, value)| *value == self).map_or("", |(word, _)| word)
    }
}

impl Choice for XdpMode {
    const KEY: &'static str = "xdp_mode";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("native", Self::Native), ("generic", Self::Generic)];
}

impl Choice for Protocol {
    const KEY: &'static str = "protocol";
    const CHOICES: &'static [(&'static str, Self)] = &[("tcp", Self::Tcp), ("udp", Self::Udp)];
}

impl Choice for Forwarding {
    const KEY: &'static str = "forwarding";
    const CHOICES: &'static [(&'static str, Self)] = &[
        (Self::L2Dsr.name(), Self::L2Dsr),
        (Self::Ipip.name(), Self::Ipip),
        (Self::Gue.name(), Self::Gue),
        (Self::Nat.name(), Self::Nat),
    ];
}

impl Choice for Algorithm {
    const KEY: &'static str = "algorithm";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("hash", Self::Hash),
        ("maglev", Self::Maglev),
        ("round-robin", Self::RoundRobin { per_client: false }),
        ("least-connections", Self::LeastConnections),
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Hash => "hash",
            Self::Maglev => "maglev",
            Self::RoundRobin { .. } => "round-robin",
            Self::LeastConnections => "least-connections",
        }
    }
}

impl Choice for HashOn {
    const KEY: &'static str = "hash_on";
    const CHOICES: &'static [(&'static str, Self)] = &[("flow", Self::Flow), ("addresses", Self::Addresses)];
}

impl Choice for LogLevel {
    const KEY: &'static str = "log";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

impl Protocol {
    /// IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
        }
    }
}

impl Algorithm {
    /// Whether every flow is in the flow table, not only those of slots that moved.
    #[must_use]
    pub const fn tracks_all(self) -> bool {
        matches!(self, Self::RoundRobin { .. } | Self::LeastConnections)
    }

    /// Whether each client walks the backends on its own, along a ring behind the slots.
    #[must_use]
    pub const fn is_per_client(self) -> bool {
        matches!(self, Self::RoundRobin { per_client: true })
    }

    /// Places in SLOTS that a service with a table of `slots` takes.
    #[must_use]
    pub const fn places(self, slots: u32) -> u32 {
        if self.is_per_client() { 2 * slots } else { slots }
    }
}

impl Service {
    /// The service's key in the data plane.
    #[must_use]
    pub fn key(&self) -> ServiceKey {
        ServiceKey::new(self.address, self.port, self.protocol.number())
    }

    /// The port that a backend of nat listens on; 0: that which a packet came to.
    #[must_use]
    pub const fn port_of(&self, backend: &Backend) -> u16 {
        if backend.port == 0 { self.port } else { backend.port }
    }

    /// The port that a backend is checked on; none without a check.
    #[must_use]
    pub fn health_port_of(&self, backend: &Backend) -> Option<u16> {
        self.health.as_ref().map(|health| health.port.unwrap_or_else(|| self.port_of(backend)))
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(secret)")
    }
}
