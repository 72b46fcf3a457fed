//! What a plan does, in the words of an operator.

use lb_common::slot::BackendIndex;

/// What a plan does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The services that are desired, by name.
    pub services: Vec<ServiceReport>,
}

/// What a plan does to a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceReport {
    /// Its name.
    pub service: String,
    /// Size of its table.
    pub slots: u32,
    /// Slots that change their backend.
    pub moved: u32,
    /// Of those: their backend takes no new connections, so that they move whatever they are at.
    pub forced: u32,
    /// Slots that should change their backend too, and may only when they are stable.
    pub waiting: u32,
    /// Slots that are stable once the plan is carried out.
    pub stable: u32,
    /// What the operator should know.
    pub note: Option<String>,
    /// Its backends, leaving ones too, by name.
    pub backends: Vec<BackendReport>,
}

/// What a plan does to a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendReport {
    /// Its name.
    pub backend: String,
    /// Its index in BACKENDS.
    pub index: BackendIndex,
    /// Slots that name it before.
    pub before: u32,
    /// Slots that name it after.
    pub after: u32,
    /// It is not desired any more, and keeps its flows until they end.
    pub leaving: bool,
}

impl Report {
    /// Slots that change their backend, of all services.
    #[must_use]
    pub fn moved(&self) -> u32 {
        self.services.iter().map(|service| service.moved).sum()
    }

    /// Slots that should move and may not yet, of all services.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.services.iter().map(|service| service.waiting).sum()
    }
}
