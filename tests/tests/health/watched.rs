//! A runner in the balancer of a bed, whose events a test waits for.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lb_tests::bed::Bed;
use lb_userspace::health::{
    event::{Change, Event},
    machine::State::{self, Up},
    runner::{self, Handle, Options},
};
use tokio::{
    sync::mpsc::Receiver,
    time::{Instant, timeout_at},
};

/// For what should happen within a second or so; long enough for a busy machine.
const SOON: Duration = Duration::from_secs(30);
/// Keys of checks that do not keep a test waiting.
pub const QUICK: &str = "interval = \"250ms\"\ntimeout = \"250ms\"\nrise = 2\nfall = 3\ngrace = \"300ms\"";

/// A runner and what it tells.
pub struct Watched {
    pub handle: Handle,
    pub events: Receiver<Event>,
}

impl Watched {
    pub fn new() -> Self {
        let (handle, events) = runner::spawn(Options { seed: 1, ..Options::default() });
        Self { handle, events }
    }

    /// The next event that the function takes.
    pub async fn next<T>(&mut self, what: &str, mut take: impl FnMut(Event) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + SOON;
        loop {
            let event = timeout_at(deadline, self.events.recv()).await;
            let event = event.with_context(|| format!("waited {SOON:?} in vain for {what}"))?;
            if let Some(taken) = take(event.context("the runner has ended")?) {
                return Ok(taken);
            }
        }
    }

    /// The next change of state of each of these backends, and its text.
    async fn changes(&mut self, names: &[&str]) -> Result<BTreeMap<String, Change>> {
        let mut changes = BTreeMap::new();
        while changes.len() < names.len() {
            let change = self
                .next("a change", |event| match event {
                    Event::Changed(change) => Some(change),
                    Event::Checked(_) => None,
                })
                .await?;
            let name = change.id.backend.to_string();
            ensure!(names.contains(&name.as_str()), "{change}");
            ensure!(changes.insert(name, change.clone()).is_none(), "twice: {change}");
        }
        Ok(changes)
    }

    /// That each of these backends changes so, and no other.
    pub async fn expect(&mut self, names: &[&str], from: Option<State>, to: State) -> Result<()> {
        for (name, change) in self.changes(names).await? {
            ensure!(
                (change.from, change.to) == (from, to),
                "{name} rather than {from:?} to {to:?}: {change}"
            );
            let recovers = to == Up && from.is_some();
            ensure!(change.recovered_at.is_some() == recovers, "{change:?}");
        }
        Ok(())
    }
}

/// Runs a test in the balancer's namespace.
pub fn in_balancer(bed: &Bed, test: impl AsyncFnOnce() -> Result<()> + Send) {
    let ran = bed.balancer().run_in(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(test())
    });
    ran.unwrap();
}
