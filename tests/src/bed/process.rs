//! Processes that end with their guard.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::namespace::shown;
use crate::wait::wait_for;

/// How long a process may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// A running process. Dropping it ends it: SIGTERM, then SIGKILL.
///
/// Commands of [`Namespace::command`](super::Namespace::command) also die with the *thread* that started them
/// (`PR_SET_PDEATHSIG`): start them on the thread that keeps the guard. One whose parent is killed before the program
/// has begun is left to the next [`sweep`](super::sweep).
#[derive(Debug)]
pub struct Process {
    child: Child,
    shown: String,
    log: PathBuf,
}

impl Process {
    /// Starts the command with its output in the file `log`, added to what an earlier process wrote there.
    pub fn spawn(command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open the log {}", log.display()))?;
        let errors = output.try_clone().context("cannot share the log")?;
        let shown = shown(command);
        let child =
            command.stdout(output).stderr(errors).spawn().with_context(|| format!("cannot start {shown}"))?;
        Ok(Self { child, shown, log: log.to_owned() })
    }

    /// The process id, which stays the same from `nsenter` to the program itself.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How the process ended, if it did.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot ask for the state of {}", self.shown))
    }

    /// Fails with what the process wrote when it has ended: a server that is waited for must still run.
    pub fn must_run(&mut self) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} ended ({status}):\n{}", self.shown, self.log());
        }
        Ok(())
    }

    /// What the process wrote so far, to standard output and standard error.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        // Once reaped, the pid may be another's.
        if self.ended()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.pid()).context("a pid beyond pid_t")?;
        signal::kill(Pid::from_raw(pid), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.shown))
    }

    /// Waits for the end.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {}", self.shown);
        wait_for(deadline, &what, || self.ended())
    }

    /// Ends the process in order (SIGTERM), or by force when it does not end in time, and tells how it ended.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        self.wait(GRACE).or_else(|_| self.kill())
    }

    /// Ends the process by force (SIGKILL).
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGKILL)?;
        self.wait(GRACE)
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a drop has nobody to hand its error to, and must not hide it")]
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("a process outlives its guard: {error:#}");
        }
    }
}
