//! Those who are compared, each with a bed of its own: a client, a balancer, two backends with nginx.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_tests::{
    ask::{attach_decap, program_id, start_resolved},
    bed::{Bed, INTERFACE, Nginx, Process, run},
    config::{Service, config_with},
    transfer::{Sink, upload},
    wait::wait_for,
};
use nix::sys::resource::{UsageWho, getrusage};

use super::{
    Turn,
    load::{Effort, connections, requests},
};

/// Who balances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nobody: clients know the backends.
    Direct,
    /// We, in this forwarding mode, native or generic XDP.
    XdpLb(&'static str, &'static str),
    /// nftables: destination NAT to a backend by a hash of the client's address and port.
    Nftables,
    /// `HAProxy` in TCP mode.
    Haproxy,
    /// nginx with its stream module.
    NginxStream,
}

impl Kind {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Direct,
        Self::XdpLb("l2-dsr", "native"),
        Self::XdpLb("l2-dsr", "generic"),
        Self::XdpLb("ipip", "native"),
        Self::XdpLb("ipip", "generic"),
        Self::XdpLb("nat", "native"),
        Self::XdpLb("nat", "generic"),
        Self::Nftables,
        Self::Haproxy,
        Self::NginxStream,
    ];

    /// The name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::XdpLb(forwarding, mode) => match (forwarding.as_bytes(), mode.as_bytes()) {
                (b"l2-dsr", b"native") => "xdp-lb l2-dsr native",
                (b"l2-dsr", _) => "xdp-lb l2-dsr generic",
                (b"ipip", b"native") => "xdp-lb ipip native",
                (b"ipip", _) => "xdp-lb ipip generic",
                (_, b"native") => "xdp-lb nat native",
                _ => "xdp-lb nat generic",
            },
            Self::Nftables => "nftables DNAT",
            Self::Haproxy => "HAProxy, TCP",
            Self::NginxStream => "nginx stream",
        }
    }

    /// Whether backends answer by way of the balancer.
    fn returns(self) -> bool {
        matches!(self, Self::Nftables) || matches!(self, Self::XdpLb("nat", _))
    }
}

/// Port of the requests, and of the upload.
const PORTS: [u16; 2] = [80, 9000];

/// One of them, ready.
pub struct Contestant {
    kind: Kind,
    // In this order they end: balancer and servers before their namespaces.
    balancer: Option<Process>,
    servers: Vec<Nginx>,
    _sinks: Vec<Sink>,
    bed: Bed,
}

impl Contestant {
    /// Makes its bed and starts everything in it.
    pub fn prepare(kind: Kind) -> Result<Self> {
        let bed = Bed::builder().backends(2).uncompared().build()?;
        let servers = bed.backends().iter().map(|host| Nginx::start(host, host.role()));
        let servers = servers.collect::<Result<Vec<_>>>()?;
        let sinks = bed.backends().iter().map(|host| Sink::start(host, PORTS[1]));
        let sinks = sinks.collect::<Result<Vec<_>>>()?;
        if kind.returns() {
            return_by_balancer(&bed)?;
        }
        let balancer = match kind {
            Kind::Direct => None,
            Kind::XdpLb(forwarding, mode) => Some(xdp_lb(&bed, forwarding, mode)?),
            Kind::Nftables => nftables(&bed).map(|()| None)?,
            Kind::Haproxy => Some(haproxy(&bed)?),
            Kind::NginxStream => Some(nginx_stream(&bed)?),
        };
        Ok(Self { kind, balancer, servers, _sinks: sinks, bed })
    }

    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Its turn.
    pub fn turn(&mut self, effort: Effort) -> Result<Turn> {
        let targets = self.targets(PORTS[0])?;
        let before = self.spent()?;
        let (number, a_second, latency) = self.bed.client().run_in(|| requests(&targets, effort))?;
        let after = self.spent()?;
        let millions = number as f64 / 1e6;
        let connections = self.bed.client().run_in(|| connections(&targets, effort))?;
        let begun = Instant::now();
        upload(self.bed.client(), self.targets(PORTS[1])?[0], effort.bytes)?;
        let upload = effort.bytes as f64 * 8.0 / 1e9 / begun.elapsed().as_secs_f64();
        Ok(Turn {
            requests: a_second,
            latency,
            own: (after.own - before.own) / millions,
            all: (after.all - before.all) / millions,
            connections,
            upload,
        })
    }

    fn targets(&self, port: u16) -> Result<Vec<SocketAddr>> {
        Ok(match self.kind {
            Kind::Direct => {
                self.bed.backends().iter().map(|host| SocketAddr::new(host.address(false), port)).collect()
            }
            _ => vec![SocketAddr::new(self.bed.vip(false)?, port)],
        })
    }

    /// CPU seconds so far.
    fn spent(&mut self) -> Result<Spent> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).context("no CPU time")?;
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        let mut all = seconds(usage.user_time()) + seconds(usage.system_time());
        for server in &mut self.servers {
            all += process_seconds(server.process().pid())?;
        }
        let own = match (&self.balancer, self.kind) {
            (_, Kind::XdpLb(..)) => program_seconds(program_id(&self.bed)?)?,
            (Some(process), _) => process_seconds(process.pid())?,
            (None, _) => f64::NAN,
        };
        // Our program runs in the softirqs of those whose time is counted already.
        if !matches!(self.kind, Kind::XdpLb(..)) && own.is_finite() {
            all += own;
        }
        Ok(Spent { own, all })
    }
}

struct Spent {
    own: f64,
    all: f64,
}

/// CPU seconds of a process, in user mode and in the kernel (proc(5): fields 14 and 15 of stat).
fn process_seconds(pid: u32) -> Result<f64> {
    /// `USER_HZ`, which Linux has the same everywhere.
    const HZ: f64 = 100.0;
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("a process has ended")?;
    let (_, rest) = text.rsplit_once(')').context("no stat")?;
    let fields = rest.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(fields.sum::<Result<f64, _>>()? / HZ)
}

/// Run time of a program, which the kernel counts while `kernel.bpf_stats_enabled` is set.
fn program_seconds(id: u64) -> Result<f64> {
    let output = Command::new("bpftool").args(["-j", "prog", "show", "id", &id.to_string()]).output()?;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).context("bpftool says no JSON")?;
    Ok(shown["run_time_ns"].as_f64().unwrap_or(0.0) / 1e9)
}

/// Backends reach the client by way of the balancer, which routes.
fn return_by_balancer(bed: &Bed) -> Result<()> {
    bed.balancer().namespace().set_sysctl("net/ipv4/ip_forward", 1)?;
    let (client, balancer) = (bed.client().address_v4(), bed.balancer().address_v4());
    bed.backends().iter().try_for_each(|backend| {
        backend.namespace().ip(&[format!("route add {client} via {balancer} dev {INTERFACE}")])
    })
}

fn xdp_lb(bed: &Bed, forwarding: &'static str, mode: &str) -> Result<Process> {
    let vip = bed.vip(false)?;
    let services = PORTS.map(|port| {
        Service::tcp(&format!("port-{port}"), SocketAddr::new(vip, port))
            .forwarding(forwarding)
            .hosts(bed.backends(), &[1, 1])
    });
    if forwarding == "ipip" {
        bed.backends().iter().try_for_each(|host| attach_decap(bed, host))?;
    }
    start_resolved(bed, &config_with(bed, &format!("xdp_mode = \"{mode}\""), &services))
}

fn nftables(bed: &Bed) -> Result<()> {
    let vip = bed.vip(false)?;
    let backends = bed.backends().iter().enumerate();
    let map: Vec<_> = backends.map(|(number, host)| format!("{number} : {}", host.address_v4())).collect();
    let rules = format!(
        "table ip balance {{\n chain incoming {{\n  type nat hook prerouting priority dstnat;\n  ip daddr {vip} tcp dport {{ {}, {} }} \
         dnat to jhash ip saddr . tcp sport mod {} map {{ {} }}\n }}\n}}\n",
        PORTS[0],
        PORTS[1],
        map.len(),
        map.join(", ")
    );
    let file = bed.balancer().file("rules.nft");
    fs::write(&file, rules).with_context(|| format!("cannot write {}", file.display()))?;
    run(bed.balancer().command("nft").arg("-f").arg(&file))
        .context("is nftables installed? (cargo xtask setup)")
}

/// A proxy owns the virtual address.
fn own_vip(bed: &Bed) -> Result<()> {
    bed.balancer().namespace().ip(&[format!("addr add {}/32 dev lo", bed.vip(false)?)])
}

fn haproxy(bed: &Bed) -> Result<Process> {
    own_vip(bed)?;
    let vip = bed.vip(false)?;
    let mut text = "global\n  nbthread 2\n  maxconn 4096\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 30s\n  \
                    timeout server 30s\n"
        .to_owned();
    for port in PORTS {
        writeln!(text, "listen port-{port}\n  bind {vip}:{port}\n  balance roundrobin")?;
        for host in bed.backends() {
            writeln!(text, "  server {} {}:{port}", host.role(), host.address_v4())?;
        }
    }
    let file = bed.balancer().file("haproxy.cfg");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = bed.balancer().command("haproxy");
    started(bed, command.arg("-db").arg("-f").arg(&file))
}

fn nginx_stream(bed: &Bed) -> Result<Process> {
    own_vip(bed)?;
    let vip = bed.vip(false)?;
    let mut text = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off;\nmaster_process off;\npid nginx.pid;\n\
                    events { worker_connections 4096; }\nstream {\n"
        .to_owned();
    for port in PORTS {
        let servers: Vec<_> =
            bed.backends().iter().map(|host| format!("server {}:{port};", host.address_v4())).collect();
        let servers = servers.join(" ");
        writeln!(
            text,
            "  upstream port-{port} {{ {servers} }}\n  server {{ listen {vip}:{port}; proxy_pass port-{port}; }}"
        )?;
    }
    text += "}\n";
    let directory = bed.balancer().file("nginx");
    fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let file = directory.join("nginx.conf");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    let mut command = bed.balancer().command("nginx");
    started(bed, command.arg("-p").arg(&directory).arg("-e").arg("error.log").arg("-c").arg(&file))
        .context("are nginx and its stream module installed? (cargo xtask setup)")
}

/// Starts a proxy, which accepts connections when this returns.
fn started(bed: &Bed, command: &mut Command) -> Result<Process> {
    let mut process = Process::spawn(command, &bed.balancer().file("proxy.log"))?;
    let target = SocketAddr::new(bed.vip(false)?, PORTS[0]);
    wait_for(Duration::from_secs(10), "the proxy to accept connections", || {
        process.must_run()?;
        Ok(bed.balancer().run_in(|| Ok(std::net::TcpStream::connect(target)?)).ok().map(drop))
    })?;
    Ok(process)
}
