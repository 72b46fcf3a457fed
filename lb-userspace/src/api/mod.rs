//! The daemon's API: JSON over HTTP on a Unix socket, which its owner and group may use, and over TLS where the configuration
//! asks for it.

mod backends;
mod config;
mod document;
mod error;
mod events;
pub mod metrics;
mod routes;
mod rows;
pub mod socket;
pub mod tls;
mod writer;

pub use rows::{
    AddBackend, Applied, Changed, DrainBackend, Explanation, ServiceTracking, SetBackend, Stats, Tracking,
};

use crate::daemon::commands::Handle;
use tokio::{net::UnixListener, task::JoinHandle};

/// A served API. Dropping it ends it and takes its socket away.
#[derive(Debug)]
pub struct Api {
    task: JoinHandle<()>,
    _socket: Option<socket::Socket>,
}

impl Api {
    /// Serves on a socket.
    #[must_use]
    pub fn serve((listener, socket): (UnixListener, socket::Socket), daemon: Handle) -> Self {
        let service = routes::router(daemon).into_make_service_with_connect_info::<writer::Peer>();
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).await {
                tracing::error!("the API ends: {error}");
            }
        });
        Self { task, _socket: Some(socket) }
    }

    /// Serves over TLS.
    #[must_use]
    pub fn serve_tls(listener: tls::TlsListener, daemon: Handle) -> Self {
        let service = routes::router(daemon).into_make_service_with_connect_info::<writer::Peer>();
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, service).await {
                tracing::error!("the API over TLS ends: {error}");
            }
        });
        Self { task, _socket: None }
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.task.abort();
    }
}
