//! That every packet ends in exactly one counter, against what somebody else counted: the driver.
//!
//! A veth counts the frames that it hands to its XDP program, native mode only, as `rx_queue_N_xdp_packets`
//! (`ethtool -S`), and what came of them as `..._xdp_tx`, `..._xdp_tx_errors` and `..._xdp_drops`. Not so the counters of
//! `ip -s link`: they go on where no program is attached. What must be known of them:
//!
//! * They stand still while no program is attached (as long as GRO is off, which is a veth's default), and do not start
//!   anew with the next one: a program on new maps is judged by what was added since.
//! * The driver counts a batch when it is done with it, the program each packet: while packets are under way the two
//!   differ. So they are read until the driver's counters are the same before and after the verdicts are read, and
//!   agree with them.
//! * A frame that the driver has no memory for counts as handed over, and as `..._drops`, which the error shows.
//! * A frame that arrives in the instant in which a first program is being attached may be handed over to none: tests send
//!   when the balancer is ready.
//! * They go with the interface, and they know nothing of generic mode.

use std::{
    ops::{AddAssign, Sub},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};
use lb_userspace::dataplane::{decap::Decap, kernel::Kernel, link::Links};

use super::{Bed, INTERFACE, Namespace, host::Host};
use crate::wait::wait_for;

/// How long the packets under way may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Packets by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All that reached the program.
    pub all: u64,
    /// Those that it sent back out, whether there was room for them or not.
    pub tx: u64,
    /// Those that it dropped.
    pub drop: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        *self = Self { all: self.all + more.all, tx: self.tx + more.tx, drop: self.drop + more.drop };
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, less: Self) -> Self {
        let Self { all, tx, drop } = less;
        Self { all: self.all - all, tx: self.tx - tx, drop: self.drop - drop }
    }
}

/// What the driver and what the program say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Both {
    /// The driver, of the packets since the program's counters began.
    pub driver: Counts,
    /// The program's verdicts.
    pub verdicts: Counts,
}

/// A program whose counters are compared.
#[derive(Debug)]
pub(super) struct Watched {
    role: String,
    program: Program,
    /// What the driver had counted before the program's counters began.
    before: Counts,
}

#[derive(Debug)]
enum Program {
    /// The balancer with its pin directory.
    Balancer(PathBuf),
    /// `xdp-lb decap` with its own, on [`INTERFACE`].
    Decap(PathBuf),
}

impl Watched {
    /// A balancer whose counters begin when `host`'s interface has counted nothing yet.
    pub(super) fn balancer(host: &Host, pin_dir: PathBuf) -> Self {
        let before = Counts::default();
        Self { role: host.role().to_owned(), program: Program::Balancer(pin_dir), before }
    }

    /// Takes up, before a start, that counters which are not pinned will begin anew.
    pub(super) fn starts(&mut self, host: &Host) -> Result<()> {
        if let Program::Balancer(pin_dir) = &self.program
            && !pin_dir.join("VERDICTS").exists()
        {
            self.before = driver(host.namespace(), INTERFACE)?;
        }
        Ok(())
    }

    /// The same for decap on a host, before it is first set up.
    pub(super) fn decap(host: &Host, pin_dir: PathBuf) -> Result<Self> {
        let before = driver(host.namespace(), INTERFACE)?;
        Ok(Self { role: host.role().to_owned(), program: Program::Decap(pin_dir), before })
    }

    /// What both say in a moment in which no packet comes; `None`: there is no such moment now, or nothing is pinned.
    fn look(&self, host: &Host) -> Result<Option<Both>> {
        let Some(interfaces) = self.interfaces()? else { return Ok(None) };
        let driver = || -> Result<Counts> {
            let mut sum = Counts::default();
            for interface in &interfaces {
                let counted = driver(host.namespace(), interface)?;
                sum += if interface == INTERFACE { counted - self.before } else { counted };
            }
            Ok(sum)
        };
        let before = driver()?;
        let verdicts = self.verdicts()?;
        Ok((driver()? == before).then_some(Both { driver: before, verdicts }))
    }

    /// The interfaces that carry the program; `None`: it is not there any more, nor are its counters.
    fn interfaces(&self) -> Result<Option<Vec<String>>> {
        Ok(match &self.program {
            Program::Balancer(pin_dir) if pin_dir.join("VERDICTS").exists() => {
                Some(Links::new(pin_dir).names()?)
            }
            Program::Decap(pin_dir) if pin_dir.join("decap").join(INTERFACE).exists() => {
                Some(vec![INTERFACE.to_owned()])
            }
            _ => None,
        })
    }

    fn verdicts(&self) -> Result<Counts> {
        let mut counts = Counts::default();
        let mut add = |action: &str, packets| {
            let of = |wanted| if action == wanted { packets } else { 0 };
            counts += Counts { all: packets, tx: of("tx"), drop: of("drop") };
        };
        match &self.program {
            Program::Balancer(pin_dir) => {
                for (verdict, count) in Kernel::open(pin_dir)?.verdicts()? {
                    add(verdict.action(), count.packets);
                }
            }
            Program::Decap(pin_dir) => {
                let decap = Decap::open(pin_dir, INTERFACE)?.context("decap is not whole")?;
                for (verdict, count) in decap.counters()? {
                    add(verdict.action().word(), count.packets);
                }
            }
        }
        Ok(counts)
    }

    /// Waits until driver and program agree.
    fn require(&self, host: &Host) -> Result<()> {
        let mut last = None;
        let agreed = wait_for(PATIENCE, "the driver and the verdicts to agree", || {
            if self.interfaces()?.is_none() {
                return Ok(Some(()));
            }
            last = self.look(host)?.or(last);
            Ok(last.is_some_and(|both| both.driver == both.verdicts).then_some(()))
        });
        agreed.map_err(|error| {
            let said = statistics(host.namespace(), INTERFACE).unwrap_or_default();
            anyhow!("not every packet of {} was counted once: {error:#}; {last:?}\n{said}", self.role)
        })
    }
}

impl Bed {
    /// Fails unless every packet that reached the balancer's program ended in one verdict, and likewise for each `xdp-lb
    /// decap` of [`attach_decap`](crate::ask::attach_decap), as long as they are pinned. A bed does so by itself at its
    /// end.
    pub fn require_every_packet_counted(&self) -> Result<()> {
        for watched in self.watched()?.iter() {
            watched.require(self.host(&watched.role)?)?;
        }
        Ok(())
    }

    /// What the driver and the balancer's verdicts say in a moment in which no packet comes.
    pub fn counted(&self) -> Result<Both> {
        let watched = self.watched()?;
        let balancer = watched.first().context("a bed without a balancer")?;
        wait_for(PATIENCE, "a moment without packets", || balancer.look(&self.balancer))
    }

    /// Has the packets of a decap that will be set up on a host, with this pin directory and in native mode, compared too.
    pub fn watch_decap(&self, host: &Host, pin_dir: &Path) -> Result<()> {
        let watched = Watched::decap(host, pin_dir.to_owned())?;
        self.watched()?.push(watched);
        Ok(())
    }

    fn host(&self, role: &str) -> Result<&Host> {
        let mut all = [&self.client, &self.balancer].into_iter().chain(&self.backends);
        all.find(|host| host.role() == role).with_context(|| format!("the bed has no {role}"))
    }
}

/// What the driver counted since the interface was made.
fn driver(namespace: &Namespace, interface: &str) -> Result<Counts> {
    let text = statistics(namespace, interface)?;
    let mut counts = Counts::default();
    let rows = text.lines().filter_map(|line| line.trim().split_once(": "));
    for (name, number) in rows.filter(|(name, _)| name.starts_with("rx_queue_")) {
        let number = number.parse().with_context(|| format!("{name} is no number"))?;
        let (mut all, mut tx, mut drop) = (0, 0, 0);
        match name.trim_start_matches("rx_queue_").trim_start_matches(|c: char| c.is_ascii_digit()) {
            "_xdp_packets" => all = number,
            "_xdp_tx" | "_xdp_tx_errors" => tx = number,
            "_xdp_drops" => drop = number,
            _ => {}
        }
        counts += Counts { all, tx, drop };
    }
    Ok(counts)
}

fn statistics(namespace: &Namespace, interface: &str) -> Result<String> {
    let output = Command::new("nsenter")
        .arg(format!("--net={}", namespace.path().display()))
        .args(["--", "ethtool", "-S", interface])
        .output()
        .context("cannot start ethtool")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "ethtool -S {interface} in {}: {}",
        namespace.name(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(said)
}
