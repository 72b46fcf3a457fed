//! Errors as the API answers them: `{"error": "what, where, and what to do"}`.

use super::document::ErrorBody;
use crate::{config::rules::Refusal, daemon::commands::Failed};
use axum::{
    Json,
    extract::rejection::{JsonRejection, PathRejection, QueryRejection},
    http::{Method, StatusCode, Uri},
    response::{IntoResponse, Response},
};

/// An answer that is an error.
#[derive(Debug)]
pub struct ApiError(StatusCode, String);

impl ApiError {
    /// An answer with this status.
    pub fn new(status: StatusCode, what: impl Into<String>) -> Self {
        Self(status, what.into())
    }

    /// What was asked for is not there.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, what.into())
    }

    /// The request is not understood.
    pub fn bad_request(what: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, what.into())
    }

    /// Whoever asks may not.
    pub fn forbidden(what: impl Into<String>) -> Self {
        Self(StatusCode::FORBIDDEN, what.into())
    }
}

impl From<Failed> for ApiError {
    fn from(failed: Failed) -> Self {
        let status = match failed {
            Failed::Missing(_) => StatusCode::NOT_FOUND,
            Failed::Stale(_) => StatusCode::PRECONDITION_FAILED,
            Failed::Refused(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Failed::Machine(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Failed::Ending => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, failed.to_string())
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        Failed::from(refusal).into()
    }
}

impl From<JsonRejection> for ApiError {
    fn from(rejection: JsonRejection) -> Self {
        Self(rejection.status(), format!("the body is not understood: {}", rejection.body_text()))
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), format!("the query is not understood: {}", rejection.body_text()))
    }
}

impl From<PathRejection> for ApiError {
    fn from(rejection: PathRejection) -> Self {
        Self(rejection.status(), format!("the path is not understood: {}", rejection.body_text()))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.0, Json(ErrorBody { error: self.1 })).into_response()
    }
}

/// Where nothing is.
pub async fn no_such_path(uri: Uri) -> ApiError {
    ApiError::not_found(format!("there is no path {:?}; the API begins at /v1/services", uri.path()))
}

/// Where something is that does something else.
pub async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    let message = format!("{:?} does not take {method}; the header Allow lists what it takes", uri.path());
    ApiError(StatusCode::METHOD_NOT_ALLOWED, message)
}
