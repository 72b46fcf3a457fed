//! `[service.health]` written down again.

use super::super::model::{Check, Choice as _, Health, Http, Iso8583, Tls};
use super::span;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;
use utoipa::ToSchema;

/// How the backends of a service are checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[expect(missing_docs, reason = "the keys of the configuration, told in docs/health.md")]
pub struct WrittenHealth {
    pub r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub source: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_bytes: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitmap: Option<String>,
}

impl WrittenHealth {
    /// That there are no checks.
    pub(super) fn none() -> Self {
        Self { r#type: "none".to_owned(), ..Self::default() }
    }

    fn http(&mut self, http: &Http) {
        let Http { path, host, status: (first, last), body } = http;
        self.path = Some(path.clone());
        self.host.clone_from(host);
        self.status = Some(format!("{first}-{last}"));
        self.body.clone_from(body);
    }

    fn tls(&mut self, tls: &Tls) {
        let Tls { server_name, verify, ca } = tls;
        self.server_name.clone_from(server_name);
        self.verify = Some(*verify);
        self.ca.clone_from(ca);
    }

    fn iso8583(&mut self, iso8583: Iso8583) {
        let Iso8583 { header, packing } = iso8583;
        self.header_bytes = Some(header.bytes() as i64);
        // Without a header its encoding has no effect, and is refused.
        self.header_encoding = (header.bytes() > 0).then(|| header.encoding().word().to_owned());
        self.encoding = Some(packing.encoding.word().to_owned());
        self.bitmap = Some(packing.bitmap.word().to_owned());
    }
}

impl From<&Health> for WrittenHealth {
    fn from(health: &Health) -> Self {
        // Whole, so that a new key is not forgotten here.
        let Health { check, interval, timeout, rise, fall, grace, start, source, via, port } = health;
        let mut written = Self {
            r#type: check.kind().word().to_owned(),
            interval: Some(span(*interval)),
            timeout: Some(span(*timeout)),
            rise: Some((*rise).into()),
            fall: Some((*fall).into()),
            grace: Some(span(*grace)),
            start: Some(start.word().to_owned()),
            source: *source,
            via: Some(via.word().to_owned()),
            port: port.map(i64::from),
            ..Self::default()
        };
        match check {
            Check::Tcp => {}
            Check::Http(http) => written.http(http),
            Check::Https(http, tls) => {
                written.http(http);
                written.tls(tls);
            }
            Check::Tls(tls) => written.tls(tls),
            Check::Iso8583(iso8583) => written.iso8583(*iso8583),
        }
        written
    }
}
