//! Paths and what they do.

use super::{
    error::ApiError,
    rows::{AddBackend, Changed, DrainBackend, SetBackend, Tracking},
};
use crate::{
    config::{Backend, rules},
    daemon::commands::{Failed, Handle},
    state::Change,
    view::{BackendRow, Report, ServiceRow},
};
use axum::{
    Json, Router,
    extract::{
        Path, Query, State,
        rejection::{JsonRejection, QueryRejection},
    },
    routing::{get, patch, post},
};
use serde::Deserialize;

/// A weight that the configuration would give too.
const DEFAULT_WEIGHT: u32 = 100;

type Answer<T> = Result<Json<T>, ApiError>;

/// What every write takes.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    /// Only tell what it would do.
    #[serde(default)]
    dry_run: bool,
    /// Of a removal: at once.
    #[serde(default)]
    now: bool,
}

/// All paths.
pub fn router(daemon: Handle) -> Router {
    Router::new()
        .route("/v1/services", get(services))
        .route("/v1/services/{service}", get(service))
        .route("/v1/services/{service}/backends", get(backends).post(add))
        .route("/v1/services/{service}/backends/{backend}", patch(set).delete(remove))
        .route("/v1/services/{service}/backends/{backend}/drain", post(drain))
        .route("/v1/stats", get(stats))
        .route("/v1/tracking", get(tracking))
        .fallback(|| async { ApiError::not_found("there is no such path; the API begins at /v1/services") })
        .with_state(daemon)
}

async fn services(State(daemon): State<Handle>) -> Answer<Vec<ServiceRow>> {
    Ok(Json(daemon.view().await?.services))
}

async fn service(State(daemon): State<Handle>, Path(service): Path<String>) -> Answer<ServiceRow> {
    let found = of(&daemon, &service).await?.services.pop();
    Ok(Json(found.ok_or_else(|| ApiError::not_found("there is no such service"))?))
}

async fn backends(State(daemon): State<Handle>, Path(service): Path<String>) -> Answer<Vec<BackendRow>> {
    Ok(Json(of(&daemon, &service).await?.backends))
}

async fn of(daemon: &Handle, service: &str) -> Result<Report, ApiError> {
    daemon.view().await?.of_service(Some(service)).map_err(|error| ApiError::not_found(error.to_string()))
}

async fn stats(State(daemon): State<Handle>) -> Answer<Report> {
    Ok(Json(daemon.view().await?))
}

async fn tracking(State(daemon): State<Handle>) -> Answer<Tracking> {
    Ok(Json((&daemon.tracking().await?).into()))
}

async fn add(
    State(daemon): State<Handle>,
    Path(service): Path<String>,
    options: Result<Query<Options>, QueryRejection>,
    body: Result<Json<AddBackend>, JsonRejection>,
) -> Answer<Changed> {
    let Json(AddBackend { name, address, weight }) = body?;
    let name = rules::name(&name)?;
    let (address, port) = rules::backend_address(&address)?;
    let backend = Backend { name, address, port, weight: weight.unwrap_or(DEFAULT_WEIGHT) };
    carry_out(&daemon, Change::AddBackend { service, backend }, &options?.0).await
}

async fn set(
    State(daemon): State<Handle>,
    Path((service, backend)): Path<(String, String)>,
    options: Result<Query<Options>, QueryRejection>,
    body: Result<Json<SetBackend>, JsonRejection>,
) -> Answer<Changed> {
    let weight = body?.weight;
    carry_out(&daemon, Change::SetWeight { service, backend, weight }, &options?.0).await
}

async fn drain(
    State(daemon): State<Handle>,
    Path((service, backend)): Path<(String, String)>,
    options: Result<Query<Options>, QueryRejection>,
    body: Result<Json<DrainBackend>, JsonRejection>,
) -> Answer<Changed> {
    let deadline = body?.0.deadline;
    let deadline = deadline.map(|text| rules::duration("deadline", &text, rules::DEADLINE)).transpose()?;
    carry_out(&daemon, Change::Drain { service, backend, deadline }, &options?.0).await
}

async fn remove(
    State(daemon): State<Handle>,
    Path((service, backend)): Path<(String, String)>,
    options: Result<Query<Options>, QueryRejection>,
) -> Answer<Changed> {
    let Query(options) = options?;
    carry_out(&daemon, Change::Remove { service, backend, now: options.now }, &options).await
}

async fn carry_out(daemon: &Handle, change: Change, options: &Options) -> Answer<Changed> {
    let service = change.names().0.to_owned();
    let report = daemon.change(change, options.dry_run).await?;
    let figures = daemon.tracking().await?;
    let changed = Changed::new(&report, &service, options.dry_run, &figures);
    Ok(Json(changed.ok_or(Failed::Ending)?))
}
