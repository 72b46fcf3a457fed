//! What others ask of the daemon while it runs: a channel to the one task that owns state and maps.

use crate::{config::rules::Refusal, plan::Report, state::Change, tracking::Figures, view};
use tokio::sync::{mpsc, oneshot};

/// Requests that wait at most; further ones wait at the sender.
const WAITING: usize = 64;

/// Why a request was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failed {
    /// It is wrong; nothing was changed.
    #[error("{}", .0.0)]
    Refused(Refusal),
    /// The machine failed.
    #[error("{0}")]
    Machine(String),
    /// The daemon ends.
    #[error("the daemon ends; ask again when it runs")]
    Ending,
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Answers to a request.
pub type Reply<T> = oneshot::Sender<Result<T, Failed>>;

/// A request.
#[derive(Debug)]
pub enum Command {
    /// Changes a backend.
    Change {
        /// The change.
        change: Change,
        /// Only tell what it would do.
        dry_run: bool,
        /// Gets what it does.
        reply: Reply<Report>,
    },
    /// Shows what the maps hold.
    View {
        /// Gets all rows.
        reply: Reply<view::Report>,
    },
    /// Shows what the last pass of the sweep saw.
    Tracking {
        /// Gets the figures.
        reply: Reply<Figures>,
    },
}

/// Asks the daemon; as many as like may hold one.
#[derive(Clone, Debug)]
pub struct Handle(mpsc::Sender<Command>);

/// Both ends of the channel.
#[must_use]
pub fn channel() -> (Handle, mpsc::Receiver<Command>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Handle(sender), receiver)
}

impl Handle {
    /// Changes a backend, or with `dry_run` tells what that would do.
    pub async fn change(&self, change: Change, dry_run: bool) -> Result<Report, Failed> {
        self.ask(|reply| Command::Change { change, dry_run, reply }).await
    }

    /// What the maps hold, with counters.
    pub async fn view(&self) -> Result<view::Report, Failed> {
        self.ask(|reply| Command::View { reply }).await
    }

    /// What the last whole pass of the sweep saw.
    pub async fn tracking(&self) -> Result<Figures, Failed> {
        self.ask(|reply| Command::Tracking { reply }).await
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Failed> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.map_err(|_| Failed::Ending)?;
        answer.await.map_err(|_| Failed::Ending)?
    }
}
