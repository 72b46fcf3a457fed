//! The daemon's API: JSON over HTTP on a Unix socket, which its owner and group may use.

mod error;
mod routes;
mod rows;
mod socket;

pub use rows::{AddBackend, Changed, DrainBackend, SetBackend, Tracking};

use crate::daemon::commands::Handle;
use std::path::Path;
use tokio::task::JoinHandle;

/// A served API. Dropping it ends it and takes its socket away.
#[derive(Debug)]
pub struct Api {
    task: JoinHandle<()>,
    _socket: socket::Socket,
}

impl Api {
    /// Serves on a socket of this path, whose directory is made.
    ///
    /// # Errors
    /// When another daemon serves there, or the socket cannot be made.
    pub async fn serve(path: &Path, daemon: Handle) -> anyhow::Result<Self> {
        let (listener, socket) = socket::bind(path).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, routes::router(daemon)).await {
                tracing::error!("the API ends: {error}");
            }
        });
        Ok(Self { task, _socket: socket })
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}
