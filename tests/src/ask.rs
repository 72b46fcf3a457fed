//! Asking the balancer and the kernel what they know: `xdp-lb --json`, `bpftool -j` and the pinned maps.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lb_common::slot::BackendIndex;
use lb_userspace::dataplane::{Dataplane as _, Installed, kernel::Kernel};
use serde_json::Value;

use crate::{
    bed::{Bed, Host, INTERFACE, Process, built, shown},
    wait::wait_for,
};

/// How long a daemon may take until it says that it is ready.
const READY: Duration = Duration::from_secs(30);

/// Runs a command that must succeed and gives what it wrote.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", shown(command), output.status, said.trim());
    }
    Ok(output)
}

/// Runs a command that must succeed and gives its standard output.
pub fn text(command: &mut Command) -> Result<String> {
    Ok(String::from_utf8_lossy(&output(command)?.stdout).into_owned())
}

/// Runs a command that writes JSON.
pub fn value(command: &mut Command) -> Result<Value> {
    let text = text(command)?;
    serde_json::from_str(&text).with_context(|| format!("{} gave no JSON: {text}", shown(command)))
}

/// What `xdp-lb ARGS --json` says.
pub fn json(bed: &Bed, args: &[&str]) -> Result<Value> {
    value(bed.xdp_lb()?.args(args).arg("--json"))
}

/// The row of a service's backend in `xdp-lb stats --json`.
pub fn backend(bed: &Bed, service: &str, backend: &str) -> Result<Value> {
    let stats = json(bed, &["stats"])?;
    row(&stats["backends"], &[("service", service), ("backend", backend)]).cloned()
}

/// Packets that the balancer counted under a verdict's reason; of all forwarded ones for `forwarded`.
pub fn counted(bed: &Bed, reason: &str) -> Result<u64> {
    let stats = json(bed, &["stats"])?;
    let rows = stats["verdicts"].as_array().into_iter().flatten().filter(|row| row["reason"] == reason);
    rows.map(|row| number(row, "packets")).sum()
}

/// The row of an array that has all of these fields.
pub fn row<'v>(rows: &'v Value, fields: &[(&str, &str)]) -> Result<&'v Value> {
    let mut found = rows.as_array().into_iter().flatten();
    found
        .find(|row| fields.iter().all(|(name, value)| row[*name] == *value))
        .with_context(|| format!("there is no row with {fields:?} in {rows}"))
}

/// The number that a row has in a field.
pub fn number(row: &Value, field: &str) -> Result<u64> {
    row[field].as_u64().with_context(|| format!("there is no number `{field}` in {row}"))
}

/// `xdp-lb decap` on a backend's interface, for all VIPs of the bed, with a pin directory of the backend's own.
pub fn attach_decap(bed: &Bed, host: &Host) -> Result<()> {
    bed.watch_decap(host, &decap_pins(bed, host))?;
    let mut command = decap(bed, host)?;
    command.arg("--vip").args(bed.vips().iter().map(ToString::to_string));
    output(&mut command).map(drop)
}

/// Packets that a backend's decap counted under a verdict's reason.
pub fn decapsulated(bed: &Bed, host: &Host, reason: &str) -> Result<u64> {
    let answer = value(decap(bed, host)?.arg("--json"))?;
    number(row(&answer["verdicts"], &[("reason", reason)])?, "packets")
}

fn decap(bed: &Bed, host: &Host) -> Result<Command> {
    let mut command = host.command(built("xdp-lb")?);
    command.arg("--pin-dir").arg(decap_pins(bed, host));
    command.args(["decap", "--iface", INTERFACE]);
    Ok(command)
}

fn decap_pins(bed: &Bed, host: &Host) -> PathBuf {
    bed.name().pins().join(host.role())
}

/// What bpftool shows of a pinned `prog`, `map` or `link`.
pub fn pinned(kind: &str, pin: &Path) -> Result<Value> {
    value(Command::new("bpftool").args(["-j", kind, "show", "pinned"]).arg(pin))
}

/// What bpftool shows of all entries of one of the balancer's maps.
pub fn dump(bed: &Bed, map: &str) -> Result<Value> {
    let pin = bed.pin_dir().join(map);
    value(Command::new("bpftool").args(["-j", "map", "dump", "pinned"]).arg(pin))
}

/// The sum over the CPUs of one field of a per-CPU array's entry in a [`dump`], by the names that BTF gave it.
pub fn sum(dump: &Value, index: u64, field: &str) -> Result<u64> {
    let mut entries = dump.as_array().into_iter().flatten();
    let entry = entries.find(|entry| entry["formatted"]["key"] == index).context("no such entry")?;
    let values = entry["formatted"]["values"].as_array().filter(|values| !values.is_empty());
    values.context("no values")?.iter().map(|value| number(&value["value"], field)).sum()
}

/// The kernel's number of the bed's pinned program.
pub fn program_id(bed: &Bed) -> Result<u64> {
    number(&pinned("prog", &bed.pin_dir().join("program"))?, "id")
}

/// The kernel's number of the link that is pinned for an interface.
pub fn link_id(bed: &Bed, interface: &str) -> Result<u64> {
    number(&pinned("link", &bed.pin_dir().join("links").join(interface))?, "id")
}

/// All that the bed's pinned maps hold.
pub fn installed(bed: &Bed) -> Result<Installed> {
    Ok(Kernel::open(&bed.pin_dir())?.installed()?)
}

/// The backend that each slot of a service names.
pub fn slots(bed: &Bed, service: &str) -> Result<Vec<BackendIndex>> {
    let services = installed(bed)?.services;
    let service = services.into_iter().find(|have| have.name == service).context("no such service")?;
    Ok(service.slots.into_iter().map(|slot| slot.backend).collect())
}

/// How many slots of each backend there are in a service, in the order of the backends' names.
pub fn shares(bed: &Bed, service: &str) -> Result<Vec<u64>> {
    let rows = json(bed, &["backend", "list", service])?;
    rows.as_array().into_iter().flatten().map(|row| number(row, "slots")).collect()
}

/// How many entries of two tables differ.
#[must_use]
pub fn moved(before: &[BackendIndex], after: &[BackendIndex]) -> usize {
    before.iter().zip(after).filter(|(a, b)| a != b).count()
}

/// As [`start`], and waits until every backend is resolved.
pub fn start_resolved(bed: &Bed, config: &str) -> Result<Process> {
    let (mut process, _) = start(bed, config)?;
    wait_for(READY, "every backend to be resolved", || {
        process.must_run()?;
        let list = json(bed, &["backend", "list"])?;
        let resolved = |row: &Value| row["state"] == "up" && row["slots"].as_u64() > Some(0);
        Ok(list.as_array().is_some_and(|rows| rows.iter().all(resolved)).then_some(()))
    })?;
    Ok(process)
}

/// As [`Bed::start_balancer`], and waits until this daemon, not an earlier one, says that it is ready.
///
/// Gives the process and what it wrote until then. Needs the configuration's `log` to be `info`, the default.
pub fn start(bed: &Bed, config: &str) -> Result<(Process, String)> {
    let log = bed.directory().join("xdp-lb.log");
    let earlier = std::fs::metadata(log).map_or(0, |file| file.len() as usize);
    let mut process = bed.start_balancer(config)?;
    let said = wait_for(READY, "the daemon to be ready", || {
        let log = process.log();
        let said = log.get(earlier..).unwrap_or_default();
        if said.contains(" ready\n") {
            return Ok(Some(said.to_owned()));
        }
        process.must_run().map(|()| None)
    })?;
    Ok((process, said))
}
