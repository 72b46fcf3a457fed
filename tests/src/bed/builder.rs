//! Laying a bed.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, OnceLock},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{
    Bed, INTERFACE, bpffs,
    cleanup::{Cleanup, sweep},
    counted::Watched,
    host::Host,
    names::BedName,
    namespace::{Namespace, run},
    pass::attach_pass,
};
use crate::wait::wait_for;

const CLIENT: u8 = 1;
const BALANCER: u8 = 2;
const FIRST_BACKEND: u8 = 11;
/// The addresses end at 250.
const MOST_BACKENDS: u8 = 240;

/// What a bed shall have; see [`Bed::builder`].
#[derive(Clone, Debug)]
pub struct BedBuilder {
    backends: u8,
    vips: Vec<IpAddr>,
    mtu: u32,
    compares: bool,
}

impl Default for BedBuilder {
    fn default() -> Self {
        let v4 = Ipv4Addr::new(192, 0, 2, 10);
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x10);
        Self { backends: 1, vips: vec![v4.into(), v6.into()], mtu: 1500, compares: true }
    }
}

impl BedBuilder {
    /// The number of backends, at most 240.
    #[must_use]
    pub fn backends(mut self, number: u8) -> Self {
        self.backends = number;
        self
    }

    /// The virtual addresses, in place of the usual two.
    #[must_use]
    pub fn vips(mut self, vips: impl IntoIterator<Item = IpAddr>) -> Self {
        self.vips = vips.into_iter().collect();
        self
    }

    /// The MTU of every link, in bytes, in place of 1500.
    #[must_use]
    pub fn mtu(mut self, mtu: u32) -> Self {
        self.mtu = mtu;
        self
    }

    /// Without the comparison of counters at the bed's end: for one whose balancer somebody else may detach and attach.
    #[must_use]
    pub fn uncompared(mut self) -> Self {
        self.compares = false;
        self
    }

    /// Builds the bed; all of its links are up when this returns.
    pub fn build(self) -> Result<Bed> {
        ensure!(self.backends <= MOST_BACKENDS, "a bed has at most {MOST_BACKENDS} backends");
        ensure!(nix::unistd::geteuid().is_root(), "the bed makes network namespaces: run it as root");
        bpffs::ensure_mounted()?;
        sweep_once()?;

        // From here on whatever fails takes everything with it.
        let cleanup = Cleanup(BedName::next());
        let name = &cleanup.0;
        name.claim()?;
        fs::create_dir(name.pins()).with_context(|| format!("cannot make {}", name.pins().display()))?;
        let switch = lay_switch(name)?;
        let client = lay_host(name, &switch, "client".to_owned(), CLIENT, self.mtu)?;
        let balancer = lay_host(name, &switch, "balancer".to_owned(), BALANCER, self.mtu)?;
        let backends = (0..self.backends)
            .map(|i| lay_host(name, &switch, format!("backend-{}", i + 1), FIRST_BACKEND + i, self.mtu))
            .collect::<Result<Vec<_>>>()?;
        prepare_client(&client, &balancer, &self.vips)?;
        prepare_balancer(&balancer)?;
        for backend in &backends {
            prepare_backend(backend, &self.vips)?;
        }
        let ports: Vec<&str> = [&client, &balancer].into_iter().chain(&backends).map(Host::role).collect();
        let passing = attach_pass(lb_userspace::dataplane::object::PASS, &switch, &ports)?;
        for namespace in
            [&client, &balancer].into_iter().chain(&backends).map(Host::namespace).chain([&switch])
        {
            wait_for_links(namespace)?;
        }
        let watched = Watched::balancer(&balancer, cleanup.0.pins().join("xdp-lb"));
        Ok(Bed {
            _passing: passing,
            switch,
            client,
            balancer,
            backends,
            vips: self.vips,
            watched: Mutex::new(vec![watched]),
            compares: self.compares,
            cleanup,
        })
    }
}

/// Removes what killed processes left, before this process makes its first bed.
pub(super) fn sweep_once() -> Result<()> {
    static SWEPT: OnceLock<Result<Vec<BedName>, String>> = OnceLock::new();
    match SWEPT.get_or_init(|| sweep().map_err(|error| format!("{error:#}"))) {
        Ok(_) => Ok(()),
        Err(error) => Err(anyhow!(error.clone())),
    }
}

fn lay_switch(name: &BedName) -> Result<Namespace> {
    let switch = Namespace::create(name.namespace("switch"))?;
    // Snooping would keep neighbour discovery from nodes that have not reported their groups yet.
    switch
        .ip(&["link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0", "link set br0 up"])?;
    Ok(switch)
}

fn lay_host(name: &BedName, switch: &Namespace, role: String, number: u8, mtu: u32) -> Result<Host> {
    let namespace = Namespace::create(name.namespace(&role))?;
    let host = Host { role, namespace, directory: name.directory(), number };
    let mac = host.mac().map(|byte| format!("{byte:02x}")).join(":");
    let (role, inside) = (&host.role, host.namespace.name());
    switch.ip(&[
        format!(
            "link add {role} mtu {mtu} type veth peer name {INTERFACE} address {mac} mtu {mtu} netns {inside}"
        ),
        format!("link set {role} master br0"),
        format!("link set {role} up"),
    ])?;
    host.namespace.ip(&[
        format!("addr add {}/24 dev {INTERFACE}", host.address_v4()),
        format!("addr add {}/64 dev {INTERFACE} nodad", host.address_v6()),
        format!("link set {INTERFACE} up"),
    ])?;
    Ok(host)
}

fn prepare_client(client: &Host, balancer: &Host, vips: &[IpAddr]) -> Result<()> {
    finish_checksums(client)?;
    // Thousands of short connections to one address: more ports, and ports in TIME_WAIT again after a second.
    client.namespace.set_sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
    client.namespace.set_sysctl("net/ipv4/tcp_tw_reuse", 1)?;
    let routes: Vec<String> = vips
        .iter()
        .map(|vip| format!("route add {vip} via {} dev {INTERFACE}", balancer.address(vip.is_ipv6())))
        .collect();
    client.namespace.ip(&routes)
}

/// Only the balancer's program may pass packets on, never the kernel.
fn prepare_balancer(balancer: &Host) -> Result<()> {
    finish_checksums(balancer)?;
    balancer.namespace.set_sysctl("net/ipv4/ip_forward", 0)?;
    balancer.namespace.set_sysctl("net/ipv6/conf/all/forwarding", 0)
}

/// The VIPs on `lo`, for which the backend must not answer on the wire (`arp_ignore`) nor speak (`arp_announce`).
fn prepare_backend(backend: &Host, vips: &[IpAddr]) -> Result<()> {
    finish_checksums(backend)?;
    for of in ["all", "default", INTERFACE, "lo"] {
        backend.namespace.set_sysctl(&format!("net/ipv4/conf/{of}/arp_ignore"), 1)?;
        backend.namespace.set_sysctl(&format!("net/ipv4/conf/{of}/arp_announce"), 2)?;
    }
    let addresses: Vec<String> = vips
        .iter()
        .map(|vip| if vip.is_ipv6() { format!("{vip}/128 dev lo nodad") } else { format!("{vip}/32 dev lo") })
        .map(|address| format!("addr add {address}"))
        .collect();
    backend.namespace.ip(&addresses)
}

/// Makes the sender finish its checksums: a veth would leave them to hardware that XDP never reaches.
fn finish_checksums(host: &Host) -> Result<()> {
    run(host.command("ethtool").args(["-K", INTERFACE, "tx", "off"]))
        .context("cannot turn checksum offload off (install ethtool: cargo xtask setup)")
}

/// Waits until every link is up: the kernel moves them there after `ip` has returned.
fn wait_for_links(namespace: &Namespace) -> Result<()> {
    let what = format!("the links of {} to come up", namespace.name());
    wait_for(Duration::from_secs(10), &what, || {
        let output = std::process::Command::new("ip")
            .args(["-n", namespace.name(), "-brief", "link", "show"])
            .output()
            .context("cannot start ip")?;
        let links = String::from_utf8_lossy(&output.stdout);
        // Name, state, MAC, flags; `lo` has no state ever.
        let waiting = links.lines().any(|line| !line.starts_with("lo ") && !line.contains(" UP "));
        Ok((output.status.success() && !waiting).then_some(()))
    })
}
