//! The configuration file, read again while the daemon runs.

use super::{
    balancer::Balancer,
    commands::{Failed, Request, Write},
};
use crate::{
    audit::Who,
    config::{self, Config, Daemon, WrittenConfig, rules::Refusal},
    neighbour::{Interface, Resolver},
};
use std::path::Path;
use tracing::{error, info, warn};

/// What a reload brings beside the state.
pub(super) struct Reload {
    /// The configuration.
    pub config: Config,
    /// Its interfaces, which exist and are free.
    interfaces: Vec<Interface>,
    /// What they ask of the program.
    pub features: u32,
}

/// Reads the file, with the daemon's own paths as it was started.
pub(super) fn new_config(file: &Path, running: &Daemon) -> Result<Config, Failed> {
    let refuse = |text: String| Failed::Refused(Refusal(text));
    let mut config = config::load(file).map_err(|error| refuse(error.to_string()))?;
    config.daemon.pin_dir.clone_from(&running.pin_dir);
    config.daemon.api.clone_from(&running.api);
    let new = &config.daemon;
    let fixed = [
        ("state_dir", new.state_dir != running.state_dir),
        ("hash_key", new.hash_key != running.hash_key),
        ("api_tls", new.api_tls != running.api_tls),
        ("metrics", new.metrics != running.metrics),
        ("log", new.log != running.log),
        ("flows", new.tracking.flows != running.tracking.flows),
        ("learn", new.tracking.learn != running.tracking.learn),
        ("learn_udp", new.tracking.learn_udp != running.tracking.learn_udp),
        ("idle", new.tracking.idle != running.tracking.idle),
    ];
    let changed: Vec<_> = fixed.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect();
    if changed.is_empty() {
        return Ok(config);
    }
    Err(refuse(format!(
        "{}: {} changed in [daemon], which a reload cannot take over; restart the daemon for it (packets flow on meanwhile), or change it back",
        file.display(),
        changed.join(", ")
    )))
}

impl Reload {
    /// Looks at the interfaces.
    pub async fn prepare(resolver: &Resolver, config: Config) -> Result<Self, Failed> {
        let refuse = |error: anyhow::Error| Failed::Refused(Refusal(format!("{error:#}")));
        let interfaces = super::interfaces(resolver, &config).await.map_err(refuse)?;
        let features = super::interface_features(resolver, &config).await.map_err(refuse)?;
        Ok(Self { config, interfaces, features })
    }

    /// Looks at the interfaces again, which may run another program by now.
    pub async fn look_again(&mut self, resolver: &Resolver) -> anyhow::Result<()> {
        self.interfaces = super::interfaces(resolver, &self.config).await?;
        Ok(())
    }
}

impl Balancer {
    /// What else than the state the new configuration asks for: to be attached to its interfaces.
    pub(super) fn take_over(&mut self, reload: Reload) -> anyhow::Result<()> {
        let Reload { config, interfaces, .. } = reload;
        self.daemon = config.daemon.clone();
        self.attach(&config, &interfaces)
    }

    /// What SIGHUP asks for. The daemon goes on as it was when the file cannot be taken over.
    pub async fn reload(&mut self, resolver: &Resolver) {
        let who = Who::Process { uid: nix::unistd::getuid().as_raw(), pid: nix::unistd::getpid().as_raw() };
        let request = Request { write: Write::Reload, dry_run: false, if_match: None, who };
        match self.write(resolver, request).await {
            Ok(done) => {
                for note in done.notes {
                    warn!("{note}");
                }
                info!("reloaded {}: {} slots moved", self.file.display(), done.report.moved());
            }
            Err(failed) => {
                for line in failed.to_string().lines() {
                    error!("reload: {line}");
                }
            }
        }
    }

    /// The configuration in force.
    pub(super) fn in_force(&self) -> Config {
        Config { daemon: self.daemon.clone(), services: self.state.services().to_vec() }
    }

    /// Where the file, as it is now, says something else.
    pub(super) fn differences(&self) -> Result<Vec<super::commands::Difference>, Failed> {
        let refuse = |error: config::ConfigError| Failed::Refused(Refusal(error.to_string()));
        let file = config::load(&self.file).map_err(refuse)?;
        Ok(super::differences::between(&WrittenConfig::from(&file), &WrittenConfig::from(&self.in_force())))
    }
}
