//! The configuration in force, and writes of whole services.

use super::{
    document::{DryRun, ErrorBody, Failing, IfMatch, Named, WithBody, Writing},
    error::ApiError,
    rows::Applied,
    writer::{Writer, etag},
};
use crate::{
    config::{WrittenConfig, WrittenService},
    daemon::commands::{Difference, Handle, Write},
};
use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode},
};

type Answer = Result<(HeaderMap, Json<Applied>), ApiError>;

/// The file with all that was changed since, without the secret.
#[utoipa::path(
    get,
    path = "/v1/config",
    tag = "configuration",
    responses(
        (status = 200, description = "What is in force", body = WrittenConfig, headers(("ETag" = String, description = "Tag of the configuration, for `If-Match`"))),
        Failing,
    )
)]
pub async fn show(State(daemon): State<Handle>) -> Result<(HeaderMap, Json<WrittenConfig>), ApiError> {
    let in_force = daemon.in_force().await?;
    Ok((etag(Some(&in_force.tag)), Json(in_force.config)))
}

/// Where the file says something else now.
#[utoipa::path(
    get,
    path = "/v1/config/diff",
    tag = "configuration",
    responses(
        (status = 200, description = "What differs", body = Vec<Difference>),
        (status = 422, description = "The file is not valid", body = ErrorBody),
        Failing,
    )
)]
pub async fn differences(State(daemon): State<Handle>) -> Result<Json<Vec<Difference>>, ApiError> {
    Ok(Json(daemon.differences().await?))
}

/// Reads the file again.
#[utoipa::path(
    post,
    path = "/v1/reload",
    tag = "configuration",
    params(DryRun, IfMatch),
    responses(
        (status = 200, description = "What it did; with `dry_run` what it would do", body = Applied, headers(("ETag" = String, description = "Tag of the configuration, for `If-Match`"))),
        Writing,
        Failing,
    )
)]
pub async fn reload(State(daemon): State<Handle>, writer: Writer) -> Answer {
    carry_out(&daemon, writer, Write::Reload).await
}

/// Adds a service, as the configuration would write it.
#[utoipa::path(
    post,
    path = "/v1/services",
    tag = "services",
    params(DryRun, IfMatch),
    request_body(content = WrittenService),
    responses(
        (status = 201, description = "Added", body = Applied, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        (status = 200, description = "With `dry_run`: what it would do", body = Applied, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        Writing,
        Failing,
        WithBody,
    )
)]
pub async fn add_service(
    State(daemon): State<Handle>,
    writer: Writer,
    body: Result<Json<WrittenService>, JsonRejection>,
) -> Result<(StatusCode, HeaderMap, Json<Applied>), ApiError> {
    let Json(service) = body?;
    let status = if writer.options.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    let (tag, applied) = carry_out(&daemon, writer, Write::AddService(Box::new(service))).await?;
    Ok((status, tag, applied))
}

/// Takes a service out, with the connections that it has.
#[utoipa::path(
    delete,
    path = "/v1/services/{service}",
    tag = "services",
    params(("service" = String, Path, description = "Name of the service"), DryRun, IfMatch),
    responses(
        (status = 200, description = "What it did; with `dry_run` what it would do", body = Applied),
        Writing,
        Named,
        Failing,
    )
)]
pub async fn remove_service(
    State(daemon): State<Handle>,
    path: Result<Path<String>, PathRejection>,
    writer: Writer,
) -> Answer {
    let Path(service) = path?;
    carry_out(&daemon, writer, Write::RemoveService(service)).await
}

async fn carry_out(daemon: &Handle, writer: Writer, write: Write) -> Answer {
    let dry_run = writer.options.dry_run;
    let done = writer.write(daemon, write).await?;
    let figures = daemon.tracking().await?;
    let tag = etag(done.tag.as_deref());
    Ok((tag, Json(Applied::new(&done.report, done.notes, dry_run, &figures))))
}
