//! `--keep` and `--stop`: a demonstration that stays until it is told to go.

use std::{
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::{
    bed::{Bed, BedName, INTERFACE, Process, existing, shown},
    wait::{wait_for, wait_until},
};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{SERVICES, on, plain};

/// A demonstration that is left alone ends by itself, so that a forgotten one is not there for ever.
const LONGEST: Duration = Duration::from_hours(24);

/// Shows how to look at the bed and waits for a signal.
pub(crate) fn until_interrupted(bed: &Bed, balancer: &mut Process, interrupted: &AtomicBool) -> Result<()> {
    let marker = marker(bed.name());
    fs::write(&marker, "").with_context(|| format!("cannot write {}", marker.display()))?;
    println!("{}", commands(bed)?);
    wait_for(LONGEST, "Ctrl-C", || {
        balancer.must_run()?;
        Ok(interrupted.load(Ordering::Relaxed).then_some(()))
    })
}

/// Ends every demonstration that was kept, and waits until it has cleaned up.
pub(crate) fn stop_all() -> Result<()> {
    let kept: Vec<BedName> =
        existing().into_iter().filter(|bed| marker(bed).exists() && bed.owner_lives()).collect();
    if kept.is_empty() {
        println!("No demonstration is running.");
    }
    for bed in kept {
        let pid = Pid::from_raw(i32::try_from(bed.pid()).context("a pid beyond pid_t")?);
        match kill(pid, Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot end the process {pid}")),
        }
        let gone = || !existing().contains(&bed);
        wait_until(Duration::from_secs(30), &format!("bed {bed} to be removed"), gone)?;
        println!("Ended the demonstration in bed {bed}.");
    }
    Ok(())
}

fn marker(bed: &BedName) -> PathBuf {
    bed.directory().join("kept")
}

fn commands(bed: &Bed) -> Result<String> {
    let stats = plain(&shown(bed.xdp_lb()?.arg("stats")));
    let mut lines = vec![
        "\nIt stays up. To look at it:".to_owned(),
        stats,
        format!("bpftool map dump pinned {}", bed.pin_dir().join("BACKEND_STATS").display()),
        on(bed.balancer(), &format!("bpftool net show dev {INTERFACE}")),
    ];
    for (_, v6) in SERVICES {
        let vip = bed.vip(v6)?;
        let host = if v6 { format!("[{vip}]") } else { vip.to_string() };
        lines.push(on(bed.client(), &format!("curl -gsS http://{host}/")));
    }
    Ok(format!("{}\nTo end it: Ctrl-C here, or `cargo xtask demo --stop`.", lines.join("\n  ")))
}
