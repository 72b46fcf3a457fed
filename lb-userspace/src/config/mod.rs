//! The configuration file: as written (`raw`), and as validated (`model`), after which nothing
//! downstream checks again.
//!
//! Every problem is one line: where (file, line, column), what, and how to mend it. The whole file is
//! validated and all problems are told together, in the order of the file; only TOML that cannot be read at
//! all, or an unknown key, ends the reading at once. The rules for single values are in [`rules`], so that
//! the API holds what it is sent to the same ones.

mod error;
mod model;
pub mod own;
mod raw;
pub mod rules;
mod validate;
mod written;

pub use error::{ConfigError, Problem};
/// Where durable state is kept unless the configuration says otherwise.
pub const STATE_DIR: &str = validate::STATE_DIR;
/// Answers a second and CPU unless the configuration says otherwise.
pub const ANSWER_RATE: u32 = validate::ANSWER_RATE;

pub use model::{
    Algorithm, ApiTls, Backend, Check, CheckType, Choice, Config, Constants, Daemon, HashKey, HashOn, Health,
    Http, Iso8583, LatencySource, LogLevel, Prefix, Protocol, Service, Start, Tls, Tracking, TunnelSource,
    Via, Weights, XdpMode,
};

pub use written::{
    WrittenApiTls, WrittenBackend, WrittenConfig, WrittenDaemon, WrittenHealth, WrittenService,
    WrittenWeights, validate,
};

use error::Source;

use std::path::Path;

/// Reads and validates a configuration file.
///
/// # Errors
/// [`ConfigError::Unreadable`] when the file cannot be read as UTF-8 text, else as [`parse`].
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|cause| ConfigError::unreadable(&file, &cause))?;
    let text = String::from_utf8(bytes).map_err(|error| ConfigError::not_utf8(&file, &error))?;
    parse(&text, &file)
}

/// Validates a configuration; `file_name` is what the problems are told with.
///
/// # Errors
/// [`ConfigError::Invalid`] with every problem found.
pub fn parse(text: &str, file_name: &str) -> Result<Config, ConfigError> {
    let source = Source::new(file_name, text);
    let raw =
        raw::read(text).map_err(|(at, message)| ConfigError::Invalid(vec![source.problem(at, message)]))?;
    validate::validate(&raw, source).map_err(ConfigError::Invalid)
}

#[cfg(test)]
mod tests;
