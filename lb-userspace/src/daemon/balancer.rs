//! The desired state and the maps that follow it: the one place where they are changed.

use super::{
    RESYNC,
    commands::{Command, Failed, InForce},
    events::Events,
    kept::Records,
    looks::Looked,
    moves::{Cause, Moves},
    passive::Samples,
    standing,
    vitals::Vitals,
    weights::Governors,
};
use crate::{
    config::{Config, Daemon, XdpMode},
    dataplane::{
        Dataplane as _, Installed,
        link::Attached,
        loader::{self, Adopted, Loaded, Specialisation},
    },
    metrics::About,
    mtu,
    neighbour::{Interface, NextHop, Resolver},
    plan::{self, Plan, Settled},
    routing,
    state::{Event, State},
    tracking::{Now, Progress, Sweep},
    view,
};
use anyhow::Context as _;
use aya_log::EbpfLogger;
use lb_common::{hash::expand_key, slot::BackendIndex};
use nix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::{debug, info, warn};

/// How long a change waits for a new backend to answer ARP or neighbour discovery.
pub(super) const INTRODUCTION: Duration = Duration::from_secs(1);

/// How often slow starts go on.
const SLOW_START: Duration = Duration::from_secs(1);

/// `CLOCK_MONOTONIC`.
pub(super) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// The desired state and the maps that follow it.
pub(super) struct Balancer {
    pub(super) state: State,
    pub(super) loaded: Loaded,
    sweep: Sweep,
    /// What needs no plan.
    settled: Settled,
    /// Ways that are too narrow, as far as they were told.
    narrow: mtu::Warnings,
    /// What the program was made for.
    pub(super) specialisation: Specialisation,
    /// The daemon's settings, as they are in force.
    pub(super) daemon: Daemon,
    /// The configuration file.
    pub(super) file: PathBuf,
    /// What is kept of changes.
    pub(super) records: Records,
    /// Where others are told of changes.
    pub(super) events: Events,
    /// The health checks.
    pub(super) vitals: Vitals,
    /// Weights that follow latency.
    pub(super) governors: Governors,
    /// What the program counts of nat's latencies.
    pub(super) samples: Samples,
    /// Slots that moved.
    pub(super) moves: Moves,
    /// When slow starts went on last.
    advanced: Duration,
    /// Map writes that failed, and writes that were carried out.
    failures: u64,
    pub(super) changes: u64,
    /// The program was replaced, and the log of the old one ended with it.
    replaced: bool,
    /// The last attempt to bring the maps to the desired state failed.
    behind: bool,
    /// The kernel has no MAC address of some backend, whether it once had or not.
    pub silent: bool,
}

impl Balancer {
    pub fn new(
        (loaded, specialisation): (Loaded, Specialisation),
        state: State,
        narrow: mtu::Warnings,
        (daemon, file): (Daemon, PathBuf),
        records: Records,
        events: Events,
    ) -> Self {
        let sweep = Sweep::new(daemon.tracking, expand_key(specialisation.hash_key));
        Self {
            state,
            loaded,
            sweep,
            settled: Settled::default(),
            narrow,
            specialisation,
            daemon,
            file,
            records,
            events,
            vitals: Vitals::new(),
            governors: Governors::default(),
            samples: Samples::default(),
            moves: Moves::default(),
            advanced: Duration::ZERO,
            failures: 0,
            changes: 0,
            replaced: false,
            behind: false,
            silent: true,
        }
    }

    /// Brings the maps to the desired state, then attaches.
    pub fn start(&mut self, config: &Config, interfaces: &[Interface]) -> anyhow::Result<()> {
        match self.loaded.adopted {
            Adopted::Everything => {
                info!("adopted program and maps under {}", config.daemon.pin_dir.display());
            }
            Adopted::Maps => {
                info!("adopted the maps under {}, with a new program", config.daemon.pin_dir.display());
            }
            Adopted::Nothing => info!("loaded; pinned under {}", config.daemon.pin_dir.display()),
        }
        if self.records.is_kept() {
            // Changes that have ended, because the configuration says something else now, end for good.
            self.records.keep(&self.state)?;
        }
        let installed = self.installed()?;
        self.state.adopt_health(&installed);
        self.state.adopt_factors(&installed);
        self.reconcile(Some(Cause::Operator))?;
        self.attach(config, interfaces)
    }

    /// Attaches to the interfaces of the configuration.
    pub(super) fn attach(&mut self, config: &Config, interfaces: &[Interface]) -> anyhow::Result<()> {
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
    pub fn undo(&self, pin_dir: &Path) {
        if self.loaded.adopted == Adopted::Nothing
            && let Err(error) = loader::remove_all(pin_dir)
        {
            warn!("{error}");
        }
    }

    /// Plans from what the maps hold to what they should hold, and carries it out.
    fn reconcile(&mut self, cause: Option<Cause>) -> anyhow::Result<()> {
        let plan = self.plan(&self.state, None)?;
        self.carry_out(&plan, cause)
    }

    /// `about`: the service that the report is wanted of, whether anything is to be done for it or not.
    pub(super) fn plan(&self, state: &State, about: Option<&str>) -> anyhow::Result<Plan> {
        let desired = state.desired();
        let mut settled = self.settled.names(&desired);
        if let Some(about) = about {
            settled.remove(about);
        }
        let installed = self.loaded.kernel.installed_without(&settled)?;
        let now = Now::new(now()).seconds();
        Ok(plan::plan_beside(&installed, &desired, &settled, self.sweep.census(), now)?)
    }

    /// Carries a plan out. When the maps fail on the way, what is missing is planned again at the next change. `cause`: why
    /// slots move; `None`: they waited.
    pub(super) fn carry_out(&mut self, plan: &Plan, cause: Option<Cause>) -> anyhow::Result<()> {
        self.tell_panics();
        let done = plan.operations.iter().try_for_each(|operation| self.loaded.kernel.apply(operation));
        self.behind = done.is_err();
        self.failures += u64::from(self.behind);
        let desired = self.state.desired();
        let skipped = self.settled.names(&desired);
        let installed = self.loaded.kernel.installed_without(&skipped)?;
        self.sweep.install_beside(&installed, &skipped);
        if self.behind {
            self.settled.forget();
        } else {
            self.settled.carried_out(plan, desired);
        }
        done?;
        self.set_sampling(&installed)?;
        self.moves.record(&plan.report, cause);
        self.state.carried_out();
        if !plan.operations.is_empty() {
            info!("{} changes applied, {} slots moved", plan.operations.len(), plan.report.moved());
        }
        Ok(())
    }

    pub(super) fn installed(&self) -> anyhow::Result<Installed> {
        Ok(self.loaded.kernel.installed()?)
    }

    /// Connections that a backend was given so far; 0 where they cannot be read.
    pub(super) fn connections(&self, index: BackendIndex) -> u64 {
        self.loaded.kernel.backend_stats(index).map_or(0, |stats| stats.connections)
    }

    pub(super) fn reconcile_or_warn(&mut self, cause: Option<Cause>) {
        if let Err(error) = self.reconcile(cause) {
            self.behind = true;
            self.events.tell("behind", "", json!(format!("{error:#}")));
            warn!("{error:#}; tried again at the next change, in {} s at the latest", RESYNC.as_secs());
        }
    }

    /// Goes on with the sweep of the flow tables, lets slots advance, and plans again where that allows more.
    pub fn sweep(&mut self) {
        let now = now();
        self.rise(now);
        self.steer(now);
        let expired = self.state.expire(now);
        let swept = self.sweep.tick(&mut self.loaded.kernel, Now::new(now));
        let progress = match swept {
            Ok(progress) => progress,
            Err(error) => {
                warn!("{error}; flows are remembered for longer than they need until this works");
                Progress::default()
            }
        };
        let applied =
            progress.operations.iter().try_for_each(|operation| self.loaded.kernel.apply(operation));
        if let Err(error) = applied {
            self.failures += 1;
            warn!("{error}; the slots stay as they are for another pass");
            if let Ok(installed) = self.installed() {
                self.sweep.install(&installed);
            }
        }
        if expired || progress.settled {
            debug!(
                "planning again: deadlines passed: {expired}, slots or backends settled: {}",
                progress.settled
            );
            self.reconcile_or_warn(expired.then_some(Cause::Operator));
            self.events.tell("settled", "", json!({ "deadlines_passed": expired }));
        }
    }

    /// Answers a request.
    pub async fn answer(&mut self, resolver: &Resolver, command: Command) {
        // Whoever asked and went away needs no answer.
        match command {
            Command::Write { request, reply } => {
                let _ = reply.send(self.write(resolver, request).await);
            }
            Command::View { reply } => {
                let report = view::of(&self.loaded.kernel);
                let report = report.map(|report| {
                    standing::told(report, &self.state.desired(), &self.vitals, &self.governors, |index| {
                        self.sweep.census().flows(index)
                    })
                });
                let _ = reply.send(report.map_err(|error| Failed::Machine(error.to_string())));
            }
            Command::About { reply } => {
                let _ = reply.send(Ok(self.about()));
            }
            Command::InForce { reply } => {
                let tags = self.state.services().iter();
                let tags = tags.filter_map(|have| Some((have.name.clone(), self.state.tag(&have.name)?)));
                let config = (&self.in_force()).into();
                let in_force = InForce { config, tag: self.state.tag_of_all(), tags: tags.collect() };
                let _ = reply.send(Ok(in_force));
            }
            Command::Differences { reply } => {
                let _ = reply.send(self.differences());
            }
            Command::Health { reply } => {
                let _ = reply.send(Ok(self.shown()));
            }
            Command::Explain { service, reply } => {
                let lines = self.explain(&service, now());
                let lines = lines.ok_or_else(|| Failed::Missing(self.state.no_service(&service)));
                let _ = reply.send(lines);
            }
            Command::Tracking { reply } => {
                let _ = reply.send(Ok(self.sweep.figures().clone()));
            }
        }
    }

    /// Has slow starts go on.
    fn rise(&mut self, now: Duration) {
        if now < self.advanced + SLOW_START {
            return;
        }
        self.advanced = now;
        if self.state.advance(now) {
            self.reconcile_or_warn(Some(Cause::Health));
        }
    }

    /// Follows what changed of routes and neighbours.
    pub fn follow(&mut self, looked: Looked) {
        let Looked { answers } = looked;
        let known: Vec<NextHop> =
            answers.iter().filter_map(|(_, answer)| answer.as_ref().ok().cloned()).collect();
        self.silent = known.iter().any(|next_hop| next_hop.mac.is_none());
        for line in self.narrow.news(self.state.services(), &known) {
            warn!("{line}");
        }
        let mut changed = false;
        for (address, answer) in answers {
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
            self.reconcile_or_warn(Some(Cause::Network));
        }
    }

    fn about(&self) -> About {
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            build: loader::build(),
            abi_version: lb_common::ABI_VERSION,
            flow_table_entries: self.loaded.kernel.sizes().flows,
            map_write_failures: self.failures,
            changes: self.changes,
            behind: self.behind,
        }
    }

    /// Replaces the program on every link; the maps stay.
    pub(super) fn respecialise(&mut self, wanted: Specialisation) -> anyhow::Result<()> {
        let sizes = self.loaded.kernel.sizes();
        self.loaded = loader::load(&self.daemon.pin_dir, sizes, wanted)?;
        self.specialisation = wanted;
        self.replaced = true;
        Ok(())
    }

    /// Whether the program was replaced since this was last asked.
    pub fn was_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    /// Where the program's log lines arrive, when it was loaded to write any.
    pub fn packet_log(&mut self) -> anyhow::Result<Option<EbpfLogger<&'static dyn log::Log>>> {
        let object = self.loaded.object.as_mut().filter(|_| self.loaded.log_level > 0);
        let logger = object.map(EbpfLogger::init).transpose();
        logger.context("cannot read the program's log")
    }
}
