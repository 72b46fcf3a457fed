//! The backend answers a GET of HTTP/1.1 with a status, and with a text in the body if that is asked for.

use super::{
    Trouble,
    connect::{Endpoint, Session, close_after_it},
};
use crate::{config, health::report::Failure};
use futures::future::{Either, select};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONNECTION, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// The protocol's name in a TLS handshake (RFC 7301).
pub(super) const ALPN: &[u8] = b"http/1.1";
/// How much of a body is looked at, in bytes.
const MOST_BODY: usize = 64 * 1024;

/// Asks over a connection.
pub(super) async fn check<S>(
    session: &mut Session,
    http: &config::Http,
    endpoint: &Endpoint,
    stream: S,
) -> Result<(), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = request(http, endpoint)?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| failure(&error))?;
    // Ends with the answer, or when the answer is no longer read, and gives the stream back.
    let mut connection = Box::pin(connection.without_shutdown());
    session.asks();
    let (judged, parts) = {
        let exchange = pin!(exchange(session, sender, request, http));
        match select(connection.as_mut(), exchange).await {
            Either::Left((parts, exchange)) => (exchange.await, Some(parts)),
            Either::Right((judged, _)) => (judged, None),
        }
    };
    session.close_with(async move {
        let parts = match parts {
            Some(parts) => parts,
            None => connection.await,
        };
        if let Ok(parts) = parts {
            close_after_it(parts.io.into_inner()).await;
        }
    });
    Ok(judged?)
}

fn request(http: &config::Http, endpoint: &Endpoint) -> Result<Request<Empty<Bytes>>, Failure> {
    let host = http.host.clone().unwrap_or_else(|| endpoint.address.to_string());
    Request::get(&http.path)
        .header(HOST, host)
        .header(USER_AGENT, "xdp-lb")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Failure::Protocol(format!("the request cannot be made: {error}")))
}

/// The request, and what becomes of the answer.
async fn exchange(
    session: &mut Session,
    mut sender: SendRequest<Empty<Bytes>>,
    request: Request<Empty<Bytes>>,
    http: &config::Http,
) -> Result<(), Failure> {
    let response = sender.send_request(request).await.map_err(|error| failure(&error))?;
    session.is_answered();
    let (status, (first, last)) = (response.status().as_u16(), http.status);
    if !(first..=last).contains(&status) {
        return Err(Failure::Status { status, first, last });
    }
    match &http.body {
        Some(text) => body_holds(response, text).await,
        None => Ok(()),
    }
}

async fn body_holds(response: Response<Incoming>, text: &str) -> Result<(), Failure> {
    let (mut body, mut read) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(|error| failure(&error))?.into_data() {
            read.extend_from_slice(&data[..data.len().min(MOST_BODY - read.len())]);
        }
        if read.len() == MOST_BODY {
            break;
        }
    }
    let holds = read.windows(text.len()).any(|window| window == text.as_bytes());
    if holds { Ok(()) } else { Err(Failure::Body(text.to_owned())) }
}

fn failure(error: &hyper::Error) -> Failure {
    if error.is_parse() {
        return Failure::Protocol(format!("the answer is not HTTP/1.1 ({error})"));
    }
    if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        return Failure::Broken("closed by the backend".to_owned());
    }
    // hyper names what it was about, its source what happened.
    let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
    Failure::Broken(cause)
}
