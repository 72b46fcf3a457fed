//! Paths, and what reads. The document of the API is made of the same list.

use super::{
    backends, config,
    document::{self, Failing, Named},
    error::{self, ApiError},
    events,
    rows::{Explanation, Stats, Tracking},
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
};
use utoipa_axum::{router::OpenApiRouter, routes};

type Answer<T> = Result<Json<T>, ApiError>;

/// All paths.
pub fn router(daemon: Handle) -> Router {
    let (router, _) = all().split_for_parts();
    router.fallback(error::no_such_path).method_not_allowed_fallback(error::no_such_method).with_state(daemon)
}

/// The document of all paths.
pub fn document() -> utoipa::openapi::OpenApi {
    all().into_openapi()
}

/// The one list: what is not in it is neither served nor documented.
pub(super) fn all() -> OpenApiRouter<Handle> {
    OpenApiRouter::with_openapi(document::whole())
        .routes(routes!(services, config::add_service))
        .routes(routes!(service, config::remove_service))
        .routes(routes!(backends, backends::add))
        .routes(routes!(backend, backends::set, backends::remove))
        .routes(routes!(backends::drain))
        .routes(routes!(explain))
        .routes(routes!(stats))
        .routes(routes!(tracking))
        .routes(routes!(config::show))
        .routes(routes!(config::differences))
        .routes(routes!(config::reload))
        .routes(routes!(events::stream))
        .routes(routes!(document::show))
}

/// Services, with counters.
#[utoipa::path(
    get,
    path = "/v1/services",
    tag = "services",
    responses(
        (status = 200, description = "All services", body = Vec<ServiceRow>, headers(("ETag" = String, description = "Tag of the configuration, for `If-Match`"))),
        Failing,
    )
)]
async fn services(State(daemon): State<Handle>) -> Result<(HeaderMap, Json<Vec<ServiceRow>>), ApiError> {
    let tag = daemon.in_force().await?.tag;
    Ok((etag(Some(&tag)), Json(daemon.view().await?.services)))
}

/// A service, with counters.
#[utoipa::path(
    get,
    path = "/v1/services/{service}",
    tag = "services",
    params(("service" = String, Path, description = "Name of the service")),
    responses(
        (status = 200, description = "The service", body = ServiceRow, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        Named,
        Failing,
    )
)]
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

/// Backends of a service, with state, slots and counters.
#[utoipa::path(
    get,
    path = "/v1/services/{service}/backends",
    tag = "backends",
    params(("service" = String, Path, description = "Name of the service")),
    responses(
        (status = 200, description = "Its backends", body = Vec<BackendRow>, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        Named,
        Failing,
    )
)]
async fn backends(
    State(daemon): State<Handle>,
    path: Result<Path<String>, PathRejection>,
) -> Result<(HeaderMap, Json<Vec<BackendRow>>), ApiError> {
    let Path(service) = path?;
    let tags = daemon.in_force().await?.tags;
    let rows = of(&daemon, &service).await?.backends;
    Ok((etag(tags.get(&service).map(String::as_str)), Json(rows)))
}

/// A backend, with state, slots and counters.
///
/// Of several with the name, as while one of an earlier address leaves, the one that stays.
#[utoipa::path(
    get,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(("service" = String, Path, description = "Name of the service"), ("backend" = String, Path, description = "Name of the backend")),
    responses(
        (status = 200, description = "The backend", body = BackendRow),
        Named,
        Failing,
    )
)]
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

/// Why the weights of a service are what they are, in words.
#[utoipa::path(
    get,
    path = "/v1/services/{service}/explain",
    tag = "services",
    params(("service" = String, Path, description = "Name of the service")),
    responses(
        (status = 200, description = "The state and the last decisions", body = Explanation),
        Named,
        Failing,
    )
)]
async fn explain(
    State(daemon): State<Handle>,
    path: Result<Path<String>, PathRejection>,
) -> Answer<Explanation> {
    let Path(service) = path?;
    let lines = daemon.explain(service.clone()).await?;
    Ok(Json(Explanation { service, lines }))
}

/// Every counter.
#[utoipa::path(
    get,
    path = "/v1/stats",
    tag = "counters",
    responses(
        (status = 200, description = "Rows of services, backends and verdicts", body = Stats),
        Failing,
    )
)]
async fn stats(State(daemon): State<Handle>) -> Answer<Stats> {
    let (report, tracking) = (daemon.view().await?, (&daemon.tracking().await?).into());
    Ok(Json(Stats { report, tracking: Some(tracking), daemon: Some(daemon.about().await?) }))
}

/// Slots by phase, and flows that are remembered.
#[utoipa::path(
    get,
    path = "/v1/tracking",
    tag = "counters",
    responses(
        (status = 200, description = "What the last whole pass of the sweep saw", body = Tracking),
        Failing,
    )
)]
async fn tracking(State(daemon): State<Handle>) -> Answer<Tracking> {
    Ok(Json((&daemon.tracking().await?).into()))
}
