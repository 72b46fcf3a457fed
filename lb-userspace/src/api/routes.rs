//! Paths, and what reads.

use super::{
    backends, config,
    error::{self, ApiError},
    events,
    rows::{Stats, Tracking},
    writer::etag,
};
use crate::{
    daemon::commands::Handle,
    view::{BackendRow, Report, ServiceRow},
};
use axum::{
    Json, Router,
    extract::{Path, State, rejection::PathRejection},
    http::HeaderMap,
    routing::{get, patch, post},
};

type Answer<T> = Result<Json<T>, ApiError>;

/// All paths.
pub fn router(daemon: Handle) -> Router {
    Router::new()
        .route("/v1/services", get(services).post(config::add_service))
        .route("/v1/services/{service}", get(service).delete(config::remove_service))
        .route("/v1/services/{service}/backends", get(backends).post(backends::add))
        .route(
            "/v1/services/{service}/backends/{backend}",
            patch(backends::set).get(backend).delete(backends::remove),
        )
        .route("/v1/services/{service}/backends/{backend}/drain", post(backends::drain))
        .route("/v1/stats", get(stats))
        .route("/v1/tracking", get(tracking))
        .route("/v1/config", get(config::show))
        .route("/v1/config/diff", get(config::differences))
        .route("/v1/reload", post(config::reload))
        .route("/v1/events", get(events::stream))
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::no_such_method)
        .with_state(daemon)
}

async fn services(State(daemon): State<Handle>) -> Result<(HeaderMap, Json<Vec<ServiceRow>>), ApiError> {
    let tag = daemon.in_force().await?.tag;
    Ok((etag(Some(&tag)), Json(daemon.view().await?.services)))
}

async fn service(
    State(daemon): State<Handle>,
    path: Result<Path<String>, PathRejection>,
) -> Result<(HeaderMap, Json<ServiceRow>), ApiError> {
    let Path(service) = path?;
    let tags = daemon.in_force().await?.tags;
    let found = of(&daemon, &service).await?.services.pop();
    let row = found.ok_or_else(|| ApiError::not_found("there is no such service"))?;
    Ok((etag(tags.get(&service).map(String::as_str)), Json(row)))
}

async fn backends(
    State(daemon): State<Handle>,
    path: Result<Path<String>, PathRejection>,
) -> Result<(HeaderMap, Json<Vec<BackendRow>>), ApiError> {
    let Path(service) = path?;
    let tags = daemon.in_force().await?.tags;
    let rows = of(&daemon, &service).await?.backends;
    Ok((etag(tags.get(&service).map(String::as_str)), Json(rows)))
}

/// Of several with the name, as while one of an earlier address leaves, the one that stays.
async fn backend(
    State(daemon): State<Handle>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Answer<BackendRow> {
    let Path((service, backend)) = path?;
    let mut rows = of(&daemon, &service).await?.backends;
    rows.retain(|row| row.backend == backend);
    rows.sort_by_key(|row| row.state == "leaving");
    let missing = || {
        ApiError::not_found(format!(
            "service {service:?} has no backend {backend:?}; /v1/services/{service}/backends lists those that it has"
        ))
    };
    rows.into_iter().next().map(Json).ok_or_else(missing)
}

async fn of(daemon: &Handle, service: &str) -> Result<Report, ApiError> {
    daemon.view().await?.of_service(Some(service)).map_err(|error| ApiError::not_found(error.to_string()))
}

async fn stats(State(daemon): State<Handle>) -> Answer<Stats> {
    let (report, tracking) = (daemon.view().await?, (&daemon.tracking().await?).into());
    Ok(Json(Stats { report, tracking: Some(tracking), daemon: Some(daemon.about().await?) }))
}

async fn tracking(State(daemon): State<Handle>) -> Answer<Tracking> {
    Ok(Json((&daemon.tracking().await?).into()))
}
