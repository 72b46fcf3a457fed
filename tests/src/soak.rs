//! Everything that an operator and fate do to a balancer, one thing a second, under a crowd of connections: weights that change,
//! backends that come, drain, leave and die, a daemon that is killed and one that needs another program. No connection may break but
//! those of a backend that died.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    ask,
    bed::{Bed, INTERFACE, Process},
    config::{Service, config_with},
    crowd::{Crowd, Habit, Seen, Servers},
    wait::wait_for,
};

/// Name of the service.
const SERVICE: &str = "card-auth";
const PORT: u16 = 8583;
/// How long a slot learns here: longer than any connection is quiet, and short enough that slots settle within a run.
const LEARN: &str = "4s";
/// Between two things that happen.
const BEAT: Duration = Duration::from_secs(1);
/// Backends that serve from the start; as many again come later.
const FIRST: usize = 4;
/// Hosts with a server.
const HOSTS: usize = 8;
/// How long a request of the daemon may take on a busy machine.
const GRACE: Duration = Duration::from_secs(20);

/// Health checks of everybody, which no busy machine fails, and weights that follow the time of a handshake: with these constants they
/// follow its noise too, so that slots move all the time.
const STEERED: &str = "slow_start = \"0s\"
health = { type = \"tcp\", interval = \"500ms\", timeout = \"500ms\", fall = 1000 }
weights = { mode = \"latency\", period = \"500ms\", smoothing = \"0s\", deadband = 0, gain = 0.5, confirm = false, min_samples = 1, churn = 0.2, churn_urgent = 1 }";

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the crowd saw.
    pub seen: Seen,
    /// Messages that were answered.
    pub messages: u64,
    /// What happened, by kind.
    pub happened: BTreeMap<&'static str, u32>,
    /// Backends that died.
    pub dead: Vec<String>,
    /// Backends that drained to their last connection and were taken out.
    pub drained: Vec<String>,
    /// Packets of the service, and those of them for which the flow table was looked at.
    pub packets: (u64, u64),
    /// Slots that latency had moved since the last daemon began.
    pub steered: u64,
}

impl Report {
    /// Fails when a connection broke that should not have.
    pub fn check(&self) -> Result<()> {
        let Self { seen, dead, .. } = self;
        let unexpected: BTreeMap<_, _> =
            seen.broken.iter().filter(|(name, _)| !dead.contains(name)).collect();
        let failures = seen.failures.join("\n");
        ensure!(unexpected.is_empty(), "connections broke: {unexpected:?}\n{failures}");
        ensure!(seen.refused == 0, "{} connections were not made\n{failures}", seen.refused);
        Ok(())
    }
}

/// A run in progress.
struct Soak<'b> {
    bed: &'b Bed,
    daemon: Option<Process>,
    servers: Servers,
    /// Weights of the backends that are configured, by the index of their host.
    weights: BTreeMap<usize, u32>,
    /// Hosts that were not used yet.
    fresh: Vec<usize>,
    /// Whether weights follow latency.
    steers: bool,
    /// Whether a second service asks for features that the first does not need.
    wide: bool,
    happened: BTreeMap<&'static str, u32>,
    dead: Vec<String>,
    draining: Vec<usize>,
    drained: Vec<String>,
    random: u64,
}

/// Runs for about this long, with static weights or such that follow latency. `tell` hears each thing that happens, with what the crowd has seen.
pub fn run(
    minutes: f64,
    habit: Habit,
    steers: bool,
    mut tell: impl FnMut(&str, &Seen, u64),
) -> Result<Report> {
    let bed = Bed::builder().backends(HOSTS as u8).build()?;
    let mut soak = Soak::new(&bed, steers)?;
    soak.start()?;
    let target = SocketAddr::new(bed.vip(false)?, PORT);
    let end = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    thread::scope(|scope| {
        let crowd = Crowd::start(scope, bed.client(), target, habit);
        wait_for(GRACE, "the crowd to be there", || {
            Ok((crowd.seen().open.values().sum::<u64>() >= u64::from(habit.connections) * 9 / 10)
                .then_some(()))
        })?;
        for beat in 0.. {
            let began = Instant::now();
            if began >= end {
                break;
            }
            let what = soak.happen(beat)?;
            tell(&what, &crowd.seen(), crowd.messages());
            // Pacing, not waiting: nothing depends on how long this takes.
            thread::park_timeout(BEAT.saturating_sub(began.elapsed()));
        }
        soak.let_drain(&crowd)?;
        let messages = crowd.messages();
        let seen = crowd.finish()?;
        soak.report(seen, messages)
    })
}

impl<'b> Soak<'b> {
    fn new(bed: &'b Bed, steers: bool) -> Result<Self> {
        let servers = Servers::new()?;
        for host in bed.backends() {
            servers.serve(host, PORT)?;
        }
        Ok(Self {
            bed,
            daemon: None,
            servers,
            weights: (0..FIRST).map(|host| (host, 100)).collect(),
            fresh: (FIRST..HOSTS).rev().collect(),
            steers,
            wide: false,
            happened: BTreeMap::new(),
            dead: Vec::new(),
            draining: Vec::new(),
            drained: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
        })
    }

    /// The configuration as the backends are now.
    fn config(&self) -> Result<String> {
        let address = SocketAddr::new(self.bed.vip(false)?, PORT);
        let service = self.weights.iter().fold(Service::tcp(SERVICE, address), |service, (host, weight)| {
            let host = self.bed.backend(*host);
            service.backend(host.role(), host.address(false), *weight)
        });
        let mut services = vec![service];
        if self.wide {
            let host = self.bed.backend(0);
            let name = SocketAddr::new(self.bed.vip(true)?, 53);
            services.push(Service::udp("names", name).backend(host.role(), host.address(true), 1));
        }
        let keys = format!("learn = \"{LEARN}\"\nmetrics = \"127.0.0.1:9477\"");
        let text = config_with(self.bed, &keys, &services);
        let steered = format!("algorithm = \"hash\"\n{STEERED}");
        // Of the first service.
        Ok(if self.steers { text.replacen("algorithm = \"hash\"", &steered, 1) } else { text })
    }

    fn start(&mut self) -> Result<()> {
        let (daemon, _) = ask::start(self.bed, &self.config()?)?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// A number below `below`, the same in every run.
    fn pick(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % below as u64) as usize
    }

    /// A backend that serves.
    fn serving(&mut self) -> usize {
        let serving: Vec<_> = self.weights.keys().copied().collect();
        serving[self.pick(serving.len())]
    }

    /// Carries `xdp-lb backend ...` out.
    fn command(&self, args: &[&str]) -> Result<()> {
        let mut command = self.bed.xdp_lb()?;
        ask::output(command.arg("backend").args(args)).map(|_| ())
    }

    /// One thing happens.
    fn happen(&mut self, beat: u32) -> Result<String> {
        match beat % 20 {
            4 | 18 if !self.fresh.is_empty() => self.add(),
            8 if self.weights.len() > 2 => self.drain(),
            11 if self.weights.len() > 2 && self.dead.len() < 2 => self.die(),
            13 => self.kill_daemon(),
            16 => self.other_program(),
            _ => self.reweigh(),
        }
    }

    fn did(&mut self, kind: &'static str, what: String) -> String {
        *self.happened.entry(kind).or_default() += 1;
        what
    }

    fn reweigh(&mut self) -> Result<String> {
        let (host, weight) = (self.serving(), 50 + self.pick(151) as u32);
        let name = self.bed.backend(host).role();
        self.command(&["set", SERVICE, name, "--weight", &weight.to_string()])?;
        self.weights.insert(host, weight);
        Ok(self.did("weights changed", format!("{name} has weight {weight}")))
    }

    fn add(&mut self) -> Result<String> {
        let Some(host) = self.fresh.pop() else { return self.reweigh() };
        let backend = self.bed.backend(host);
        let (name, address) = (backend.role(), backend.address(false).to_string());
        self.command(&["add", SERVICE, name, &address, "--weight", "100"])?;
        self.weights.insert(host, 100);
        Ok(self.did("backends added", format!("{name} is added")))
    }

    /// Taken out gracefully: it keeps its connections until they end.
    fn drain(&mut self) -> Result<String> {
        let host = self.serving();
        let name = self.bed.backend(host).role();
        self.command(&["drain", SERVICE, name])?;
        self.command(&["remove", SERVICE, name])?;
        self.weights.remove(&host);
        self.draining.push(host);
        Ok(self.did("backends drained", format!("{name} drains and leaves")))
    }

    /// A backend's machine goes, and its operator takes it out at once.
    fn die(&mut self) -> Result<String> {
        let host = self.serving();
        let backend = self.bed.backend(host);
        let name = backend.role();
        ask::output(backend.command("ip").args(["link", "set", "dev", INTERFACE, "down"]))?;
        self.command(&["remove", SERVICE, name, "--now"])?;
        self.weights.remove(&host);
        self.dead.push(name.to_owned());
        Ok(self.did("backends killed", format!("{name} is dead")))
    }

    fn kill_daemon(&mut self) -> Result<String> {
        self.daemon.take().context("there is no daemon")?.kill()?;
        self.start()?;
        Ok(self.did("daemons killed", "the daemon was killed and runs again".to_owned()))
    }

    /// Another configuration asks for another program, which takes the old one's place.
    fn other_program(&mut self) -> Result<String> {
        let before = ask::program_id(self.bed)?;
        self.wide = !self.wide;
        self.daemon.take().context("there is no daemon")?.stop()?;
        self.start()?;
        ensure!(ask::program_id(self.bed)? != before, "the program is the same as before");
        Ok(self.did("programs swapped", "another program took over".to_owned()))
    }

    /// Waits until the drained backends have no connection any more and are gone.
    fn let_drain(&mut self, crowd: &Crowd<'_>) -> Result<()> {
        let names: Vec<_> =
            self.draining.iter().map(|host| self.bed.backend(*host).role().to_owned()).collect();
        let busy = |seen: &Seen| names.iter().any(|name| seen.open.get(name).is_some_and(|open| *open > 0));
        wait_for(Duration::from_mins(3), "the drained backends' last connection to end", || {
            Ok((!busy(&crowd.seen())).then_some(()))
        })?;
        // The last connection's entry stays for two minutes after its FIN: what remains is a slot or an entry, no connection.
        self.drained = names;
        Ok(())
    }

    fn report(mut self, seen: Seen, messages: u64) -> Result<Report> {
        let stats = ask::json(self.bed, &["stats", SERVICE])?;
        let packets = ask::number(ask::row(&stats["services"], &[("service", SERVICE)])?, "packets")?;
        let (lookups, steered) = (self.lookups()?, self.steered()?);
        if let Some(mut daemon) = self.daemon.take() {
            ensure!(daemon.stop()?.success(), "the daemon ends in disorder: {}", daemon.log());
        }
        drop(self.servers);
        let Self { happened, dead, drained, .. } = self;
        Ok(Report { seen, messages, happened, dead, drained, packets: (packets, lookups), steered })
    }

    /// Slots that latency had moved, as the daemon tells Prometheus.
    fn steered(&self) -> Result<u64> {
        let text = self.bed.balancer().run_in(|| {
            let mut stream = TcpStream::connect("127.0.0.1:9477")?;
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })?;
        let series = format!("xdp_lb_service_slot_moves_total{{service=\"{SERVICE}\",cause=\"latency\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        Ok(value.context("no count of slots that latency moved")?.parse()?)
    }

    /// Packets of the service for which the flow table was looked at.
    fn lookups(&self) -> Result<u64> {
        let kernel = lb_userspace::dataplane::kernel::Kernel::open(&self.bed.pin_dir())?;
        let installed = ask::installed(self.bed)?;
        let service = installed.services.iter().find(|service| service.name == SERVICE);
        Ok(kernel.track_stats(service.context("the service is gone")?.record.id)?.lookups)
    }
}
