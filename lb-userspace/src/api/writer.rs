//! Who writes, and under which conditions.

use super::error::ApiError;
use crate::{
    audit::Who,
    daemon::commands::{Done, Failed, Handle, Request, Write},
};
use axum::{
    extract::{ConnectInfo, FromRequestParts, Query, connect_info::Connected},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    serve::IncomingStream,
};
use serde::Deserialize;
use tokio::net::UnixListener;

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer(pub Option<Who>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        let credentials = stream.io().peer_cred().ok();
        Self(credentials.map(|peer| Who::Process { uid: peer.uid(), pid: peer.pid().unwrap_or_default() }))
    }
}

/// The query of a write.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// Only tell what it would do.
    #[serde(default)]
    pub dry_run: bool,
    /// Of a removal: at once.
    #[serde(default)]
    pub now: bool,
}

/// A writer.
#[derive(Clone, Debug)]
pub(super) struct Writer {
    who: Who,
    if_match: Option<Vec<String>>,
    pub options: Options,
}

impl<S: Send + Sync> FromRequestParts<S> for Writer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Query(options) = Query::<Options>::from_request_parts(parts, state).await?;
        let peer = parts.extensions.get::<ConnectInfo<Peer>>().and_then(|ConnectInfo(Peer(who))| who.clone());
        // Without a name nobody changes anything.
        let who = peer.ok_or_else(|| ApiError::forbidden("it is not known who asks"))?;
        Ok(Self { who, if_match: if_match(&parts.headers)?, options })
    }
}

impl Writer {
    /// Has it written.
    pub async fn write(self, daemon: &Handle, write: Write) -> Result<Done, Failed> {
        let Self { who, if_match, options } = self;
        daemon.write(Request { write, dry_run: options.dry_run, if_match, who }).await
    }
}

/// The tags that `If-Match` lists (RFC 9110 section 13.1.1), without their quotes.
fn if_match(headers: &HeaderMap) -> Result<Option<Vec<String>>, ApiError> {
    let mut tags = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        let wrong = || {
            ApiError::bad_request(
                "If-Match is no list of tags in quotes; send the ETag of the answer that you read",
            )
        };
        let text = value.to_str().map_err(|_| wrong())?;
        for tag in text.split(',').map(str::trim) {
            let bare = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            tags.push(if tag == "*" { tag } else { bare.ok_or_else(wrong)? }.to_owned());
        }
    }
    Ok((!tags.is_empty()).then_some(tags))
}

/// A header `ETag`.
pub(super) fn etag(tag: Option<&str>) -> HeaderMap {
    let value = tag.and_then(|tag| HeaderValue::from_str(&format!("\"{tag}\"")).ok());
    value.map(|value| (header::ETAG, value)).into_iter().collect()
}
