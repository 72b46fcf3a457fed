//! `[service.health]` as written: the keys of every type of check.

use super::{Number, Text};
use serde::Deserialize;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(in super::super) struct RawHealth {
    pub r#type: Option<Text>,
    pub interval: Option<Text>,
    pub timeout: Option<Text>,
    pub rise: Option<Number>,
    pub fall: Option<Number>,
    pub grace: Option<Text>,
    pub start: Option<Text>,
    pub source: Option<Text>,
    pub via: Option<Text>,
    pub port: Option<Number>,
    pub path: Option<Text>,
    pub host: Option<Text>,
    pub status: Option<Text>,
    pub body: Option<Text>,
    pub server_name: Option<Text>,
    pub verify: Option<Spanned<bool>>,
    pub ca: Option<Text>,
    pub header_bytes: Option<Number>,
    pub header_encoding: Option<Text>,
    pub encoding: Option<Text>,
    pub bitmap: Option<Text>,
}

/// The keys that every type but "none" has.
pub(in super::super) const OF_ALL: &[&str] =
    &["interval", "timeout", "rise", "fall", "grace", "start", "source", "via", "port"];
/// The keys of http and https.
pub(in super::super) const OF_HTTP: &[&str] = &["path", "host", "status", "body"];
/// The keys of https and tls.
pub(in super::super) const OF_TLS: &[&str] = &["server_name", "verify", "ca"];
/// The keys of iso8583.
pub(in super::super) const OF_ISO8583: &[&str] = &["header_bytes", "header_encoding", "encoding", "bitmap"];

impl RawHealth {
    /// The keys that are there beside `type`, and where their values begin.
    pub fn keys(&self) -> Vec<(&'static str, usize)> {
        fn of<T>(key: &'static str, value: Option<&Spanned<T>>) -> Option<(&'static str, usize)> {
            value.map(|value| (key, value.span().start))
        }
        [
            of("interval", self.interval.as_ref()),
            of("timeout", self.timeout.as_ref()),
            of("rise", self.rise.as_ref()),
            of("fall", self.fall.as_ref()),
            of("grace", self.grace.as_ref()),
            of("start", self.start.as_ref()),
            of("source", self.source.as_ref()),
            of("via", self.via.as_ref()),
            of("port", self.port.as_ref()),
            of("path", self.path.as_ref()),
            of("host", self.host.as_ref()),
            of("status", self.status.as_ref()),
            of("body", self.body.as_ref()),
            of("server_name", self.server_name.as_ref()),
            of("verify", self.verify.as_ref()),
            of("ca", self.ca.as_ref()),
            of("header_bytes", self.header_bytes.as_ref()),
            of("header_encoding", self.header_encoding.as_ref()),
            of("encoding", self.encoding.as_ref()),
            of("bitmap", self.bitmap.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
