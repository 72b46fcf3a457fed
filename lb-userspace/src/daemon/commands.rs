//! What others ask of the daemon while it runs: a channel to the one task that owns state and maps.

use super::{
    events::{Events, Happened},
    vitals::Shown,
};
use crate::{
    audit::Who,
    config::{WrittenConfig, WrittenService, rules::Refusal},
    metrics::About,
    plan::Report,
    state::Change,
    tracking::Figures,
    view,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tokio::sync::{broadcast, mpsc, oneshot};
use utoipa::ToSchema;

/// Requests that wait at most; further ones wait at the sender.
const WAITING: usize = 64;

/// Why a request was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failed {
    /// It names a service or backend that does not exist; nothing was changed.
    #[error("{}", .0.0)]
    Missing(Refusal),
    /// What it was meant for was changed since the asker looked; nothing was changed.
    #[error("{0} was changed since it was read; read it again, and decide again")]
    Stale(String),
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

/// What is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// A change of a backend.
    Backend(Change),
    /// A new service.
    AddService(Box<WrittenService>),
    /// A service that goes, with all that it has.
    RemoveService(String),
    /// The configuration file, read again.
    Reload,
}

/// A write, by whom and under which conditions.
#[derive(Clone, Debug)]
pub struct Request {
    /// What is to be written.
    pub write: Write,
    /// Only tell what it would do.
    pub dry_run: bool,
    /// Only if what it is meant for has one of these tags; `*` is any. `None`: in any case.
    pub if_match: Option<Vec<String>>,
    /// Who asks.
    pub who: Who,
}

/// What a write did.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// What its plan does.
    pub report: Report,
    /// What the operator should know.
    pub notes: Vec<String>,
    /// The tag of the service, or of the configuration, from then on; `None`: it is gone.
    pub tag: Option<String>,
}

/// The configuration in force: the file with all that was changed since.
#[derive(Clone, Debug)]
pub struct InForce {
    /// What is in force.
    pub config: WrittenConfig,
    /// Its tag.
    pub tag: String,
    /// The tags of the services.
    pub tags: BTreeMap<String, String>,
}

/// Something of which the file says something else than what is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// Like `web`, `web/b1` or `[daemon]`, with the key.
    pub what: String,
    /// What the file says; null: nothing.
    pub file: serde_json::Value,
    /// What is in force; null: nothing.
    pub in_force: serde_json::Value,
}

/// A request.
#[derive(Debug)]
pub enum Command {
    /// Writes.
    Write {
        /// What, by whom and when.
        request: Request,
        /// Gets what it does.
        reply: Reply<Done>,
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
    /// Tells why a service's weights are what they are.
    Explain {
        /// Its name.
        service: String,
        /// Gets it, a line each.
        reply: Reply<Vec<String>>,
    },
    /// Shows what the health checks found, and who had slots moved.
    Health {
        /// Gets it.
        reply: Reply<Shown>,
    },
    /// Shows what the daemon knows of itself.
    About {
        /// Gets it.
        reply: Reply<About>,
    },
    /// Shows the configuration in force.
    InForce {
        /// Gets it.
        reply: Reply<InForce>,
    },
    /// Compares the configuration in force with the file as it is now.
    Differences {
        /// Gets what differs.
        reply: Reply<Vec<Difference>>,
    },
}

/// Asks the daemon; as many as like may hold one.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
    events: Events,
}

/// Both ends of the channel.
#[must_use]
pub fn channel(events: Events) -> (Handle, mpsc::Receiver<Command>) {
    let (commands, receiver) = mpsc::channel(WAITING);
    (Handle { commands, events }, receiver)
}

impl Handle {
    /// Writes, or with `dry_run` tells what that would do.
    pub async fn write(&self, request: Request) -> Result<Done, Failed> {
        self.ask(|reply| Command::Write { request, reply }).await
    }

    /// What the maps hold, with counters.
    pub async fn view(&self) -> Result<view::Report, Failed> {
        self.ask(|reply| Command::View { reply }).await
    }

    /// What the last whole pass of the sweep saw.
    pub async fn tracking(&self) -> Result<Figures, Failed> {
        self.ask(|reply| Command::Tracking { reply }).await
    }

    /// Why a service's weights are what they are, a line each.
    pub async fn explain(&self, service: String) -> Result<Vec<String>, Failed> {
        self.ask(|reply| Command::Explain { service, reply }).await
    }

    /// What the health checks found, and who had slots moved.
    pub async fn health(&self) -> Result<Shown, Failed> {
        self.ask(|reply| Command::Health { reply }).await
    }

    /// What the daemon knows of itself.
    pub async fn about(&self) -> Result<About, Failed> {
        self.ask(|reply| Command::About { reply }).await
    }

    /// The configuration in force.
    pub async fn in_force(&self) -> Result<InForce, Failed> {
        self.ask(|reply| Command::InForce { reply }).await
    }

    /// Where the file says something else than what is in force.
    pub async fn differences(&self) -> Result<Vec<Difference>, Failed> {
        self.ask(|reply| Command::Differences { reply }).await
    }

    /// Events from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Happened> {
        self.events.listen()
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Failed> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| Failed::Ending)?;
        answer.await.map_err(|_| Failed::Ending)?
    }
}
