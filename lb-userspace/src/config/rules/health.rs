//! Rules for the values of `[service.health]`.

use super::{Checked, Refusal, refuse, span, unicast};
use crate::health::iso8583::{LengthEncoding, LengthHeader, MAX_HEADER_BYTES};
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::time::Duration;

/// Most successes or failures in a row that can be asked for.
const MAX_RUN: u32 = 1000;
/// Longest text that is looked for in a body, in bytes.
const MAX_BODY: usize = 1024;
/// Bytes of an 0800 in ASCII, which a length header must be able to tell of.
const ECHO_BYTES: usize = 55;

/// That a check is over before the next one begins.
pub fn timeout_within(timeout: Duration, interval: Duration) -> Checked<Duration> {
    if timeout <= interval {
        return Ok(timeout);
    }
    refuse(format!(
        "timeout \"{}\" is longer than the interval; use at most \"{}\"",
        span(timeout),
        span(interval)
    ))
}

/// Successes or failures in a row.
pub fn run(key: &str, number: i64) -> Checked<u32> {
    match u32::try_from(number) {
        Ok(run) if (1..=MAX_RUN).contains(&run) => Ok(run),
        _ => refuse(format!("{key} {number} is out of bounds; use 1 to {MAX_RUN}")),
    }
}

/// The panic threshold.
pub fn panic_threshold(number: i64) -> Checked<u8> {
    match u8::try_from(number) {
        Ok(percent) if percent <= 100 => Ok(percent),
        _ => refuse(format!("panic_threshold {number} is out of bounds; use 0 (never) to 100, in percent")),
    }
}

/// An address of this host that checks are sent from.
pub fn source(text: &str) -> Checked<IpAddr> {
    let Ok(address) = text.parse() else {
        return refuse(format!(
            "source {text:?} is not an IP address; write one of this machine's, like \"198.18.0.2\" or \"2001:db8::2\""
        ));
    };
    unicast(address).map_err(|Refusal(message)| Refusal(message.replacen("address", "source", 1)))
}

/// Path and query of a request (RFC 9112, section 3.2.1).
pub fn http_path(text: &str) -> Checked<String> {
    if !text.starts_with('/') {
        return refuse(format!("path {text:?} does not start with a slash; write it like \"/health\""));
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '#' | '"' | '<' | '>')) {
        return refuse(format!("path {text:?} holds {odd:?}; write that as % and two hexadecimal digits"));
    }
    Ok(text.to_owned())
}

/// The header `Host`: a name or address, and a port if there is one (RFC 9110, section 7.2).
pub fn http_host(text: &str) -> Checked<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if text.is_empty() || !text.chars().all(good) {
        return refuse(format!(
            "host {text:?} is not a host name; write it like \"pay.example\" or \"pay.example:8443\""
        ));
    }
    Ok(text.to_owned())
}

/// One status or a range of them.
pub fn http_status(text: &str) -> Checked<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let digits = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|status| digits && (100..=599).contains(status))
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => refuse(format!(
            "status {text:?} is not a status of HTTP or a range of them; write it like \"200\" or \"200-399\""
        )),
    }
}

/// What a body is searched for.
pub fn http_body(text: &str) -> Checked<String> {
    match text.len() {
        1..=MAX_BODY => Ok(text.to_owned()),
        length => refuse(format!("body is {length} bytes long; use 1 to {MAX_BODY}")),
    }
}

/// A name that a certificate can have: a DNS name or an IP address.
pub fn server_name(text: &str) -> Checked<String> {
    if ServerName::try_from(text).is_err() {
        return refuse(format!(
            "server_name {text:?} is neither a DNS name nor an IP address; write it like \"pay.example\""
        ));
    }
    Ok(text.to_owned())
}

/// Bytes of a length header.
pub fn header_bytes(number: i64) -> Checked<u8> {
    match u8::try_from(number) {
        Ok(bytes) if bytes <= MAX_HEADER_BYTES => Ok(bytes),
        _ => refuse(format!("header_bytes {number} is out of bounds; use 0 (none) to {MAX_HEADER_BYTES}")),
    }
}

/// A length header that an echo fits.
pub fn length_header(bytes: u8, encoding: LengthEncoding) -> Checked<LengthHeader> {
    let header = LengthHeader::new(bytes, encoding).filter(|header| header.most() >= ECHO_BYTES);
    header.ok_or_else(|| {
        Refusal(format!(
            "header_bytes {bytes} of ASCII digits cannot tell the length of an 0800, {ECHO_BYTES} bytes; use 2 to {MAX_HEADER_BYTES}, or another header_encoding"
        ))
    })
}
