//! A client of the daemon's API.

use anyhow::{Context as _, anyhow, bail};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use std::path::{Path, PathBuf};
use tokio::net::UnixStream;

/// Where the daemon's API is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/xdp-lb/api.sock";

/// Asks the daemon at a socket.
#[derive(Clone, Debug)]
pub struct Client(PathBuf);

impl Client {
    /// A client of the API at `socket`.
    pub fn new(socket: Option<&Path>) -> Self {
        Self(socket.unwrap_or(Path::new(DEFAULT_SOCKET)).to_owned())
    }

    /// Gets an answer, or the daemon's error.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.ask(&Method::GET, path, &())
    }

    /// Asks for something and gets the answer, or the daemon's error.
    pub fn ask<T: DeserializeOwned>(
        &self,
        method: &Method,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = if *method == Method::GET { Vec::new() } else { serde_json::to_vec(body)? };
        let (accepted, answer) = super::runtime()?.block_on(self.exchange(method, path, body))?;
        if !accepted {
            let error: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_default();
            let said = error["error"].as_str().map(str::to_owned);
            bail!(said.unwrap_or_else(|| String::from_utf8_lossy(&answer).into_owned()));
        }
        serde_json::from_slice(&answer)
            .context("the daemon's answer is not understood; is it of this version?")
    }

    async fn exchange(&self, method: &Method, path: &str, body: Vec<u8>) -> anyhow::Result<(bool, Bytes)> {
        let stream = UnixStream::connect(&self.0).await.map_err(|error| self.unreachable(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "xdp-lb")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await.context("the daemon closed the connection")?;
        let accepted = response.status().is_success();
        let answer = response.into_body().collect().await.context("the daemon's answer was cut")?.to_bytes();
        driver.abort();
        Ok((accepted, answer))
    }

    fn unreachable(&self, error: &std::io::Error) -> anyhow::Error {
        let socket = self.0.display();
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                anyhow!("{socket} is not for this user; use sudo, or join the socket's group")
            }
            _ => anyhow!(
                "no daemon answers at {socket} ({error}); start `xdp-lb run -c FILE`, or name its socket with --api"
            ),
        }
    }
}

/// A name as a part of a path.
pub fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.bytes().fold(String::new(), |text, byte| {
        if plain(byte) { text + &char::from(byte).to_string() } else { text + &format!("%{byte:02X}") }
    })
}
