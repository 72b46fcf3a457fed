//! The configuration as it is written: every value with its position, nothing checked but its TOML type.
//!
//! Everything is optional here, so that a missing value gets a message of ours rather than serde's.

mod health;
mod weights;

pub(super) use health::{OF_ALL, OF_HTTP, OF_ISO8583, OF_TLS, RawHealth};
pub(super) use weights::RawWeights;

use serde::Deserialize;
use toml::Spanned;

pub(super) type Text = Spanned<String>;
/// Wide and signed, so that a number out of bounds gets a message with the bounds.
pub(super) type Number = Spanned<i64>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawConfig {
    #[serde(default)]
    pub daemon: RawDaemon,
    #[serde(default, rename = "service")]
    pub services: Vec<Spanned<RawService>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawDaemon {
    #[serde(default)]
    pub interfaces: Vec<Text>,
    pub xdp_mode: Option<Text>,
    pub state_dir: Option<Text>,
    pub pin_dir: Option<Text>,
    pub hash_key: Option<Text>,
    pub api: Option<Text>,
    pub metrics: Option<Text>,
    pub log: Option<Text>,
    #[serde(default)]
    pub tunnel_source: Vec<Text>,
    pub gue_port: Option<Number>,
    pub answer_rate: Option<Number>,
    pub flows: Option<Number>,
    pub learn: Option<Text>,
    pub learn_udp: Option<Text>,
    pub idle: Option<Text>,
    pub api_tls: Option<Spanned<RawApiTls>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawApiTls {
    pub address: Option<Text>,
    pub certificate: Option<Text>,
    pub key: Option<Text>,
    pub client_ca: Option<Text>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawService {
    pub name: Option<Text>,
    pub address: Option<Text>,
    pub protocol: Option<Text>,
    pub forwarding: Option<Text>,
    pub algorithm: Option<Text>,
    pub per_client: Option<Spanned<bool>>,
    pub slots: Option<Number>,
    pub hash_on: Option<Text>,
    pub mss: Option<Number>,
    pub panic_threshold: Option<Number>,
    pub slow_start: Option<Text>,
    pub health: Option<Spanned<RawHealth>>,
    pub weights: Option<Spanned<RawWeights>>,
    #[serde(default, rename = "backend")]
    pub backends: Vec<Spanned<RawBackend>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct RawBackend {
    pub name: Option<Text>,
    pub address: Option<Text>,
    pub weight: Option<Number>,
}

/// Reads the text; on failure, the byte offset and the message.
pub(super) fn read(text: &str) -> Result<RawConfig, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        (at, explain(error.message()))
    })
}

/// Serde's or the parser's message with what to do about it. The messages are fixed by serde's
/// documentation of its error constructors; one that is not known is passed on.
fn explain(message: &str) -> String {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return unknown_key(rest);
    }
    if let Some(rest) = message.strip_prefix("invalid type: ") {
        return wrong_type(rest);
    }
    let message = message.lines().collect::<Vec<_>>().join(", ");
    if message == "duplicate key" {
        return "this key or table is there already; remove one of the two".to_owned();
    }
    format!("not valid TOML ({message}); mend the line")
}

/// From what serde writes after "unknown field" and a back-tick: the key, one more, and the known keys each
/// between two.
fn unknown_key(rest: &str) -> String {
    let (key, known) = rest.rsplit_once("`, expected ").unwrap_or((rest, ""));
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    match super::rules::closest(key, known.iter().copied()) {
        Some(close) => format!("unknown key {key:?}; did you mean {close:?}?"),
        None => format!("unknown key {key:?}; the keys here are {}", known.join(", ")),
    }
}

/// From what serde writes after "invalid type", such as: integer 5, expected a string. The value is not
/// repeated: it could be the hash key.
fn wrong_type(rest: &str) -> String {
    let (found, expected) = rest.rsplit_once(", expected ").unwrap_or((rest, ""));
    if found.starts_with("integer") && expected == "i64" {
        return "this number has too many digits; write a smaller one".to_owned();
    }
    let found = match found.split(['`', '"']).next().unwrap_or_default().trim_end() {
        "integer" => "an integer",
        "floating point" => "a number with a fraction",
        "boolean" => "a boolean",
        "sequence" => "an array",
        // To serde a date of TOML is a map too.
        "map" => "a table or date",
        "string" => "a string",
        _ => "another type",
    };
    let mend = match expected {
        "a string" => "a string, in quotes",
        "i64" => "a whole number, without quotes",
        "f64" => "a number, without quotes",
        "a boolean" => "true or false, without quotes",
        "a sequence" => "an array, in square brackets (of tables: [[name]])",
        _ => "a table",
    };
    format!("{found} cannot stand here; write {mend}")
}
