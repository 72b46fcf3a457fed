//! The daemon: its boot reads top to bottom in [`run`]; then it follows routes and neighbours until it is told to end.

use crate::{
    config::{Config, HashKey, XdpMode},
    dataplane::{
        Dataplane as _,
        link::Attached,
        loader::{self, Adopted, Loaded, Specialisation},
    },
    hash_key,
    neighbour::{Interface, NextHop, REFRESH_INTERVAL, ResolveError, Resolver, Watch},
    plan, routing,
    state::{Event, State, features_for_mtu, sizes_of},
    state_dir::StateDir,
    tracking::Census,
};
use anyhow::Context as _;
use aya_log::EbpfLogger;
use nix::time::{ClockId, clock_gettime};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval},
};
use tracing::{info, warn};

/// How long the boot waits for backends to answer ARP or neighbour discovery.
const FIRST_RESOLUTION: Duration = Duration::from_secs(2);
/// How often everything is looked at again, whether netlink told of a change or not.
const RESYNC: Duration = REFRESH_INTERVAL;
/// How often backends that do not answer are asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the program's log lines are fetched, when there are any.
const READ_LOG: Duration = Duration::from_millis(100);

/// What the command line gives.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// Instead of the configuration's `pin_dir`.
    pub pin_dir: Option<PathBuf>,
    /// Whether the program logs a line for every packet.
    pub log_packets: bool,
}

/// Runs the daemon until SIGTERM or SIGINT. The program stays attached: packets flow on.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut config = options.config;
    if let Some(pin_dir) = options.pin_dir {
        config.daemon.pin_dir = pin_dir;
    }
    if config.daemon.metrics.is_some() {
        warn!("metrics are not served by this version; `xdp-lb stats --json` has the counters");
    }
    loader::preflight()?;
    let mut ended = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let resolver = Resolver::new()?;
    let mut watch = Watch::new()?;
    interfaces(&resolver, &config).await?;

    let mut state = State::default();
    state.handle(Event::Configured(config.clone()));
    resolve_first(&resolver, &mut state).await?;

    let mut state_dir = StateDir::lock(&config.daemon.state_dir)?;
    let features = state.features() | interface_features(&resolver, &config).await?;
    let loaded = load(&config, features, options.log_packets)?;
    let mut balancer = Balancer { loaded, state, behind: false, silent: true };
    // Again, because the links that were pinned may run a new program by now.
    let interfaces = interfaces(&resolver, &config).await;
    let interfaces = interfaces.inspect_err(|_| balancer.undo(&config.daemon.pin_dir))?;
    balancer.start(&config, &interfaces).inspect_err(|_| balancer.undo(&config.daemon.pin_dir))?;
    state_dir.keep();
    let mut packet_log = balancer.packet_log()?;
    info!("ready");

    let mut resync = interval(RESYNC);
    let mut read_log = interval(READ_LOG);
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ended.recv() => break,
            _ = interrupted.recv() => break,
            _ = watch.changed() => balancer.follow(&resolver, false).await,
            _ = read_log.tick(), if packet_log.is_some() => packet_log.iter_mut().for_each(EbpfLogger::flush),
            _ = resync.tick() => balancer.follow(&resolver, true).await,
            _ = retry.tick(), if balancer.silent => balancer.follow(&resolver, true).await,
        }
    }
    let pin_dir = config.daemon.pin_dir.display();
    info!("ends; the program stays attached, `xdp-lb --pin-dir {pin_dir} detach --all` removes it");
    Ok(())
}

/// An interface by its name.
pub async fn interface(resolver: &Resolver, name: &str) -> anyhow::Result<Interface> {
    let found = resolver.interface(name).await?;
    found.with_context(|| format!("there is no interface \"{name}\"; `ip link` lists those of this machine"))
}

/// The configured interfaces: each exists and carries no other XDP program.
async fn interfaces(resolver: &Resolver, config: &Config) -> anyhow::Result<Vec<Interface>> {
    let links = crate::dataplane::link::Links::new(&config.daemon.pin_dir);
    let mut interfaces = Vec::new();
    for name in &config.daemon.interfaces {
        let interface = interface(resolver, name).await?;
        links.check_free(&interface)?;
        interfaces.push(interface);
    }
    Ok(interfaces)
}

/// What the interfaces ask of the program, those too that carry it without being configured.
async fn interface_features(resolver: &Resolver, config: &Config) -> anyhow::Result<u32> {
    let mut names = crate::dataplane::link::Links::new(&config.daemon.pin_dir).names()?;
    names.extend(config.daemon.interfaces.iter().cloned());
    let mut features = 0;
    for name in names {
        let found = resolver.interface(&name).await?;
        features |= found.map_or(0, |interface| features_for_mtu(interface.mtu));
    }
    Ok(features)
}

/// Finds the way to every backend. A backend without a route is an error; one that does not answer is not.
async fn resolve_first(resolver: &Resolver, state: &mut State) -> anyhow::Result<()> {
    let addresses = state.addresses();
    let answers = resolver.resolve_all(&addresses, FIRST_RESOLUTION).await;
    for (address, answer) in addresses.into_iter().zip(answers) {
        let next_hop = answer.map_err(|error| blame(state, address, &error))?;
        if let Some(gateway) = next_hop.gateway.filter(|_| state.must_be_on_link(address)) {
            anyhow::bail!(
                "backend {} is behind the gateway {gateway}, but forwarding \"l2-dsr\" reaches only backends on the balancer's own link; move it there, or use \"ipip\", \"gue\" or \"nat\"",
                state.name_of(address)
            );
        }
        state.handle(Event::NextHop(address, next_hop));
    }
    for backend in state.unresolved() {
        warn!(
            "backend {backend} does not answer ARP or neighbour discovery; it gets no connections until it does"
        );
    }
    Ok(())
}

fn blame(state: &State, address: std::net::IpAddr, error: &ResolveError) -> anyhow::Error {
    anyhow::anyhow!("backend {}: {error}", state.name_of(address))
}

fn load(config: &Config, features: u32, log_packets: bool) -> anyhow::Result<Loaded> {
    let daemon = &config.daemon;
    let pinned = loader::pinned_meta(&daemon.pin_dir)?;
    let hash_key =
        hash_key::choose(daemon.hash_key, pinned.map(|meta| HashKey(meta.hash_key)), &daemon.state_dir)?;
    let log_level = if log_packets { aya_log::Level::Debug as u8 } else { 0 };
    let wanted =
        Specialisation { features, log_level, answer_rate: daemon.answer_rate, hash_key: hash_key.0 };
    Ok(loader::load(&daemon.pin_dir, sizes_of(&config.services, daemon.tracking.flows), wanted)?)
}

/// Seconds of the boot clock, as slots record them.
fn boot_seconds() -> u32 {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec() as u32)
}

/// The desired state and the maps that follow it.
struct Balancer {
    state: State,
    loaded: Loaded,
    /// The last attempt to bring the maps to the desired state failed.
    behind: bool,
    /// The kernel has no MAC address of some backend, whether it once had or not.
    silent: bool,
}

impl Balancer {
    /// Brings the maps to the desired state, then attaches.
    fn start(&mut self, config: &Config, interfaces: &[Interface]) -> anyhow::Result<()> {
        match self.loaded.adopted {
            Adopted::Everything => {
                info!("adopted program and maps under {}", config.daemon.pin_dir.display());
            }
            Adopted::Maps => {
                info!("adopted the maps under {}, with a new program", config.daemon.pin_dir.display());
            }
            Adopted::Nothing => info!("loaded; pinned under {}", config.daemon.pin_dir.display()),
        }
        self.reconcile()?;
        for name in self.loaded.links.names()? {
            if !config.daemon.interfaces.contains(&name) {
                info!(
                    "{name} carries the program too, though the configuration does not name it; `xdp-lb detach {name}` takes it off"
                );
            }
        }
        for interface in interfaces {
            let name = &interface.name;
            match self.loaded.links.attach(&mut self.loaded.program, interface, config.daemon.xdp_mode)? {
                Attached::Already => info!("{name} carries the program already"),
                Attached::Native => info!("attached to {name} in native mode"),
                Attached::Generic if config.daemon.xdp_mode == XdpMode::Auto => {
                    warn!(
                        "attached to {name} in generic mode, which is slower: its driver has no native XDP"
                    );
                }
                Attached::Generic => info!("attached to {name} in generic mode"),
            }
        }
        for lack in routing::missing(&config.services, &config.daemon.interfaces) {
            warn!("{lack}");
        }
        Ok(())
    }

    /// After a failed first start: leaves the machine as it was.
    fn undo(&self, pin_dir: &Path) {
        if self.loaded.adopted == Adopted::Nothing
            && let Err(error) = loader::remove_all(pin_dir)
        {
            warn!("{error}");
        }
    }

    /// Plans from what the maps hold to what they should hold, and carries it out.
    fn reconcile(&mut self) -> anyhow::Result<()> {
        let installed = self.loaded.kernel.installed()?;
        let plan = plan::plan(&installed, &self.state.desired(), &Census::default(), boot_seconds())?;
        for operation in &plan.operations {
            self.loaded.kernel.apply(operation)?;
        }
        if !plan.operations.is_empty() {
            info!("{} changes applied, {} slots moved", plan.operations.len(), plan.report.moved());
        }
        Ok(())
    }

    /// Asks netlink again, and follows what changed. `solicit`: also asks backends that are not resolved, and has
    /// the kernel confirm those that it has not heard of for long, as it does only for neighbours of its own.
    async fn follow(&mut self, resolver: &Resolver, solicit: bool) {
        let addresses = self.state.addresses();
        let deadline = if solicit { RETRY / 2 } else { Duration::ZERO };
        let answers = resolver.resolve_all(&addresses, deadline).await;
        let known: Vec<NextHop> = answers.iter().flatten().cloned().collect();
        self.silent = known.iter().any(|next_hop| next_hop.mac.is_none());
        if solicit && let Err(error) = resolver.refresh(&known).await {
            warn!("{error}; a backend whose MAC address changes is not noticed until this works");
        }
        let mut changed = false;
        for (address, answer) in addresses.into_iter().zip(answers) {
            match answer {
                Ok(next_hop) if next_hop.gateway.is_some() && self.state.must_be_on_link(address) => {
                    warn!(
                        "backend {} is behind a gateway now; its last way stays",
                        self.state.name_of(address)
                    );
                }
                Ok(next_hop) => changed |= self.state.handle(Event::NextHop(address, next_hop)),
                Err(error) => warn!("backend {}: {error}; its last way stays", self.state.name_of(address)),
            }
        }
        if changed || self.behind {
            let done = self.reconcile();
            self.behind = done.is_err();
            if let Err(error) = done {
                warn!("{error:#}; tried again at the next change, in {} s at the latest", RESYNC.as_secs());
            }
        }
    }

    /// Where the program's log lines arrive, when it was loaded to write any.
    fn packet_log(&mut self) -> anyhow::Result<Option<EbpfLogger<&'static dyn log::Log>>> {
        let object = self.loaded.object.as_mut().filter(|_| self.loaded.log_level > 0);
        let logger = object.map(EbpfLogger::init).transpose();
        logger.context("cannot read the program's log")
    }
}
