//! The configuration written down again: with every key, defaults too, and without the secret. What is written here is
//! read back by [`super::parse`] to the same model, which a property test holds it to.

mod health;
mod weights;

pub use health::WrittenHealth;
pub use weights::WrittenWeights;

use super::model::{
    Algorithm, ApiTls, Backend, Choice as _, Config, Daemon, Prefix, Service, Tracking, TunnelSource, Weights,
};
use super::rules::span;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use utoipa::ToSchema;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WrittenConfig {
    /// The daemon's own settings.
    pub daemon: WrittenDaemon,
    /// The services.
    #[serde(rename = "service")]
    pub services: Vec<WrittenService>,
}

/// The daemon's own settings, without `hash_key`, which is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the keys of the configuration, told in the README")]
pub struct WrittenDaemon {
    pub interfaces: Vec<String>,
    pub xdp_mode: String,
    #[schema(value_type = String)]
    pub state_dir: PathBuf,
    #[schema(value_type = String)]
    pub pin_dir: PathBuf,
    #[schema(value_type = String)]
    pub api: PathBuf,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub metrics: Option<SocketAddr>,
    pub log: String,
    pub tunnel_source: Vec<String>,
    pub gue_port: u16,
    pub answer_rate: u32,
    pub flows: u32,
    pub learn: String,
    pub learn_udp: String,
    pub idle: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_tls: Option<WrittenApiTls>,
}

/// The API over TCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the keys of the configuration, told in docs/api.md")]
pub struct WrittenApiTls {
    #[schema(value_type = String)]
    pub address: SocketAddr,
    #[schema(value_type = String)]
    pub certificate: PathBuf,
    #[schema(value_type = String)]
    pub key: PathBuf,
    #[schema(value_type = String)]
    pub client_ca: PathBuf,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the configuration, told in the README")]
#[schema(example = json!({ "name": "wallet", "address": "192.0.2.20:443", "protocol": "tcp", "backend": [{ "name": "w1", "address": "198.18.0.21" }] }))]
pub struct WrittenService {
    pub name: String,
    pub address: String,
    pub protocol: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarding: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_client: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_on: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mss: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub panic_threshold: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<WrittenHealth>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<WrittenWeights>,
    #[serde(default, rename = "backend")]
    pub backends: Vec<WrittenBackend>,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of the configuration, told in the README")]
pub struct WrittenBackend {
    pub name: String,
    pub address: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<i64>,
}

impl WrittenConfig {
    /// The text of a configuration file.
    ///
    /// # Errors
    /// When a path is not UTF-8, which a configuration cannot hold.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

impl From<&Config> for WrittenConfig {
    fn from(config: &Config) -> Self {
        Self {
            daemon: (&config.daemon).into(),
            services: config.services.iter().map(WrittenService::from).collect(),
        }
    }
}

impl From<&Daemon> for WrittenDaemon {
    fn from(daemon: &Daemon) -> Self {
        // Whole, so that a new key is not forgotten here.
        let Daemon {
            interfaces,
            xdp_mode,
            state_dir,
            pin_dir,
            hash_key: _,
            api,
            api_tls,
            metrics,
            log,
            tunnel_source: TunnelSource { v4, v6 },
            gue_port,
            answer_rate,
            tracking: Tracking { flows, learn, learn_udp, idle },
        } = daemon;
        Self {
            interfaces: interfaces.clone(),
            xdp_mode: xdp_mode.word().to_owned(),
            state_dir: state_dir.clone(),
            pin_dir: pin_dir.clone(),
            api: api.clone(),
            metrics: *metrics,
            log: log.word().to_owned(),
            tunnel_source: [v4, v6].into_iter().flatten().map(prefix).collect(),
            gue_port: *gue_port,
            answer_rate: *answer_rate,
            flows: *flows,
            learn: span(*learn),
            learn_udp: span(*learn_udp),
            idle: span(*idle),
            api_tls: api_tls.as_ref().map(WrittenApiTls::from),
        }
    }
}

impl From<&ApiTls> for WrittenApiTls {
    fn from(api_tls: &ApiTls) -> Self {
        let ApiTls { address, certificate, key, client_ca } = api_tls.clone();
        Self { address, certificate, key, client_ca }
    }
}

impl From<&Service> for WrittenService {
    fn from(service: &Service) -> Self {
        let Service {
            name,
            address,
            port,
            protocol,
            forwarding,
            algorithm,
            hash_on,
            mss,
            slots,
            health,
            weights,
            panic_threshold,
            slow_start,
            backends,
        } = service;
        let per_client = matches!(algorithm, Algorithm::RoundRobin { .. }).then(|| algorithm.is_per_client());
        Self {
            name: name.clone(),
            address: SocketAddr::new(*address, *port).to_string(),
            protocol: protocol.word().to_owned(),
            forwarding: Some(forwarding.word().to_owned()),
            algorithm: Some(algorithm.word().to_owned()),
            per_client,
            hash_on: Some(hash_on.word().to_owned()),
            mss: mss.map(i64::from),
            slots: Some((*slots).into()),
            panic_threshold: Some((*panic_threshold).into()),
            slow_start: Some(span(*slow_start)),
            health: Some(health.as_ref().map_or_else(WrittenHealth::none, WrittenHealth::from)),
            // Static ones are what there is without a word.
            weights: (*weights != Weights::Static).then(|| weights.into()),
            backends: backends.iter().map(WrittenBackend::from).collect(),
        }
    }
}

impl From<&Backend> for WrittenBackend {
    fn from(backend: &Backend) -> Self {
        let Backend { name, address, port, weight } = backend;
        let address = match port {
            0 => address.to_string(),
            port => SocketAddr::new(*address, *port).to_string(),
        };
        Self { name: name.clone(), address, weight: Some((*weight).into()) }
    }
}

fn prefix(prefix: &Prefix) -> String {
    format!("{}/{}", prefix.address, prefix.length)
}

/// Services alone, as in a file.
#[derive(Serialize)]
struct Services<'s> {
    #[serde(rename = "service")]
    services: &'s [WrittenService],
}

/// Validates services as if they stood in one file.
///
/// # Errors
/// Every problem, without a place: there is no file.
pub fn validate(services: &[WrittenService]) -> Result<Vec<Service>, Vec<String>> {
    let text = toml::to_string(&Services { services }).map_err(|error| vec![error.to_string()])?;
    match super::parse(&text, "services") {
        Ok(config) => Ok(config.services),
        Err(super::ConfigError::Invalid(problems)) => {
            Err(problems.into_iter().map(|problem| problem.message).collect())
        }
        Err(error) => Err(vec![error.to_string()]),
    }
}
