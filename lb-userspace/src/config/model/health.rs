//! `[service.health]` as validated.

use super::Choice;
use crate::health::iso8583::{Bitmap, Encoding, LengthEncoding, LengthHeader, Packing};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the backends of a service are checked, and what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked of a backend.
    pub check: Check,
    /// From the start of a check to that of the next, at most.
    pub interval: Duration,
    /// For the whole check, connecting included; at most the interval.
    pub timeout: Duration,
    /// Successes in a row that bring a backend up; at least 1.
    pub rise: u32,
    /// Failures in a row that take it out; at least 1.
    pub fall: u32,
    /// How long a backend that was taken out keeps its old connections; 0: not at all.
    pub grace: Duration,
    /// What a backend is before its first check.
    pub start: Start,
    /// Address that checks are sent from; none: the kernel's choice. Of the family that they go to.
    pub source: Option<IpAddr>,
    /// How checks reach the backend.
    pub via: Via,
    /// Port that is checked, in place of the backend's.
    pub port: Option<u16>,
}

/// What is asked of a backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// It accepts a connection.
    Tcp,
    /// It answers a request.
    Http(Http),
    /// It answers a request within TLS.
    Https(Http, Tls),
    /// It finishes a handshake.
    Tls(Tls),
    /// It answers an echo.
    Iso8583(Iso8583),
}

/// A request of HTTP/1.1 and the answer that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Path and query, from `/` on.
    pub path: String,
    /// The header `Host`; none: the address that is checked.
    pub host: Option<String>,
    /// Least and greatest status that passes.
    pub status: (u16, u16),
    /// What must stand somewhere in the body's first 64 KiB.
    pub body: Option<String>,
}

/// A TLS handshake and the certificate that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The name that is asked for (SNI) and that the certificate must have; never missing when it is verified.
    pub server_name: Option<String>,
    /// Whether the certificate must be valid.
    pub verify: bool,
    /// File of the certificates (PEM) that it must be signed by; none: those that the system trusts.
    pub ca: Option<PathBuf>,
}

/// How messages of ISO 8583 are framed and packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Iso8583 {
    /// The length before a message.
    pub header: LengthHeader,
    /// The message.
    pub packing: Packing,
}

/// What a backend is before its first check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Start {
    /// It gets connections until it fails.
    #[default]
    Up,
    /// It gets none until it has risen.
    Down,
}

/// How checks reach the backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Via {
    /// To its own address.
    #[default]
    Direct,
    /// As the service's packets do: to the virtual address, in frames to the backend.
    DataPath,
}

/// A type of check, as its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckType {
    /// No check.
    None,
    /// [`Check::Tcp`].
    Tcp,
    /// [`Check::Http`].
    Http,
    /// [`Check::Https`].
    Https,
    /// [`Check::Tls`].
    Tls,
    /// [`Check::Iso8583`].
    Iso8583,
}

impl Check {
    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> CheckType {
        match self {
            Self::Tcp => CheckType::Tcp,
            Self::Http(_) => CheckType::Http,
            Self::Https(..) => CheckType::Https,
            Self::Tls(_) => CheckType::Tls,
            Self::Iso8583(_) => CheckType::Iso8583,
        }
    }
}

impl Choice for CheckType {
    const KEY: &'static str = "health type";
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("tcp", Self::Tcp),
        ("http", Self::Http),
        ("https", Self::Https),
        ("tls", Self::Tls),
        ("iso8583", Self::Iso8583),
        ("none", Self::None),
    ];
}

impl Choice for Start {
    const KEY: &'static str = "start";
    const CHOICES: &'static [(&'static str, Self)] = &[("up", Self::Up), ("down", Self::Down)];
}

impl Choice for Via {
    const KEY: &'static str = "via";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("direct", Self::Direct), ("data-path", Self::DataPath)];
}

impl Choice for LengthEncoding {
    const KEY: &'static str = "header_encoding";
    const CHOICES: &'static [(&'static str, Self)] =
        &[("binary", Self::Binary), ("ascii", Self::Ascii), ("bcd", Self::Bcd)];
}

impl Choice for Encoding {
    const KEY: &'static str = "encoding";
    const CHOICES: &'static [(&'static str, Self)] = &[("ascii", Self::Ascii), ("bcd", Self::Bcd)];
}

impl Choice for Bitmap {
    const KEY: &'static str = "bitmap";
    const CHOICES: &'static [(&'static str, Self)] = &[("hex", Self::Hex), ("binary", Self::Binary)];
}
