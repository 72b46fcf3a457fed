//! The configuration in force, and writes of whole services.

use super::{
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

/// `GET /v1/config`: the file with all that was changed since, without the secret.
pub async fn show(State(daemon): State<Handle>) -> Result<(HeaderMap, Json<WrittenConfig>), ApiError> {
    let in_force = daemon.in_force().await?;
    Ok((etag(Some(&in_force.tag)), Json(in_force.config)))
}

/// `GET /v1/config/diff`: where the file says something else now.
pub async fn differences(State(daemon): State<Handle>) -> Result<Json<Vec<Difference>>, ApiError> {
    Ok(Json(daemon.differences().await?))
}

/// `POST /v1/reload`: reads the file again.
pub async fn reload(State(daemon): State<Handle>, writer: Writer) -> Answer {
    carry_out(&daemon, writer, Write::Reload).await
}

/// `POST /v1/services`: adds a service, as the configuration would write it.
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

/// `DELETE /v1/services/{service}`: takes a service out, with the connections that it has.
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
