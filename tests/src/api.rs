//! The balancer's API, asked as any HTTP client would.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::bed::Bed;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; null when there is none.
    pub json: Value,
}

impl Answer {
    /// A header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    /// The text of an error.
    #[must_use]
    pub fn error(&self) -> &str {
        self.json["error"].as_str().unwrap_or_default()
    }
}

/// Asks, with a body of JSON where there is one.
pub fn ask(bed: &Bed, method: &str, path: &str, body: &str) -> Result<Answer> {
    let headers: &[_] = if body.is_empty() { &[] } else { &[("Content-Type", "application/json")] };
    ask_with(bed, method, path, headers, body)
}

/// Asks, with these headers.
pub fn ask_with(bed: &Bed, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<Answer> {
    let mut stream = send(bed, method, path, headers, body)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).context("the answer was cut")?;
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer of HTTP: {text}"))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status")?.parse()?;
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let json =
        if body.is_empty() { Value::Null } else { serde_json::from_str(body).context(body.to_owned())? };
    Ok(Answer { status, headers, json })
}

fn send(bed: &Bed, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Result<UnixStream> {
    let mut stream = UnixStream::connect(bed.api()).context("nobody listens")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let headers =
        headers.iter().fold(String::new(), |text, (name, value)| text + &format!("{name}: {value}\r\n"));
    let length = body.len();
    // At once: the balancer may answer a part of it and hang up.
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// A stream of server-sent events.
#[derive(Debug)]
pub struct Events(BufReader<UnixStream>);

impl Events {
    /// Listens; what happens from now on is told.
    pub fn listen(bed: &Bed) -> Result<Self> {
        let mut reader = BufReader::new(send(bed, "GET", "/v1/events", &[], "")?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        ensure!(line.contains("200"), "{line}");
        while line != "\r\n" {
            line.clear();
            ensure!(reader.read_line(&mut line)? > 0, "the answer was cut");
        }
        Ok(Self(reader))
    }

    /// Waits for an event of a kind, and gives its data.
    pub fn wait_for(&mut self, event: &str) -> Result<Value> {
        let wanted = format!("event: {event}\n");
        let mut line = String::new();
        let mut met = false;
        loop {
            line.clear();
            ensure!(self.0.read_line(&mut line).context(wanted.clone())? > 0, "the events ended");
            if let Some(data) = line.strip_prefix("data: ").filter(|_| met) {
                return serde_json::from_str(data).context(line.clone());
            }
            met = line == wanted || met && line != "\n";
        }
    }
}
