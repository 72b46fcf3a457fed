//! `/v1/events`: what happens, as server-sent events (HTML, section 9.2).

use crate::daemon::{commands::Handle, events::Happened};
use axum::{
    extract::State,
    response::sse::{Event, KeepAlive, Sse},
};
use futures::{Stream, stream::unfold};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

/// Tells what happens from now on, for as long as the reader reads.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    responses(
        (status = 200, description = "Events until the reader goes; the data of each is as said here, or `{\"missed\": 3}` of one named `missed`", body = Happened, content_type = "text/event-stream"),
    )
)]
pub async fn stream(State(daemon): State<Handle>) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let events = unfold(daemon.listen(), async |mut listener| {
        let event = match listener.recv().await {
            Ok(happened) => told(&happened),
            Err(RecvError::Lagged(missed)) => {
                Event::default().event("missed").json_data(json!({ "missed": missed }))
            }
            Err(RecvError::Closed) => return None,
        };
        Some((event, listener))
    });
    Sse::new(events).keep_alive(KeepAlive::default())
}

fn told(happened: &Happened) -> Result<Event, axum::Error> {
    Event::default().event(happened.event).json_data(happened)
}
