//! What the API is, in `OpenAPI` 3.1: made of the same list as the routes, and served at `/v1/openapi.json`.

use axum::{
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::sync::OnceLock;
use utoipa::{
    IntoParams, IntoResponses, OpenApi, ToSchema,
    openapi::{Info, License, LicenseBuilder, Server},
};

/// An answer that is an error.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({ "error": "there is no service \"shop\"; there are: web" }))]
pub(super) struct ErrorBody {
    /// What is wrong, where, and what to do.
    pub error: String,
}

/// What every request may meet.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "says which answers there are; axum makes them")]
pub(super) enum Failing {
    /// The machine failed. Nothing was changed, unless the text says that it is tried again
    #[response(status = 500)]
    Machine(ErrorBody),
    /// The daemon ends
    #[response(status = 503)]
    Ending(ErrorBody),
}

/// What a request with names in its path may meet.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "says which answers there are; axum makes them")]
pub(super) enum Named {
    /// The request is not understood
    #[response(status = 400)]
    NotUnderstood(ErrorBody),
    /// What it names is not there
    #[response(status = 404)]
    Missing(ErrorBody),
}

/// What a write may meet.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "says which answers there are; axum makes them")]
pub(super) enum Writing {
    /// The request is not understood
    #[response(status = 400)]
    NotUnderstood(ErrorBody),
    /// It is not known who asks
    #[response(status = 403)]
    Nobody(ErrorBody),
    /// Somebody else changed it in between; nothing was changed
    #[response(status = 412)]
    Stale(ErrorBody),
    /// A rule refuses it; nothing was changed
    #[response(status = 422)]
    Refused(ErrorBody),
}

/// What a request with a body may meet.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "says which answers there are; axum makes them")]
pub(super) enum WithBody {
    /// The body is longer than 2 MB
    #[response(status = 413)]
    TooLong(ErrorBody),
    /// The body is not sent as `application/json`
    #[response(status = 415)]
    NotJson(ErrorBody),
}

/// The query of every write.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what a write takes; `writer::Options` reads it")]
pub(super) struct DryRun {
    /// Only tell what it would do; nothing is changed.
    dry_run: Option<bool>,
}

/// The query of a removal.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "says what a removal takes; `writer::Options` reads it")]
pub(super) struct Now {
    /// At once, and its connections break; else it keeps those that it has.
    now: Option<bool>,
}

/// The header of every write.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "says what a write takes; `writer::Writer` reads it")]
pub(super) struct IfMatch {
    /// Only when what it changes still has one of these tags, which answers carry as `ETag`, in quotes; `*` is any (RFC 9110,
    /// section 13.1.1).
    #[param(rename = "If-Match", pattern = r#"^(\*|"[0-9a-f]+"(, "[0-9a-f]+")*)$"#)]
    if_match: Option<String>,
}

/// What is told of the whole.
#[derive(OpenApi)]
#[openapi()]
struct Whole;

/// The document without its paths, which the router adds.
pub(super) fn whole() -> utoipa::openapi::OpenApi {
    let mut document = Whole::openapi();
    let mut info = Info::new("xdp-lb", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "What a running balancer shows and takes. Every write is validated whole, durable and then applied, or nothing is changed."
            .to_owned(),
    );
    info.license = Some(license());
    document.info = info;
    document.servers = Some(vec![Server::new("/")]);
    document
}

fn license() -> License {
    LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build()
}

/// `GET /v1/openapi.json`: this document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "document",
    responses((status = 200, description = "What the API is, in OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn show() -> Response {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    let made = || super::routes::document().to_json().unwrap_or_default();
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.get_or_init(made).as_str()).into_response()
}

#[cfg(test)]
mod tests;
