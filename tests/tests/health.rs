//! Health checks of real servers, in network namespaces: redis, nginx with and without TLS, and a host of ISO 8583.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

#[path = "health/checked.rs"]
mod checked;
#[path = "health/http.rs"]
mod http;
#[path = "health/iso8583.rs"]
mod iso8583;
#[path = "health/life.rs"]
mod life;
#[path = "health/tcp.rs"]
mod tcp;
#[path = "health/tls.rs"]
mod tls;
#[path = "health/via.rs"]
mod via;
#[path = "health/watched.rs"]
mod watched;
