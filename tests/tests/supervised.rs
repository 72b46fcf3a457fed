//! The daemon under a service manager: what it tells, what it may do, and its unit.

use std::{
    fs,
    net::SocketAddr,
    os::unix::{fs::MetadataExt as _, net::UnixDatagram},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use lb_tests::{
    api::ask,
    ask::{json, number, program_id, row, text},
    bed::{Bed, INTERFACE, Process, built},
    config::{Service, config},
    wait::wait_for,
};
use nix::sys::signal::Signal;

const GRACE: Duration = Duration::from_secs(20);
/// Bits of `/proc/PID/status`: `CAP_NET_ADMIN` 12, `CAP_PERFMON` 38, `CAP_BPF` 39 (linux/capability.h).
const KEPT: u64 = 1 << 12 | 1 << 38 | 1 << 39;
const NAMES: [&str; 3] = ["net_admin", "perfmon", "bpf"];

fn bed() -> Result<Bed> {
    // Links are taken off on the way: nobody could compare counters at the end.
    Bed::builder().backends(2).uncompared().build()
}

fn small(bed: &Bed) -> Result<String> {
    let vip = SocketAddr::new(bed.vip(false)?, 80);
    Ok(config(bed, &[Service::tcp("web", vip).hosts(bed.backends(), &[1, 1])]))
}

/// [`small`] with what a program made for it cannot do.
fn more(bed: &Bed) -> Result<String> {
    let vip = SocketAddr::new(bed.vip(true)?, 53);
    Ok(small(bed)?
        + &Service::udp("names", vip).forwarding("ipip").hosts(bed.backends(), &[1, 1]).to_string())
}

/// The daemon, started by `command`, once it says that it is ready.
fn run(bed: &Bed, mut command: Command, text: &str) -> Result<Process> {
    command.arg("run").arg("-c").arg(bed.write_config(text)?);
    let mut process = Process::spawn(&mut command, &bed.directory().join("xdp-lb.log"))?;
    wait_for(GRACE, "the daemon to be ready", || {
        process.must_run()?;
        Ok(process.log().contains(" ready\n").then_some(()))
    })?;
    Ok(process)
}

/// `xdp-lb` on the bed with these capabilities alone, from the start on.
fn confined(bed: &Bed, capabilities: &[&str]) -> Result<Command> {
    let set = capabilities.iter().fold("-all".to_owned(), |set, name| set + ",+" + name);
    let mut command = bed.balancer().command("setpriv");
    command.arg("--bounding-set").arg(set).arg(built("xdp-lb")?);
    command.arg("--pin-dir").arg(bed.pin_dir()).arg("--api").arg(bed.api());
    Ok(command)
}

/// A mask of every thread of a process.
fn masks(process: &Process, of: &str) -> Result<Vec<u64>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid()))?;
    let masks = tasks.map(|task| {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(of)?.strip_prefix(":\t"));
        Ok(u64::from_str_radix(line.with_context(|| format!("no {of} in {status}"))?, 16)?)
    });
    masks.collect()
}

/// Has the daemon need another program, and attach again where its link is gone.
fn reload_and_attach(bed: &Bed, process: &mut Process) -> Result<()> {
    let (before, link) = (program_id(bed)?, bed.pin_dir().join("links/eth0"));
    fs::remove_file(&link).context("the link is not pinned")?;
    // The kernel takes the program off when it has time.
    wait_for(GRACE, "the interface to be free", || {
        let shown = text(bed.balancer().command("ip").args(["link", "show", INTERFACE]))?;
        Ok((!shown.contains("xdp")).then_some(()))
    })?;
    bed.write_config(&more(bed)?)?;
    process.signal(Signal::SIGHUP)?;
    wait_for(GRACE, "the reload", || {
        process.must_run()?;
        Ok((process.log().contains("reloaded ") && link.exists()).then_some(()))
    })
    .with_context(|| process.log())?;
    ensure!(program_id(bed)? != before, "the new service needs a new program");
    ensure!(process.log().matches("attached to eth0 in native mode").count() == 2, "{}", process.log());
    let rows = json(bed, &["backend", "list", "names"])?;
    ensure!(rows.as_array().is_some_and(|rows| rows.len() == 2), "{rows}");
    Ok(())
}

struct Manager(UnixDatagram);

impl Manager {
    fn new(bed: &Bed) -> Result<Self> {
        let socket = UnixDatagram::bind(bed.directory().join("notify"))?;
        socket.set_read_timeout(Some(GRACE))?;
        Ok(Self(socket))
    }

    /// The next message that says more than that the daemon lives.
    fn news(&self) -> Result<String> {
        loop {
            let told = self.told()?;
            if told.trim() != "WATCHDOG=1" {
                return Ok(told);
            }
        }
    }

    fn told(&self) -> Result<String> {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).context("nothing is told")?;
        Ok(String::from_utf8_lossy(&message[..length]).into_owned())
    }
}

#[test]
fn the_manager_is_told_of_start_life_reload_and_end() {
    let bed = bed().unwrap();
    let manager = Manager::new(&bed).unwrap();
    let mut command = bed.xdp_lb().unwrap();
    command.env("NOTIFY_SOCKET", bed.directory().join("notify")).env("WATCHDOG_USEC", "200000");
    let mut daemon = run(&bed, command, &small(&bed).unwrap()).unwrap();
    assert_eq!(manager.told().unwrap().trim(), "READY=1");
    for _ in 0..3 {
        assert_eq!(manager.told().unwrap().trim(), "WATCHDOG=1");
    }
    daemon.signal(Signal::SIGHUP).unwrap();
    let reloading = manager.news().unwrap();
    assert!(reloading.contains("RELOADING=1") && reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert_eq!(manager.news().unwrap().trim(), "READY=1");
    // One that is refused ends too, and the daemon lives on.
    bed.write_config("nonsense").unwrap();
    daemon.signal(Signal::SIGHUP).unwrap();
    assert!(manager.news().unwrap().contains("RELOADING=1"));
    assert_eq!(manager.news().unwrap().trim(), "READY=1");
    assert_eq!(manager.told().unwrap().trim(), "WATCHDOG=1");
    daemon.signal(Signal::SIGTERM).unwrap();
    assert_eq!(manager.news().unwrap().trim(), "STOPPING=1");
    assert!(daemon.wait(GRACE).unwrap().success());
}

#[test]
fn without_a_watchdog_none_is_fed() {
    let bed = bed().unwrap();
    let manager = Manager::new(&bed).unwrap();
    let mut command = bed.xdp_lb().unwrap();
    command.env("NOTIFY_SOCKET", bed.directory().join("notify")).env_remove("WATCHDOG_USEC");
    let mut daemon = run(&bed, command, &small(&bed).unwrap()).unwrap();
    assert_eq!(manager.told().unwrap().trim(), "READY=1");
    daemon.signal(Signal::SIGTERM).unwrap();
    assert_eq!(manager.told().unwrap().trim(), "STOPPING=1", "and nothing in between");
}

#[test]
fn after_its_start_it_may_do_no_more_than_it_needs_and_goes_on_reloading() {
    let bed = bed().unwrap();
    let mut daemon = run(&bed, bed.xdp_lb().unwrap(), &small(&bed).unwrap()).unwrap();
    let check = |daemon: &Process| {
        for (of, mask) in [("CapEff", KEPT), ("CapPrm", KEPT), ("CapBnd", KEPT), ("CapInh", 0), ("CapAmb", 0)]
        {
            let masks = masks(daemon, of).unwrap();
            assert!(!masks.is_empty() && masks.iter().all(|have| *have == mask), "{of}: {masks:x?}");
        }
        assert!(masks(daemon, "NoNewPrivs").unwrap().iter().all(|set| *set == 1));
    };
    check(&daemon);
    reload_and_attach(&bed, &mut daemon).unwrap();
    check(&daemon);
    // It writes its files as before, and they are root's.
    let changed = ask(&bed, "PATCH", "/v1/services/web/backends/backend-1", "{\"weight\":3}").unwrap();
    assert_eq!(changed.status, 200, "{changed:?}");
    let state = bed.directory().join("state");
    let mut files = 0;
    for entry in fs::read_dir(&state).unwrap() {
        let entry = entry.unwrap();
        let (name, file) = (entry.file_name(), entry.metadata().unwrap());
        // Nobody else writes them, nor reads the secret.
        let others = if name == "hash_key" { 0o077 } else { 0o022 };
        assert_eq!((file.uid(), file.gid(), file.mode() & others), (0, 0, 0), "{name:?} {:o}", file.mode());
        files += 1;
    }
    assert!(files >= 3, "key, changes and log");
    assert!(daemon.stop().unwrap().success());
}

#[test]
fn each_of_its_capabilities_is_needed_and_they_are_enough() {
    let bed = bed().unwrap();
    for (at, missing) in NAMES.iter().enumerate() {
        let rest: Vec<_> =
            NAMES.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, name)| *name).collect();
        let output = (|| {
            let mut command = confined(&bed, &rest)?;
            command.arg("run").arg("-c").arg(bed.write_config(&small(&bed)?)?);
            let mut process = Process::spawn(&mut command, &bed.directory().join(format!("{missing}.log")))?;
            let ended = wait_for(GRACE, "the end or the start", || {
                let ready = process.log().contains(" ready\n");
                Ok(process.ended()?.map(Some).or(ready.then_some(None)))
            })?;
            match ended {
                Some(status) => Ok((status, process.log())),
                None => bail!("it starts without {missing}:\n{}", process.log()),
            }
        })();
        let (status, log) = output.unwrap();
        assert_eq!(status.code(), Some(1), "without {missing}: {log}");
        assert!(log.contains("xdp-lb: "), "without {missing}: {log}");
    }
    let mut daemon = run(&bed, confined(&bed, &NAMES).unwrap(), &small(&bed).unwrap()).unwrap();
    assert!(masks(&daemon, "CapEff").unwrap().iter().all(|mask| *mask == KEPT));
    reload_and_attach(&bed, &mut daemon).unwrap();
    let stats = json(&bed, &["stats"]).unwrap();
    let web = row(&stats["backends"], &[("service", "web"), ("backend", "backend-1")]).unwrap();
    assert!(number(web, "slots").unwrap() > 0, "{web}");
}

#[test]
fn the_unit_is_valid() {
    let unit = include_str!("../../packaging/xdp-lb.service");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("xdp-lb.service");
    let program = built("xdp-lb").unwrap();
    fs::write(&file, unit.replace("/usr/sbin/xdp-lb", program.to_str().unwrap())).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(&file).output();
    // Where there is no systemd, its file cannot be judged.
    let Ok(output) = output else { return };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_it: Vec<_> = said.lines().filter(|line| line.contains("xdp-lb")).collect();
    assert!(output.status.success() && about_it.is_empty(), "{said}");
    // The same capabilities as the daemon keeps.
    let kept = lb_userspace::daemon::KEPT.map(|capability| capability.to_string());
    let bounding = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    assert_eq!(bounding.split(' ').collect::<Vec<_>>(), kept);
    let analysed =
        text(Command::new("systemd-analyze").args(["security", "--offline=yes", "--no-pager"]).arg(&file));
    if let Ok(analysed) = analysed {
        println!("{}", analysed.lines().last().unwrap_or_default());
    }
}
