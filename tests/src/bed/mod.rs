//! The bed: a client, a balancer and backends in namespaces of their own, on one layer-2 switch.
//!
//! ```text
//!   client ──┐            ┌── backend-1   VIPs on lo, never announced
//!            ├─ br0 (switch)
//! balancer ──┘            └── backend-2 ...
//! ```
//!
//! Every node's interface is called `eth0`; the switch's ends of the veth pairs carry the nodes' names, and an XDP
//! program that passes everything: a veth takes `XDP_TX` from its peer only then. The client routes the VIPs to the
//! balancer, replies go straight from a backend to the client. Without a balancer the VIPs answer nobody.
//!
//! At its end a bed also checks that every packet which reached its balancer ended in one verdict (see `counted.rs`).
//!
//! Dropping a [`Bed`] removes all of it, also while a panic unwinds; what a killed process left is removed by the
//! next process that builds a bed.

mod bpffs;
mod builder;
mod cleanup;
mod counted;
mod host;
mod http;
mod names;
mod namespace;
mod pass;
mod pins;
mod process;
mod server;
mod silent;

use std::{
    env, fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};

pub use self::{
    builder::BedBuilder,
    cleanup::{existing, sweep},
    counted::{Both, Counts},
    host::Host,
    http::HttpServer,
    names::BedName,
    namespace::{Namespace, run, shown},
    pass::{Passing, attach_pass},
    pins::Pins,
    process::Process,
    server::Nginx,
    silent::Silent,
};
use crate::wait::wait_for;

/// The name of every node's interface inside its namespace.
pub const INTERFACE: &str = "eth0";

/// How long the balancer may take from its start to the attached program.
const BALANCER_DEADLINE: Duration = Duration::from_secs(20);

/// A built bed. Keep it alive for as long as the test runs.
#[derive(Debug)]
pub struct Bed {
    // Fields are dropped in this order: the switch's programs before the names of the whole bed.
    _passing: Passing,
    switch: Namespace,
    client: Host,
    balancer: Host,
    backends: Vec<Host>,
    vips: Vec<IpAddr>,
    /// Programs whose counters are compared with the driver's; the balancer's first.
    watched: Mutex<Vec<counted::Watched>>,
    /// Whether the bed compares them at its end.
    compares: bool,
    cleanup: cleanup::Cleanup,
}

impl Drop for Bed {
    #[expect(clippy::panic, reason = "a test whose packets were not all counted fails")]
    fn drop(&mut self) {
        if !self.compares || thread::panicking() {
            return;
        }
        // The fields are dropped after this, also while it panics.
        if let Err(error) = self.require_every_packet_counted() {
            panic!("bed {}: {error:#}", self.name());
        }
    }
}

impl Bed {
    /// A bed to be: one backend and the VIPs 192.0.2.10 and `2001:db8::10`, unless told otherwise.
    #[must_use]
    pub fn builder() -> BedBuilder {
        BedBuilder::default()
    }

    /// The bed's name, with which the names of everything in it begin.
    #[must_use]
    pub fn name(&self) -> &BedName {
        &self.cleanup.0
    }

    /// The client, 198.18.0.1 and `2001:db8:18::1`.
    #[must_use]
    pub fn client(&self) -> &Host {
        &self.client
    }

    /// The balancer, 198.18.0.2 and `2001:db8:18::2`.
    #[must_use]
    pub fn balancer(&self) -> &Host {
        &self.balancer
    }

    /// All backends: 198.18.0.11 and `2001:db8:18::11`, then upwards.
    #[must_use]
    pub fn backends(&self) -> &[Host] {
        &self.backends
    }

    /// The backend with this index, from 0.
    ///
    /// # Panics
    /// When the bed has fewer backends.
    #[must_use]
    pub fn backend(&self, index: usize) -> &Host {
        &self.backends[index]
    }

    /// The namespace of the switch: the bridge `br0` with a port named after each node.
    #[must_use]
    pub fn switch(&self) -> &Namespace {
        &self.switch
    }

    /// The virtual addresses.
    #[must_use]
    pub fn vips(&self) -> &[IpAddr] {
        &self.vips
    }

    /// The first virtual address of IPv4 (`v6` false) or IPv6.
    pub fn vip(&self, v6: bool) -> Result<IpAddr> {
        let family = if v6 { "IPv6" } else { "IPv4" };
        self.vips
            .iter()
            .copied()
            .find(|vip| vip.is_ipv6() == v6)
            .with_context(|| format!("the bed has no VIP of {family}"))
    }

    /// The bed's own directory for files; it goes with the bed.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.name().directory()
    }

    /// The balancer's pin directory in the BPF file system; it goes with the bed. The balancer makes it.
    #[must_use]
    pub fn pin_dir(&self) -> PathBuf {
        self.name().pins().join("xdp-lb")
    }

    /// The `[daemon]` table of a balancer's configuration that keeps to this bed.
    #[must_use]
    pub fn daemon_table(&self) -> String {
        format!(
            "[daemon]\ninterfaces = [\"{INTERFACE}\"]\nstate_dir = \"{}\"\npin_dir = \"{}\"\napi = \"{}\"\n",
            self.directory().join("state").display(),
            self.pin_dir().display(),
            self.api().display(),
        )
    }

    /// The socket of the balancer's API.
    #[must_use]
    pub fn api(&self) -> PathBuf {
        self.directory().join("api.sock")
    }

    /// The project's command, to be run in the balancer's namespace on the bed's pin directory.
    pub fn xdp_lb(&self) -> Result<Command> {
        let mut command = self.balancer.command(built("xdp-lb")?);
        command.arg("--pin-dir").arg(self.pin_dir()).arg("--api").arg(self.api());
        Ok(command)
    }

    /// Starts the balancer as its operator would, `xdp-lb run -c FILE`, and waits until its program is attached.
    ///
    /// `config` is the whole file, [`Bed::daemon_table`] included. Ready means that the link of [`INTERFACE`] is
    /// pinned; a daemon that adopts the pins of an earlier one is therefore called ready at once.
    pub fn start_balancer(&self, config: &str) -> Result<Process> {
        if let Some(balancer) = self.watched()?.first_mut() {
            balancer.starts(&self.balancer)?;
        }
        let mut process = Process::spawn(
            self.xdp_lb()?.arg("run").arg("-c").arg(self.write_config(config)?),
            &self.directory().join("xdp-lb.log"),
        )?;
        let link = self.pin_dir().join("links").join(INTERFACE);
        let what = format!("{}, the pinned link", link.display());
        let ready = wait_for(BALANCER_DEADLINE, &what, || {
            process.must_run()?;
            Ok(link.exists().then_some(()))
        });
        ready.with_context(|| format!("the balancer is not ready; it wrote:\n{}", process.log()))?;
        Ok(process)
    }

    fn watched(&self) -> Result<MutexGuard<'_, Vec<counted::Watched>>> {
        self.watched.lock().map_err(|_| anyhow!("a thread panicked while it compared counters"))
    }

    /// Where [`Bed::start_balancer`] writes the configuration.
    #[must_use]
    pub fn config_file(&self) -> PathBuf {
        self.directory().join("xdp-lb.toml")
    }

    /// Writes the balancer's configuration, for a reload for example, and gives the file's path.
    pub fn write_config(&self, config: &str) -> Result<PathBuf> {
        let file = self.config_file();
        fs::write(&file, config).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }
}

/// A binary of this project, from the same build as the program that runs now.
///
/// Cargo puts tests into `deps/` beside the binaries.
pub fn built(name: &str) -> Result<PathBuf> {
    let this = env::current_exe().context("cannot tell where this program lies")?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    let Some(path) = found else {
        let folder = this.parent().unwrap_or(Path::new("."));
        bail!("no {name} beside {}: build it with `cargo xtask build`", folder.display());
    };
    Ok(path)
}
