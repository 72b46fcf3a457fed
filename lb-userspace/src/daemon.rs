//! The daemon: its boot reads top to bottom in [`run`]; then it follows routes and neighbours until it is told to end.

mod balancer;
pub mod commands;
mod differences;
pub mod events;
mod kept;
mod looks;
mod memory;
pub mod moves;
mod passive;
mod privileges;
mod reload;
mod standing;
mod supervisor;
pub mod vitals;
mod weights;
mod writes;

use crate::{
    api::{self, Api},
    config::{Config, HashKey, Service},
    dataplane::loader::{self, Loaded, Specialisation},
    hash_key, health, mtu,
    neighbour::{Interface, NextHop, REFRESH_INTERVAL, ResolveError, Resolver, Watch},
    state::{Event, State, features_for_mtu, sizes_of},
    state_dir::StateDir,
};
use anyhow::Context as _;
use aya_log::EbpfLogger;
use balancer::Balancer;
use events::Events;
use kept::Records;
use looks::Looks;
pub use privileges::KEPT;
use std::{path::PathBuf, time::Duration};
use supervisor::Supervisor;
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
/// Between two steps of the sweep, of at most [`crate::tracking::AT_MOST`] entries each.
const SWEEP: Duration = Duration::from_millis(100);
/// How often the program's log lines are fetched, when there are any.
const READ_LOG: Duration = Duration::from_millis(100);

/// What the command line gives.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: Config,
    /// Where it was read, for a reload.
    pub file: PathBuf,
    /// Instead of the configuration's `pin_dir`.
    pub pin_dir: Option<PathBuf>,
    /// Instead of the configuration's `api`.
    pub api: Option<PathBuf>,
    /// Whether the program logs a line for every packet.
    pub log_packets: bool,
}

/// Runs the daemon until SIGTERM or SIGINT. The program stays attached: packets flow on.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let mut config = options.config;
    if let Some(pin_dir) = options.pin_dir {
        config.daemon.pin_dir = pin_dir;
    }
    if let Some(api) = options.api {
        config.daemon.api = api;
    }
    loader::preflight()?;
    let mut ended = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut hung_up = signal(SignalKind::hangup())?;
    let mut supervisor = Supervisor::new();
    let resolver = Resolver::new()?;
    let mut watch = Watch::new()?;
    let mut narrow = mtu::Warnings::new(&interfaces(&resolver, &config).await?);

    let mut state_dir = StateDir::lock(&config.daemon.state_dir)?;
    let mut state = State::default();
    state.handle(Event::Configured(config.clone()));
    kept::restore(&config.daemon.state_dir, &mut state)?;
    // What cannot be checked is told before anything is loaded.
    let targets = health::target::targets(state.services())?;
    resolve_first(&resolver, &mut state, &mut narrow).await?;

    let socket = api::socket::bind(&config.daemon.api).await?;
    let tls = match &config.daemon.api_tls {
        Some(tls) => Some(api::tls::bind(tls).await?),
        None => None,
    };
    let metrics = match config.daemon.metrics {
        Some(address) => Some(api::metrics::bind(address).await?),
        None => None,
    };
    let features = state.features() | interface_features(&resolver, &config).await?;
    let loaded = load(&config, state.services(), features, options.log_packets)?;
    let events = Events::default();
    let (commands, mut asked) = commands::channel(events.clone());
    let records = Records::open(&config.daemon.state_dir)?;
    let settings = (config.daemon.clone(), options.file);
    let mut balancer = Balancer::new(loaded, state, narrow, settings, records, events);
    // Again, because the links that were pinned may run a new program by now.
    let interfaces = interfaces(&resolver, &config).await;
    let interfaces = interfaces.inspect_err(|_| balancer.undo(&config.daemon.pin_dir))?;
    balancer.start(&config, &interfaces).inspect_err(|_| balancer.undo(&config.daemon.pin_dir))?;
    state_dir.keep();
    // Before anything else runs: threads that were started earlier would keep what they have.
    privileges::drop_others()?;
    let mut packet_log = balancer.packet_log()?;
    let mut checks = balancer.begin_checks(targets);
    let mut looks = Looks::new(&resolver);
    let _metrics = metrics.map(|listener| api::metrics::Metrics::serve(listener, commands.clone()));
    let _api_tls = tls.map(|listener| Api::serve_tls(listener, commands.clone()));
    let _api = Api::serve(socket, commands);
    memory::trim();
    info!("ready");
    Supervisor::ready();

    let mut resync = interval(RESYNC);
    let mut read_log = interval(READ_LOG);
    let mut retry = interval(RETRY);
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ended.recv() => break,
            _ = interrupted.recv() => break,
            Some(event) = checks.recv() => balancer.hear(event, &mut checks),
            _ = watch.changed() => looks.want(false, || balancer.state.addresses()),
            looked = looks.next() => {
                balancer.follow(looked);
                looks.again(|| balancer.state.addresses());
            }
            _ = read_log.tick(), if packet_log.is_some() => packet_log.iter_mut().for_each(EbpfLogger::flush),
            Some(command) = asked.recv() => balancer.answer(&resolver, command).await,
            _ = hung_up.recv() => {
                Supervisor::reloading();
                balancer.reload(&resolver).await;
                Supervisor::ready();
            }
            () = supervisor.due() => Supervisor::alive(),
            _ = sweep.tick() => balancer.sweep(),
            _ = resync.tick() => looks.want(true, || balancer.state.addresses()),
            _ = retry.tick(), if balancer.silent => looks.want(true, || balancer.state.addresses()),
        }
        if balancer.was_replaced() {
            packet_log = balancer.packet_log()?;
        }
    }
    Supervisor::stopping();
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

/// Finds the way to every backend. A backend without a route, or with a way too narrow for its service, is an error; one
/// that does not answer is not.
async fn resolve_first(
    resolver: &Resolver,
    state: &mut State,
    narrow: &mut mtu::Warnings,
) -> anyhow::Result<()> {
    let addresses = state.addresses();
    let answers = resolver.resolve_all(&addresses, FIRST_RESOLUTION).await;
    let known: Vec<NextHop> = answers.iter().flatten().cloned().collect();
    for (address, answer) in addresses.into_iter().zip(answers) {
        let way = answer.map_err(|error| blame(state, address, &error));
        let way = way.and_then(|next_hop| check_way(state, address, &next_hop).map(|()| next_hop));
        match way {
            Ok(next_hop) => drop(state.handle(Event::NextHop(address, next_hop))),
            // It was accepted once, and cannot be mended in the file.
            Err(error) if !state.is_configured(address) => warn!("{error}; it gets no connections"),
            Err(error) => return Err(error),
        }
    }
    for line in narrow.news(state.services(), &known) {
        warn!("{line}");
    }
    for backend in state.unresolved() {
        warn!(
            "backend {backend} does not answer ARP or neighbour discovery; it gets no connections until it does"
        );
    }
    Ok(())
}

/// That packets can take the way in the forwarding mode of the backend's service.
fn check_way(state: &State, address: std::net::IpAddr, next_hop: &NextHop) -> anyhow::Result<()> {
    if let Some(gateway) = next_hop.gateway.filter(|_| state.must_be_on_link(address)) {
        anyhow::bail!(
            "backend {} is behind the gateway {gateway}, but forwarding \"l2-dsr\" reaches only backends on the balancer's own link; move it there, or use \"ipip\", \"gue\" or \"nat\"",
            state.name_of(address)
        );
    }
    match mtu::too_narrow(state.services(), std::slice::from_ref(next_hop)).into_iter().next() {
        Some(line) => Err(anyhow::Error::msg(line)),
        None => Ok(()),
    }
}

fn blame(state: &State, address: std::net::IpAddr, error: &ResolveError) -> anyhow::Error {
    anyhow::anyhow!("backend {}: {error}", state.name_of(address))
}

fn load(
    config: &Config,
    services: &[Service],
    features: u32,
    log_packets: bool,
) -> anyhow::Result<(Loaded, Specialisation)> {
    let daemon = &config.daemon;
    let pinned = loader::pinned_meta(&daemon.pin_dir)?;
    let hash_key =
        hash_key::choose(daemon.hash_key, pinned.map(|meta| HashKey(meta.hash_key)), &daemon.state_dir)?;
    let log_level = if log_packets { aya_log::Level::Debug as u8 } else { 0 };
    let wanted =
        Specialisation { features, log_level, answer_rate: daemon.answer_rate, hash_key: hash_key.0 };
    let sizes = sizes_of(services, daemon.tracking.flows);
    Ok((loader::load(&daemon.pin_dir, sizes, wanted)?, wanted))
}
