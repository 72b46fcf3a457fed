//! What outlives the daemon in its state directory: run-time changes and the audit log.

use super::balancer::now;
use crate::{
    audit::{Deed, Log},
    state::{Clocks, State},
    state_dir::store::{Contents, Found, Store},
};
use anyhow::Context as _;
use std::{
    path::Path,
    time::{Duration, SystemTime},
};
use tracing::{error, info, warn};

/// The files of the state directory that are written.
pub(super) struct Records {
    store: Store,
    log: Log,
}

/// Both clocks now.
pub(super) fn clocks() -> Clocks {
    let real = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    Clocks { monotonic: now(), real: real.unwrap_or(Duration::ZERO) }
}

/// Takes the changes of an earlier daemon up again.
pub(super) fn restore(directory: &Path, state: &mut State) -> anyhow::Result<()> {
    let store = Store::new(directory);
    let shown = store.path();
    let shown = shown.display();
    match store.read().with_context(|| format!("cannot read {shown}, the run-time changes"))? {
        Found::Nothing => {}
        Found::Damaged { aside, why } => error!(
            "{shown}, the run-time changes, is damaged: {why}; it is kept as {}, and the configuration alone holds now: make the changes again",
            aside.display()
        ),
        Found::Contents(contents) => {
            for note in state.restore(&contents.changes, clocks()) {
                warn!("{note}");
            }
            let kept = state.kept(clocks());
            let number = kept.services.len() + kept.backends.len() + kept.drains.len();
            if number > 0 {
                info!("{number} run-time changes of {shown} hold; `xdp-lb config diff` shows them");
            }
        }
    }
    Ok(())
}

impl Records {
    /// Opens what is written.
    pub fn open(directory: &Path) -> anyhow::Result<Self> {
        Ok(Self { store: Store::new(directory), log: Log::open(directory)? })
    }

    /// Keeps the state's changes.
    pub fn keep(&self, state: &State) -> anyhow::Result<()> {
        let head = self.log.head();
        let audited = (head.number > 0).then(|| (head.number, head.hash.clone()));
        let contents = Contents { changes: state.kept(clocks()), audited };
        let path = self.store.path();
        self.store.write(&contents).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Whether an earlier daemon left changes.
    pub fn is_kept(&self) -> bool {
        self.store.path().exists()
    }

    /// Adds to the audit log.
    pub fn audit(&mut self, deed: Deed) -> anyhow::Result<()> {
        self.log.add(deed, SystemTime::now()).context("cannot write the audit log")
    }
}
