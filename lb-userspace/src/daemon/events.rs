//! What happens, for those who want to know at once.

use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;
use utoipa::ToSchema;

/// Events that wait for a slow reader at most; it is then told how many it missed.
const WAITING: usize = 256;

/// Something that happened.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Happened {
    /// Like `backend set`, `reload`; `settled`: slots came to rest, or backends were left by their last flow; `health`:
    /// checks found a backend in another state; `panic`: a service's health begins or ends to be ignored; `weights`: a service's
    /// weights follow latency, hold or are frozen from then on; `behind`: the maps could not be brought to the desired state, and it is tried again.
    pub event: &'static str,
    /// To what, like `web/b1`; empty: to all.
    pub target: String,
    /// What it is now, or what is wrong.
    pub now: Value,
}

/// Where events are told.
#[derive(Clone, Debug)]
pub struct Events(broadcast::Sender<Happened>);

impl Default for Events {
    fn default() -> Self {
        Self(broadcast::Sender::new(WAITING))
    }
}

impl Events {
    /// Tells whoever listens.
    pub fn tell(&self, event: &'static str, target: impl Into<String>, now: Value) {
        // Nobody listens: nobody needs to know.
        let _ = self.0.send(Happened { event, target: target.into(), now });
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Happened> {
        self.0.subscribe()
    }
}
