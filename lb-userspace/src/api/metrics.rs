//! `/metrics`, for Prometheus, on an address of its own.

use super::{error::ApiError, rows::Tracking};
use crate::{daemon::commands::Handle, metrics};
use anyhow::Context as _;
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::get,
};
use std::net::SocketAddr;
use tokio::{net::TcpListener, task::JoinHandle};

/// Served metrics. Dropping it ends them.
#[derive(Debug)]
pub struct Metrics(JoinHandle<()>);

/// Listens there.
///
/// # Errors
/// When the address is not this machine's, or is taken.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener
        .with_context(|| format!("cannot serve metrics on {address}; choose another address for `metrics`"))
}

impl Metrics {
    /// Serves them.
    #[must_use]
    pub fn serve(listener: TcpListener, daemon: Handle) -> Self {
        let router = Router::new().route("/metrics", get(scrape)).with_state(daemon);
        Self(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the metrics end: {error}");
            }
        }))
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn scrape(State(daemon): State<Handle>) -> Result<impl IntoResponse, ApiError> {
    let (report, figures, about) = (daemon.view().await?, daemon.tracking().await?, daemon.about().await?);
    let health = daemon.health().await?;
    let text = metrics::text(&report, &Tracking::from(&figures), &health, &about)
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(([(CONTENT_TYPE, prometheus::TEXT_FORMAT)], text))
}
