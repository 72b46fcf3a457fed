//! An interface, judged.

use super::{Finding, machine::Pinned};
use lb_common::limits::MAX_PLAIN_MTU;

/// What was read of an interface. `None`: it does not say.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Whether it is up and has a carrier.
    pub up: bool,
    /// Its driver.
    pub driver: Option<String>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// What its driver can of XDP.
    pub native: Native,
    /// Receive queues.
    pub queues: Option<u32>,
    /// Processors of this machine.
    pub cpus: u32,
    /// Offloads that are on, by ethtool's names.
    pub offloads: Vec<String>,
    /// Whether interfaces of VLANs are on top of it.
    pub vlans: bool,
    /// The XDP program that it carries, and whether it is the balancer's.
    pub program: Option<(u32, bool)>,
    /// `net.ipv4.conf.IFACE.rp_filter`, or that of `all` where it is stricter.
    pub rp_filter: Option<u64>,
}

/// What a driver can of XDP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Native {
    /// The kernel does not tell (before Linux 6.3).
    #[default]
    Unknown,
    /// Nothing: the generic mode alone.
    Not,
    /// Passes, drops and sends back, but does not redirect.
    Basic,
    /// All that the balancer needs.
    Whole,
}

/// Large receive offload, as ethtool calls it.
pub const LRO: &str = "rx-lro";
/// The same in hardware, as a stream of its packets.
pub const GRO_HW: &str = "rx-gro-hw";
/// The card takes VLAN tags off.
pub const VLAN: &str = "rx-vlan-hw-parse";

/// Judges it.
#[must_use]
pub fn judge(facts: &Facts, pinned: &Pinned) -> Vec<Finding> {
    let name = &facts.name;
    let on = |offload: &str| facts.offloads.iter().any(|on| on == offload);
    let mut findings = vec![link(facts), native(facts), program(facts), mtu(facts), queues(facts)];
    findings.push(if on(LRO) {
        Finding::fail(
            format!("{name} lro"),
            "on: packets are joined before the program sees them, and no longer fit when they leave",
            format!("ethtool -K {name} lro off"),
        )
    } else {
        Finding::ok(format!("{name} lro"), "off")
    });
    findings.push(if on(GRO_HW) {
        Finding::warn(
            format!("{name} gro-hw"),
            "on: drivers that join packets in hardware do not take programs of XDP, or not all",
            format!("ethtool -K {name} rx-gro-hw off"),
        )
    } else {
        Finding::ok(format!("{name} gro-hw"), "off")
    });
    if facts.vlans {
        findings.push(vlan(facts, on(VLAN)));
    }
    if matches!(pinned, Pinned::Ours { nat: true, .. }) {
        findings.push(rp_filter(facts));
    }
    findings
}

fn link(facts: &Facts) -> Finding {
    let check = format!("{} link", facts.name);
    let driver = facts.driver.as_deref().unwrap_or("a driver that does not say its name");
    if facts.up {
        return Finding::ok(check, format!("up, {driver}"));
    }
    let mend = format!("ip link set {} up, and see that its cable or peer is there", facts.name);
    Finding::fail(check, format!("down or without a carrier, {driver}"), mend)
}

fn native(facts: &Facts) -> Finding {
    let Facts { name, native, .. } = facts;
    let check = format!("{name} native xdp");
    match native {
        Native::Whole => Finding::ok(check, "the driver runs the program"),
        Native::Basic => Finding::warn(
            check,
            "the driver runs the program, but does not redirect",
            "have the backends behind the interface that the clients' packets arrive by",
        ),
        Native::Not => Finding::warn(
            check,
            "the driver has none: the kernel runs the program in the generic mode, several times slower",
            "use a card whose driver has native XDP, or live with it: xdp_mode = \"generic\" says so",
        ),
        Native::Unknown => Finding::warn(
            check,
            "the kernel does not tell before Linux 6.3",
            format!("try it: xdp-lb attach {name} --mode native"),
        ),
    }
}

fn program(facts: &Facts) -> Finding {
    let check = format!("{} program", facts.name);
    match facts.program {
        None => Finding::ok(check, "carries none"),
        Some((id, true)) => Finding::ok(check, format!("carries the balancer's, id {id}")),
        Some((id, false)) => Finding::fail(
            check,
            format!("carries another XDP program, id {id}"),
            format!(
                "`bpftool prog show id {id}` tells whose; `ip link set dev {} xdp off` takes it off, if no link holds it",
                facts.name
            ),
        ),
    }
}

fn mtu(facts: &Facts) -> Finding {
    let Facts { name, mtu, .. } = facts;
    let check = format!("{name} mtu");
    match *mtu {
        0..1280 => Finding::warn(
            check,
            format!("{mtu}: less than IPv6 asks for (RFC 8200, section 5)"),
            format!("ip link set {name} mtu 1500"),
        ),
        mtu if mtu > MAX_PLAIN_MTU => {
            Finding::ok(check, format!("{mtu}: the program for frames in several buffers is loaded"))
        }
        mtu => Finding::ok(check, mtu.to_string()),
    }
}

fn queues(facts: &Facts) -> Finding {
    let Facts { name, cpus, .. } = facts;
    let check = format!("{name} queues");
    match facts.queues {
        Some(queues) if queues < *cpus => Finding::warn(
            check,
            format!("{queues} for {cpus} processors: the others do not take part"),
            format!("ethtool -L {name} combined {cpus}, if the card has so many"),
        ),
        Some(queues) => Finding::ok(check, format!("{queues} for {cpus} processors")),
        None => Finding::warn(
            check,
            "the driver does not tell how many receive queues it has",
            "look at /proc/interrupts under load: every processor should take part",
        ),
    }
}

fn vlan(facts: &Facts, stripped: bool) -> Finding {
    let check = format!("{} vlan", facts.name);
    if !stripped {
        return Finding::ok(check, "tags are left to the program");
    }
    Finding::fail(
        check,
        "the card takes VLAN tags off, so the program sees packets of all VLANs as one",
        format!("ethtool -K {} rxvlan off", facts.name),
    )
}

/// nat's answers come by the backends' interface for addresses of the clients, which the routes may not lead to.
fn rp_filter(facts: &Facts) -> Finding {
    let check = format!("{} rp_filter", facts.name);
    match facts.rp_filter {
        Some(1) => Finding::warn(
            check,
            "strict: what the program passes to the kernel is dropped where routes lead another way",
            format!("sysctl -w net.ipv4.conf.{0}.rp_filter=2 net.ipv4.conf.all.rp_filter=2", facts.name),
        ),
        Some(0 | 2) => Finding::ok(check, "off or loose"),
        _ => Finding::warn(
            check,
            "it cannot be read",
            format!("see `sysctl net.ipv4.conf.{}.rp_filter`", facts.name),
        ),
    }
}
