//! Network namespaces, and running commands and closures inside them.

use std::{
    ffi::OsStr,
    fmt::Display,
    fs::{self, File},
    io::Write as _,
    os::unix::process::CommandExt as _,
    panic,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

/// Where iproute2 keeps its named namespaces.
pub(super) const DIRECTORY: &str = "/var/run/netns";

/// A named network namespace. The bed that it belongs to removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace, with `lo` up, and IPv6 addresses usable without duplicate address detection.
    pub(super) fn create(name: String) -> Result<Self> {
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        // `default` is what the interfaces that come later start with.
        for of in ["all", "default"] {
            namespace.set_sysctl(&format!("net/ipv6/conf/{of}/disable_ipv6"), 0)?;
            namespace.set_sysctl(&format!("net/ipv6/conf/{of}/accept_dad"), 0)?;
            namespace.set_sysctl(&format!("net/ipv6/conf/{of}/accept_ra"), 0)?;
            namespace.set_sysctl(&format!("net/ipv4/conf/{of}/rp_filter"), 0)?;
            namespace.set_sysctl(&format!("net/ipv4/conf/{of}/accept_redirects"), 0)?;
            namespace.set_sysctl(&format!("net/ipv4/conf/{of}/send_redirects"), 0)?;
        }
        namespace.ip(&["link set lo up"])?;
        Ok(namespace)
    }

    /// The namespace's name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that stands for the namespace, for `nsenter --net=`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        path(&self.name)
    }

    /// A command that runs inside the namespace and dies with the thread that started it.
    ///
    /// Mounts stay those of the caller (`ip netns exec` would put a new /sys in place and hide /sys/fs/bpf). The
    /// command leads a process group of its own, so that Ctrl-C reaches only the caller, who then ends it in order.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={}", self.path().display()))
            .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
            .arg(program)
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Runs a closure on a thread inside the namespace: sockets made there, and threads started there, belong to it.
    pub fn run_in<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let namespace = File::open(self.path())
            .with_context(|| format!("cannot open the namespace {}", self.path().display()))?;
        let inside = || {
            setns(namespace, CloneFlags::CLONE_NEWNET)
                .with_context(|| format!("cannot enter the namespace {} (are you root?)", self.name))?;
            work()
        };
        thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// Runs lines of `ip -batch` in the namespace, all or none reported as one error.
    pub fn ip<S: AsRef<str>>(&self, lines: &[S]) -> Result<()> {
        let batch: String = lines.iter().flat_map(|line| [line.as_ref(), "\n"]).collect();
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start ip (install iproute2: cargo xtask setup)")?;
        // Dropped at once, so that ip sees the end; when it ended early, its own message says why.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(batch.as_bytes()));
        let output = child.wait_with_output().context("cannot wait for ip")?;
        if !output.status.success() {
            bail!("ip in {}: {}\n{batch}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Sets a value under /proc/sys as the namespace sees it; `key` is written with slashes.
    pub fn set_sysctl(&self, key: &str, value: impl Display) -> Result<()> {
        let value = value.to_string();
        // /proc/sys/net shows the namespace of the thread that looks.
        self.run_in(|| {
            fs::write(Path::new("/proc/sys").join(key), &value)
                .with_context(|| format!("cannot set {key} to {value} in {}", self.name))
        })
    }
}

/// The file of the namespace called `name`.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Removes the namespace called `name`; another process that removed it first is welcome to.
pub(super) fn delete(name: &str) -> Result<()> {
    match run(Command::new("ip").args(["netns", "delete", name])) {
        Err(_) if !path(name).exists() => Ok(()),
        result => result,
    }
}

/// Runs a command to its end; an error holds the command and what it said.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({}): {}", shown(command), output.status, said.trim());
    }
    Ok(())
}

/// A command as one would type it.
#[must_use]
pub fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    words.join(" ")
}
