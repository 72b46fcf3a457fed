//! `xdp-lb decap`: on a backend, takes the balancer's tunnels off; or shows what was taken off.

use super::{output, stats::verdict_table};
use crate::{
    config::XdpMode,
    daemon,
    dataplane::{
        Error,
        decap::{self, Decap, Settings},
        loader,
    },
    neighbour::{Interface, InterfaceAddress, Resolver},
    view::VerdictRow,
};
use anyhow::{bail, ensure};
use clap::Args;
use lb_common::decap::{GUE_PORT, MAX_DECAP_ADDRESSES};
use serde::Serialize;
use std::{collections::BTreeSet, net::IpAddr, path::Path};

/// Options of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    /// The interface that tunnels arrive by
    #[arg(long = "iface", value_name = "IFACE")]
    interface: String,
    /// Virtual addresses of the services that this machine serves; all of them, as they replace those of an earlier call
    #[arg(long = "vip", value_name = "ADDRESS", num_args = 1..)]
    vips: Vec<IpAddr>,
    /// UDP port that GUE arrives at [default: 6080, or that of an earlier call]
    #[arg(long, value_name = "PORT", requires = "vips", value_parser = clap::value_parser!(u16).range(1..))]
    gue_port: Option<u16>,
    /// Where the program runs [default: auto]
    #[arg(long, value_name = "auto|native|generic", value_parser = super::mode, requires = "vips")]
    mode: Option<XdpMode>,
    /// Stop: remove program and counters from the interface
    #[arg(long, conflicts_with = "vips")]
    off: bool,
}

/// What the interface does.
#[derive(Serialize)]
struct Answer {
    interface: String,
    /// `native`, `generic`...; `detached` when the interface was removed and came back.
    mode: &'static str,
    gue_port: u16,
    vips: BTreeSet<IpAddr>,
    own_addresses: BTreeSet<IpAddr>,
    /// What the operator should know, and what to do about it.
    notes: Vec<String>,
    verdicts: Vec<VerdictRow>,
}

#[derive(Serialize)]
struct Removed<'a> {
    interface: &'a str,
    removed: bool,
}

/// The interface and all addresses of the machine.
struct Machine {
    interface: Interface,
    addresses: Vec<InterfaceAddress>,
}

/// Sets up, shows or removes.
pub fn run(pin_dir: &Path, arguments: &Arguments, json: bool) -> anyhow::Result<()> {
    let name = &arguments.interface;
    if arguments.off {
        loader::require_root("detaching XDP programs")?;
        decap::remove(pin_dir, name)?;
        let removed = Removed { interface: name, removed: true };
        return if json {
            output::json(&removed)
        } else {
            output::line(&format!("{name} takes no tunnels off"))
        };
    }
    if arguments.vips.is_empty() {
        loader::require_root("reading the pinned maps")?;
        let answer = answer(pin_dir, &Machine::look(name)?)?;
        return if json { output::json(&answer) } else { answer.show(true) };
    }
    loader::preflight()?;
    let machine = Machine::look(name)?;
    let known = Decap::open(pin_dir, name)?.map(|decap| decap.settings()).transpose()?;
    let gue_port = arguments.gue_port.or(known.map(|settings| settings.gue_port)).unwrap_or(GUE_PORT);
    let settings = machine.settings(&arguments.vips, gue_port)?;
    decap::install(pin_dir, &machine.interface, arguments.mode.unwrap_or_default(), &settings)?;
    // Once more: the interface now has a program.
    let answer = answer(pin_dir, &Machine::look(name)?)?;
    if json { output::json(&answer) } else { answer.show(false) }
}

impl Machine {
    fn look(name: &str) -> anyhow::Result<Self> {
        super::runtime()?.block_on(async {
            let resolver = Resolver::new()?;
            let interface = daemon::interface(&resolver, name).await?;
            Ok(Self { interface, addresses: resolver.addresses().await? })
        })
    }

    fn own(&self) -> BTreeSet<IpAddr> {
        let ours = self.addresses.iter().filter(|address| address.ifindex == self.interface.index);
        ours.map(|address| address.address).collect()
    }

    fn settings(&self, vips: &[IpAddr], gue_port: u16) -> anyhow::Result<Settings> {
        let (own, name) = (self.own(), &self.interface.name);
        ensure!(
            self.interface.mac.is_some(),
            "interface {name} is not Ethernet, and decap reads Ethernet frames; name the interface that the balancer's packets arrive by"
        );
        ensure!(
            !own.is_empty(),
            "interface {name} has no address, and tunnels are sent to one; give it the address that the balancer knows this backend by (ip addr add)"
        );
        let vips = vips
            .iter()
            .map(|vip| check_vip(vip.to_canonical(), &own, name))
            .collect::<Result<BTreeSet<_>, _>>()?;
        for (what, number) in [("VIPs", vips.len()), ("addresses of the interface", own.len())] {
            ensure!(
                number <= MAX_DECAP_ADDRESSES as usize,
                "{number} {what} are more than the {MAX_DECAP_ADDRESSES} that decap has room for; use fewer, or a kernel tunnel"
            );
        }
        Ok(Settings { vips, own, gue_port })
    }
}

fn check_vip(vip: IpAddr, own: &BTreeSet<IpAddr>, name: &str) -> anyhow::Result<IpAddr> {
    let kind = match vip {
        _ if vip.is_unspecified() => Some("the unspecified address"),
        _ if vip.is_loopback() => Some("a loopback address"),
        _ if vip.is_multicast() => Some("a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("the broadcast address"),
        _ => None,
    };
    if let Some(kind) = kind {
        bail!("VIP {vip} is {kind}; give the virtual address of a service as the balancer has it");
    }
    if own.contains(&vip) {
        let prefix = if vip.is_ipv6() { 128 } else { 32 };
        bail!(
            "VIP {vip} is an address of {name} itself, where tunnels end, so that a packet to it would need none; move it to lo (ip addr add {vip}/{prefix} dev lo, then ip addr del it from {name}) or name another VIP"
        );
    }
    Ok(vip)
}

fn answer(pin_dir: &Path, machine: &Machine) -> Result<Answer, Error> {
    let interface = &machine.interface;
    let decap = Decap::open(pin_dir, &interface.name)?
        .ok_or_else(|| Error::NoDecap { interface: interface.name.clone(), pin_dir: pin_dir.to_owned() })?;
    let Settings { vips, own, gue_port } = decap.settings()?;
    let verdicts = decap.counters()?.into_iter().map(|(verdict, count)| VerdictRow {
        action: verdict.action().word(),
        reason: verdict.name(),
        packets: count.packets,
        bytes: count.bytes,
        meaning: verdict.meaning(),
    });
    let live = interface.xdp.as_ref().filter(|_| decap.is_live(interface));
    Ok(Answer {
        interface: interface.name.clone(),
        mode: live.map_or("detached", |xdp| xdp.mode.word()),
        gue_port,
        notes: notes(machine, live.is_some(), &vips, &own),
        vips,
        own_addresses: own,
        verdicts: verdicts.collect(),
    })
}

/// What would keep packets from arriving.
fn notes(machine: &Machine, live: bool, vips: &BTreeSet<IpAddr>, own: &BTreeSet<IpAddr>) -> Vec<String> {
    let name = &machine.interface.name;
    let mut notes = Vec::new();
    if !live {
        notes.push(format!(
            "{name} does not run the program, it was removed and came back; call decap with --vip again"
        ));
    }
    let now = machine.own();
    if now != *own {
        notes.push(format!(
            "{name} has other addresses now ({}); call decap with --vip again to take tunnels off there",
            list(&now)
        ));
    }
    for vip in vips.iter().filter(|vip| machine.addresses.iter().all(|address| address.address != **vip)) {
        let prefix = if vip.is_ipv6() { 128 } else { 32 };
        notes.push(format!(
            "VIP {vip} is no address of this machine; add it: ip addr add {vip}/{prefix} dev lo"
        ));
    }
    notes
}

impl Answer {
    fn show(&self, counters: bool) -> anyhow::Result<()> {
        output::line(&format!("interface      {} ({} mode)", self.interface, self.mode))?;
        output::line(&format!("own addresses  {}", list(&self.own_addresses)))?;
        output::line(&format!("tunnels        ipip, gue at UDP port {}", self.gue_port))?;
        output::line(&format!("VIPs           {}", list(&self.vips)))?;
        for note in &self.notes {
            output::line(&format!("note           {note}"))?;
        }
        if counters {
            output::line("")?;
            verdict_table(&self.verdicts)?;
        }
        Ok(())
    }
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
