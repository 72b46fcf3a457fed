//! The machine, judged.

use super::Finding;
use lb_common::ABI_VERSION;

/// The oldest kernel that loads the program: `xdp.frags` came with it.
const OLDEST: (u32, u32) = (5, 18);
/// Descriptors that connections of checks and of the API may need.
const FILES: u64 = 4096;

/// What was read of the machine. `None`: it could not be read.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The kernel's release, like `6.1.0-56-amd64`.
    pub release: String,
    /// Whether the kernel describes its types (`/sys/kernel/btf/vmlinux`).
    pub btf: bool,
    /// Whether the pin directory is on a BPF file system; `None`: none is mounted.
    pub bpffs: Option<bool>,
    /// `net.core.bpf_jit_enable`.
    pub jit: Option<u64>,
    /// Whether the kernel loads programs of XDP for us; else why not.
    pub bpf: Result<(), String>,
    /// Which of the capabilities that are needed this process lacks.
    pub lacking: Vec<String>,
    /// The soft limit of open files (`RLIMIT_NOFILE`).
    pub files: Option<u64>,
    /// `net.ipv4.neigh.default.gc_thresh3` and that of IPv6: most neighbours.
    pub neighbours: [Option<u64>; 2],
    /// What is pinned.
    pub pinned: Pinned,
}

/// What is pinned under the pin directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinned {
    /// Nothing.
    #[default]
    Nothing,
    /// Maps of this version's layout.
    Ours {
        /// Backends that they hold.
        backends: usize,
        /// Whether one of the services is forwarded by nat.
        nat: bool,
        /// Text that tells builds apart.
        build: String,
    },
    /// What cannot be used, and why.
    Unusable(String),
}

/// Judges it.
#[must_use]
pub fn judge(machine: &Machine) -> Vec<Finding> {
    vec![
        kernel(&machine.release),
        bpf(&machine.bpf),
        btf(machine.btf),
        bpffs(machine.bpffs),
        jit(machine.jit),
        capabilities(&machine.lacking),
        files(machine.files),
        neighbours("neighbours ipv4", "net.ipv4", machine.neighbours[0], &machine.pinned),
        neighbours("neighbours ipv6", "net.ipv6", machine.neighbours[1], &machine.pinned),
        pinned(&machine.pinned),
    ]
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    let (major, minor) = OLDEST;
    match version {
        Some(version) if version >= OLDEST => Finding::ok("kernel", format!("Linux {release}")),
        Some(_) => Finding::fail(
            "kernel",
            format!("Linux {release}"),
            format!("boot Linux {major}.{minor} or later: older ones do not load the program"),
        ),
        None => Finding::warn("kernel", format!("{release:?} is no release of Linux"), "see `uname -r`"),
    }
}

fn bpf(bpf: &Result<(), String>) -> Finding {
    match bpf {
        Ok(()) => Finding::ok("bpf", "programs of XDP are loaded"),
        Err(why) => Finding::fail(
            "bpf",
            why.clone(),
            "run it as root, on a kernel with CONFIG_BPF_SYSCALL=y, and not behind a container's seccomp filter",
        ),
    }
}

fn btf(there: bool) -> Finding {
    if there {
        return Finding::ok("btf", "/sys/kernel/btf/vmlinux is there");
    }
    let mend = "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y";
    Finding::fail("btf", "/sys/kernel/btf/vmlinux is missing", mend)
}

fn bpffs(there: Option<bool>) -> Finding {
    match there {
        Some(true) => Finding::ok("bpffs", "the pin directory is on a BPF file system"),
        Some(false) => Finding::fail(
            "bpffs",
            "the pin directory is on another file system",
            "choose a pin_dir below /sys/fs/bpf, or mount a BPF file system there",
        ),
        None => Finding::warn(
            "bpffs",
            "/sys/fs/bpf is not mounted",
            "mount -t bpf bpf /sys/fs/bpf; the daemon does so when it starts as root",
        ),
    }
}

fn jit(enabled: Option<u64>) -> Finding {
    match enabled {
        Some(0) => Finding::warn(
            "jit",
            "net.core.bpf_jit_enable is 0: programs are interpreted, several times slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        Some(_) => Finding::ok("jit", "programs are compiled"),
        None => Finding::warn(
            "jit",
            "net.core.bpf_jit_enable cannot be read",
            "boot a kernel built with CONFIG_BPF_JIT=y",
        ),
    }
}

fn capabilities(lacking: &[String]) -> Finding {
    if lacking.is_empty() {
        return Finding::ok("capabilities", "all that are needed");
    }
    let found = format!("{} missing", lacking.join(", "));
    Finding::fail("capabilities", found, "run it as root, or give the container these capabilities")
}

fn files(limit: Option<u64>) -> Finding {
    match limit {
        Some(limit) if limit < FILES => Finding::warn(
            "open files",
            format!("at most {limit}: checks of many backends at a time have to wait"),
            format!("ulimit -n {FILES}, or LimitNOFILE= in the unit"),
        ),
        Some(limit) => Finding::ok("open files", format!("at most {limit}")),
        None => Finding::warn("open files", "the limit cannot be read", "see `ulimit -n`"),
    }
}

/// Each backend is a neighbour, and so are routers and clients on the link: twice as many as backends are asked for.
fn neighbours(check: &str, of: &str, most: Option<u64>, pinned: &Pinned) -> Finding {
    let backends = if let Pinned::Ours { backends, .. } = pinned { *backends as u64 } else { 0 };
    let key = format!("{of}.neigh.default.gc_thresh3");
    match most {
        Some(most) if most < 2 * backends => Finding::fail(
            check,
            format!("{key} is {most}, and there are {backends} backends: some may have no MAC address"),
            format!("sysctl -w {key}={}", (4 * backends).next_power_of_two()),
        ),
        Some(most) => Finding::ok(check, format!("room for {most}")),
        None => Finding::warn(check, format!("{key} cannot be read"), format!("see `sysctl {key}`")),
    }
}

fn pinned(pinned: &Pinned) -> Finding {
    match pinned {
        Pinned::Nothing => Finding::ok("pinned", "nothing: the next start is a first one"),
        Pinned::Ours { backends, build, .. } => Finding::ok(
            "pinned",
            format!("maps of version {ABI_VERSION} with {backends} backends, by {build}"),
        ),
        Pinned::Unusable(why) => Finding::fail(
            "pinned",
            why.clone(),
            "run the version that made it, or take it away with `xdp-lb detach --all` of that version",
        ),
    }
}
