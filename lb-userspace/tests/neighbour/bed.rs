//! Two unnamed network namespaces joined by veth pairs. A namespace lives as long as the thread in it, so
//! nothing is left behind, not even by `kill -9`.

use std::{
    path::PathBuf,
    process::Command,
    sync::mpsc::{Sender, channel},
    thread::JoinHandle,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{getpid, gettid},
};

type Job = Box<dyn FnOnce() + Send>;

/// A thread in a network namespace of its own, with lo up.
pub struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

impl Namespace {
    pub fn new() -> Self {
        let (jobs, queue) = channel::<Job>();
        let (ready, path) = channel();
        let thread = std::thread::spawn(move || {
            enter();
            ready.send(PathBuf::from(format!("/proc/{}/task/{}/ns/net", getpid(), gettid()))).unwrap();
            for job in queue {
                job();
            }
        });
        let path = path.recv().expect("the namespace's thread has panicked");
        Self { jobs: Some(jobs), thread: Some(thread), path }
    }

    /// Runs a closure in the namespace and waits for it.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job = Box::new(move || drop(done.send(job())));
        self.jobs.as_ref().unwrap().send(job).expect("the namespace's thread has panicked");
        result.recv().expect("the job has panicked")
    }

    /// Runs `ip` commands, one a line, in the namespace.
    pub fn ip(&self, lines: &str) {
        let lines = lines.to_owned();
        self.run(move || ip(&lines));
    }

    /// Writes `/proc/sys/net/NAME` in the namespace.
    pub fn sysctl(&self, name: &str, value: &'static str) {
        let path = format!("/proc/sys/net/{name}");
        self.run(move || std::fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}")));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn enter() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test makes network namespaces and must run as root: sudo -E cargo test"
    );
    unshare(CloneFlags::CLONE_NEWNET).expect("unshare(CLONE_NEWNET)");
    ip("link set lo up");
}

/// Runs `ip` commands, one a line, in the namespace of this thread.
pub fn ip(lines: &str) {
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let output = Command::new("ip").args(line.split_whitespace()).output().expect("ip(8) of iproute2");
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The balancer's namespace is the calling thread's (each test has a thread of its own); the peer is joined to
/// it by `east` and `west`, at the peer's end `peer-east` and `peer-west`.
///
/// ```text
///   east  198.18.1.1/24  2001:db8:1::1/64 ── peer-east  198.18.1.2  2001:db8:1::2  02:00:00:00:01:02
///   west  198.18.2.1/24  2001:db8:2::1/64 ── peer-west  198.18.2.2  2001:db8:2::2  02:00:00:00:02:02
/// ```
pub struct Bed {
    pub peer: Namespace,
    runtime: tokio::runtime::Runtime,
}

pub const EAST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const PEER_EAST_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
pub const WEST_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
pub const PEER_WEST_MAC: [u8; 6] = [2, 0, 0, 0, 2, 2];

impl Bed {
    pub fn new() -> Self {
        enter();
        let peer = Namespace::new();
        for (name, n) in [("east", 1), ("west", 2)] {
            let path = peer.path.display();
            ip(&format!(
                "link add {name} address 02:00:00:00:0{n}:01 type veth peer name peer-{name} address 02:00:00:00:0{n}:02 netns {path}"
            ));
            ip(&end(name, n, 1));
            peer.ip(&end(&format!("peer-{name}"), n, 2));
            // Announce a new MAC at once, as servers and routers that fail over do.
            peer.sysctl(&format!("ipv4/conf/peer-{name}/arp_notify"), "1");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { peer, runtime }
    }

    /// Runs a test in the balancer's namespace.
    pub fn run(&self, test: impl Future<Output = ()>) {
        self.runtime.block_on(test);
    }
}

/// Without duplicate address detection, an IPv6 address can be used at once.
fn end(name: &str, network: u8, host: u8) -> String {
    format!(
        "link set {name} addrgenmode none
         addr add 198.18.{network}.{host}/24 dev {name}
         link set {name} up
         addr add 2001:db8:{network}::{host}/64 dev {name} nodad
         addr add fe80::{network}:{host}/64 dev {name} nodad"
    )
}
