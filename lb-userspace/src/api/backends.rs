//! Writes of backends.

use super::{
    document::{DryRun, Failing, IfMatch, Named as Missing, Now, WithBody, Writing},
    error::ApiError,
    rows::{AddBackend, Changed, DrainBackend, SetBackend},
    writer::{Writer, etag},
};
use crate::{
    config::{Backend, rules},
    daemon::commands::{Failed, Handle, Write},
    state::Change,
};
use axum::{
    Json,
    extract::{
        Path, State,
        rejection::{JsonRejection, PathRejection},
    },
    http::{HeaderMap, StatusCode},
};

type Answer = Result<(HeaderMap, Json<Changed>), ApiError>;
type Named = Result<Path<(String, String)>, PathRejection>;

/// A weight that the configuration would give too.
const DEFAULT_WEIGHT: i64 = 100;

/// Adds a backend.
#[utoipa::path(
    post,
    path = "/v1/services/{service}/backends",
    tag = "backends",
    params(("service" = String, Path, description = "Name of the service"), DryRun, IfMatch),
    request_body(content = AddBackend),
    responses(
        (status = 201, description = "Added", body = Changed, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        (status = 200, description = "With `dry_run`: what it would do", body = Changed, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        Writing,
        Missing,
        Failing,
        WithBody,
    )
)]
pub async fn add(
    State(daemon): State<Handle>,
    path: Result<Path<String>, PathRejection>,
    writer: Writer,
    body: Result<Json<AddBackend>, JsonRejection>,
) -> Result<(StatusCode, HeaderMap, Json<Changed>), ApiError> {
    let Path(service) = path?;
    let Json(AddBackend { name, address, weight }) = body?;
    let name = rules::name(&name)?;
    let (address, port) = rules::backend_address(&address)?;
    let weight = rules::weight(weight.unwrap_or(DEFAULT_WEIGHT))?;
    let backend = Backend { name, address, port, weight };
    let status = if writer.options.dry_run { StatusCode::OK } else { StatusCode::CREATED };
    let (tag, changed) = carry_out(&daemon, writer, Change::AddBackend { service, backend }).await?;
    Ok((status, tag, changed))
}

/// Gives a backend another weight; one that drains serves again.
#[utoipa::path(
    patch,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(("service" = String, Path, description = "Name of the service"), ("backend" = String, Path, description = "Name of the backend"), DryRun, IfMatch),
    request_body(content = SetBackend),
    responses(
        (status = 200, description = "What it did; with `dry_run` what it would do", body = Changed, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        Writing,
        Missing,
        Failing,
        WithBody,
    )
)]
pub async fn set(
    State(daemon): State<Handle>,
    path: Named,
    writer: Writer,
    body: Result<Json<SetBackend>, JsonRejection>,
) -> Answer {
    let Path((service, backend)) = path?;
    let weight = rules::weight(body?.weight)?;
    carry_out(&daemon, writer, Change::SetWeight { service, backend, weight }).await
}

/// Lets a backend drain: no new connections. A body is not needed.
#[utoipa::path(
    post,
    path = "/v1/services/{service}/backends/{backend}/drain",
    tag = "backends",
    params(("service" = String, Path, description = "Name of the service"), ("backend" = String, Path, description = "Name of the backend"), DryRun, IfMatch),
    request_body(content = Option<DrainBackend>),
    responses(
        (status = 200, description = "What it did; with `dry_run` what it would do", body = Changed, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        Writing,
        Missing,
        Failing,
        WithBody,
    )
)]
pub async fn drain(
    State(daemon): State<Handle>,
    path: Named,
    writer: Writer,
    body: Result<Option<Json<DrainBackend>>, JsonRejection>,
) -> Answer {
    let Path((service, backend)) = path?;
    let DrainBackend { deadline } = body?.map(|Json(how)| how).unwrap_or_default();
    let deadline = deadline.map(|text| rules::duration("deadline", &text, rules::DEADLINE)).transpose()?;
    carry_out(&daemon, writer, Change::Drain { service, backend, deadline }).await
}

/// Takes a backend out.
#[utoipa::path(
    delete,
    path = "/v1/services/{service}/backends/{backend}",
    tag = "backends",
    params(("service" = String, Path, description = "Name of the service"), ("backend" = String, Path, description = "Name of the backend"), Now, DryRun, IfMatch),
    responses(
        (status = 200, description = "What it did; with `dry_run` what it would do", body = Changed, headers(("ETag" = String, description = "Tag of the service, for `If-Match`"))),
        Writing,
        Missing,
        Failing,
    )
)]
pub async fn remove(State(daemon): State<Handle>, path: Named, writer: Writer) -> Answer {
    let Path((service, backend)) = path?;
    let now = writer.options.now;
    carry_out(&daemon, writer, Change::Remove { service, backend, now }).await
}

async fn carry_out(daemon: &Handle, writer: Writer, change: Change) -> Answer {
    let (service, dry_run) = (change.names().0.to_owned(), writer.options.dry_run);
    let done = writer.write(daemon, Write::Backend(change)).await?;
    let figures = daemon.tracking().await?;
    let changed = Changed::new(&done.report, &service, dry_run, &figures);
    Ok((etag(done.tag.as_deref()), Json(changed.ok_or(Failed::Ending)?)))
}
