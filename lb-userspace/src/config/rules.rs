//! Rules for single values, without positions: the file, the API and the command line hold values to the
//! same ones.
//!
//! A refusal says what is wrong and, after a semicolon, how to mend it.

mod health;

pub use health::{
    header_bytes, http_body, http_host, http_path, http_status, length_header, panic_threshold, run,
    server_name, source, timeout_within,
};

use super::model::{Algorithm, Choice, HashKey, Prefix};
use lb_common::backend::Forwarding;
use lb_common::limits::{MAX_SLOTS, MAX_WEIGHT, MIN_SLOTS, NAME_BYTES};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// Why a value is refused and how to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// A value, or why it is refused.
pub type Checked<T> = Result<T, Refusal>;

/// Most slots of all services together: 2 GiB of map. Offsets into SLOTS are 32 bits wide, with head room.
pub const MAX_TOTAL_SLOTS: u64 = 1 << 28;
/// Most entries of a flow table.
const MAX_FLOWS: u32 = 16_777_216;
/// Longest path of a Unix socket in bytes: `sun_path` less the final zero, unix(7).
const SOCKET_PATH_BYTES: usize = 107;
/// Longest name of an interface in bytes: `IFNAMSIZ` less the final zero, netdevice(7).
const INTERFACE_BYTES: usize = 15;

fn refuse<T>(message: impl Into<String>) -> Checked<T> {
    Err(Refusal(message.into()))
}

/// The candidate that `text` is most likely a misspelling of.
pub(super) fn closest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let rated = candidates.map(|word| (strsim::damerau_levenshtein(text, word), word));
    // One wrong letter in three is a misspelling; more is another word.
    rated
        .min_by_key(|&(distance, _)| distance)
        .filter(|(distance, word)| distance * 3 <= word.len())
        .map(|(_, w)| w)
}

/// One of a few words.
pub fn choice<T: Choice>(text: &str) -> Checked<T> {
    pick(T::KEY, text, T::CHOICES, T::LATER)
}

/// One of `choices`; `later` are words that are refused as known but not in this version.
pub(super) fn pick<T: Copy>(key: &str, text: &str, choices: &[(&str, T)], later: &[&str]) -> Checked<T> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<String> = choices.iter().map(|(word, _)| format!("{word:?}")).collect();
    let words = match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    };
    if later.contains(&text) {
        return refuse(format!("{key} {text:?} is not in this version; use {words}"));
    }
    match closest(text, choices.iter().map(|(word, _)| *word)) {
        Some(close) => refuse(format!("{key} {text:?} is unknown; did you mean {close:?}?")),
        None => refuse(format!("{key} {text:?} is unknown; use {words}")),
    }
}

/// A name of a service or backend.
pub fn name(text: &str) -> Checked<String> {
    if text.is_empty() {
        return refuse("name is empty; give it one");
    }
    if text.len() > NAME_BYTES {
        return refuse(format!("name is {} bytes long; use at most {NAME_BYTES}", text.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if let Some(odd) = text.chars().find(|&c| !allowed(c)) {
        return refuse(format!("name {text:?} holds {odd:?}; use only letters A-Z a-z, digits and . _ -"));
    }
    if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return refuse(format!("name {text:?} starts with a sign; start it with a letter or digit"));
    }
    Ok(text.to_owned())
}

/// A service's address and port.
pub fn service_address(text: &str) -> Checked<(IpAddr, u16)> {
    if let Ok(SocketAddr::V6(v6)) = text.parse()
        && v6.scope_id() != 0
    {
        return refuse(format!("address {text:?} has a scope; write it without the part from \"%\" on"));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((unicast(address.ip())?, address.port()));
    }
    match text.parse() {
        Ok(IpAddr::V4(v4)) => refuse(format!(
            "address {text:?} has no port; write it as \"{v4}:PORT\", with port 0 for every port"
        )),
        Ok(IpAddr::V6(v6)) => refuse(format!(
            "address {text:?} has no port; write it as \"[{v6}]:PORT\", with port 0 for every port"
        )),
        Err(_) => refuse(format!(
            "address {text:?} is not an IP address and port; write it like \"192.0.2.10:8583\" or \"[2001:db8::10]:8583\""
        )),
    }
}

/// A backend's address, and a port of its own or 0.
pub fn backend_address(text: &str) -> Checked<(IpAddr, u16)> {
    if let Ok(with_port) = text.parse::<SocketAddr>() {
        if with_port.port() == 0 {
            return refuse(format!("address {text:?} has port 0; write \"{}\"", with_port.ip()));
        }
        return Ok((unicast(with_port.ip())?, with_port.port()));
    }
    let Ok(address) = text.parse() else {
        return refuse(format!(
            "address {text:?} is not an IP address; write it like \"198.18.0.11\" or \"2001:db8::11\""
        ));
    };
    Ok((unicast(address)?, 0))
}

/// Most answers a second and CPU.
const MAX_ANSWER_RATE: u32 = 1_000_000;

/// An address that one machine elsewhere can have.
fn unicast(address: IpAddr) -> Checked<IpAddr> {
    if let IpAddr::V6(v6) = address
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        // In the maps IPv4 is mapped into IPv6: the two could not be told apart there.
        return refuse(format!("address {address} is IPv4 mapped into IPv6; write {v4}"));
    }
    let kind = if address.is_unspecified() {
        "unspecified"
    } else if address.is_loopback() {
        "a loopback address"
    } else if address.is_multicast() {
        "a multicast address"
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        "the broadcast address"
    } else {
        return Ok(address);
    };
    refuse(format!("address {address} is {kind}; use a unicast address"))
}

/// Whether a service in this forwarding mode can have this backend.
pub fn reachable(forwarding: Forwarding, service: SocketAddr, backend: (IpAddr, u16)) -> Checked<()> {
    let (address, port) = backend;
    if port != 0 && forwarding != Forwarding::Nat {
        let with_port = SocketAddr::new(address, port);
        return refuse(format!(
            "address \"{with_port}\" has a port, which needs forwarding \"nat\"; write \"{address}\""
        ));
    }
    if port != 0 && service.port() == 0 {
        return refuse(format!(
            "address \"{}\" has a port, but the service has every port and could not tell to which an answer belongs; write \"{address}\"",
            SocketAddr::new(address, port)
        ));
    }
    if service.ip() == address {
        return refuse(format!("address {address} is the service's own; write the real server's"));
    }
    if !forwarding.is_tunnel() && service.is_ipv4() != address.is_ipv4() {
        let family = |ipv4| if ipv4 { "IPv4" } else { "IPv6" };
        let (of, other) = (family(service.is_ipv4()), family(address.is_ipv4()));
        let mode = forwarding.name();
        return refuse(format!(
            "address {address} is {other}, which {mode} cannot reach from a service of {of}; use an {of} address"
        ));
    }
    Ok(())
}

/// A prefix that source addresses of tunnel packets are taken from.
pub fn prefix(text: &str) -> Checked<Prefix> {
    let parts = text
        .split_once('/')
        .and_then(|(address, length)| Some((address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?)));
    let Some((address, length)) = parts else {
        return refuse(format!(
            "tunnel_source {text:?} is not a prefix; write it like \"198.18.64.0/18\" or \"2001:db8:1::/64\""
        ));
    };
    unicast(address)?;
    let width = if address.is_ipv4() { 32 } else { 128 };
    if length == 0 || length > width {
        return refuse(format!("tunnel_source {text:?} has a length out of bounds; use 1 to {width}"));
    }
    let number = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    if number.checked_shl(length.into()).unwrap_or(0) != 0 {
        return refuse(format!("tunnel_source {text:?} has bits behind the prefix; set them to 0"));
    }
    Ok(Prefix { address, length })
}

/// Answers a second.
pub fn answer_rate(number: i64) -> Checked<u32> {
    match u32::try_from(number) {
        Ok(rate) if rate <= MAX_ANSWER_RATE => Ok(rate),
        _ => refuse(format!("answer_rate {number} is out of bounds; use 0 to {MAX_ANSWER_RATE}")),
    }
}

/// A port.
pub fn port(key: &str, number: i64) -> Checked<u16> {
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(port),
        _ => refuse(format!("{key} {number} is out of bounds; use 1 to 65535")),
    }
}

/// A TCP segment size: the least that every host takes (RFC 9293 section 3.7.1) to what IPv4 can carry.
pub fn mss(number: i64) -> Checked<u16> {
    match u16::try_from(number) {
        Ok(size) if size >= 536 => Ok(size),
        _ => refuse(format!("mss {number} is out of bounds; use 536 to 65535")),
    }
}

/// How long a backend may be told to drain.
pub const DEADLINE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24 * 7);

/// A time span: a whole number and its unit. `bounds` are both within.
pub fn duration(key: &str, text: &str, bounds: RangeInclusive<Duration>) -> Checked<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        _ => None,
    };
    let Some(unit) = milliseconds.filter(|_| digits > 0) else {
        return refuse(format!(
            "{key} {text:?} is not a time span; write a whole number and ms, s, m or h, like \"{}\"",
            span(*bounds.start())
        ));
    };
    let span_given = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    match span_given.map(Duration::from_millis).filter(|span| bounds.contains(span)) {
        Some(span) => Ok(span),
        None => refuse(format!(
            "{key} {text:?} is out of bounds; use {} to {}",
            span(*bounds.start()),
            span(*bounds.end())
        )),
    }
}

/// A time span as [`duration`] reads it, in the largest unit that has it whole.
#[must_use]
pub fn span(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(unit, _)| milliseconds > 0 && milliseconds.is_multiple_of(*unit));
    let (unit, name) = unit.unwrap_or((1, "ms"));
    format!("{}{name}", milliseconds / unit)
}

/// Entries of each family's flow table.
pub fn flows(number: i64) -> Checked<u32> {
    match u32::try_from(number) {
        Ok(flows) if (1_024..=MAX_FLOWS).contains(&flows) => Ok(flows),
        _ => refuse(format!("flows {number} is out of bounds; use 1024 to {MAX_FLOWS}")),
    }
}

/// That walks of their own for clients are asked of the algorithm that has walks.
pub fn per_client(algorithm: Algorithm, per_client: bool) -> Checked<Algorithm> {
    match algorithm {
        Algorithm::RoundRobin { .. } => Ok(Algorithm::RoundRobin { per_client }),
        _ if !per_client => Ok(algorithm),
        _ => refuse(format!(
            "per_client needs algorithm \"round-robin\", and here it is {:?}; remove per_client, or choose that",
            algorithm.word()
        )),
    }
}

/// A backend's weight.
pub fn weight(number: i64) -> Checked<u32> {
    match u32::try_from(number) {
        Ok(weight) if weight <= MAX_WEIGHT => Ok(weight),
        _ => refuse(format!("weight {number} is out of bounds; use 0 to {MAX_WEIGHT}")),
    }
}

/// Size of a slot table.
pub fn slots(number: i64) -> Checked<u32> {
    match u32::try_from(number) {
        Ok(slots) if !(MIN_SLOTS..=MAX_SLOTS).contains(&slots) => out_of_bounds(number),
        Ok(slots) if !slots.is_power_of_two() => {
            let (below, above) = (slots.next_power_of_two() / 2, slots.next_power_of_two());
            refuse(format!("slots {slots} is not a power of two; use {below} or {above}"))
        }
        Ok(slots) => Ok(slots),
        Err(_) => out_of_bounds(number),
    }
}

fn out_of_bounds(slots: i64) -> Checked<u32> {
    refuse(format!("slots {slots} is out of bounds; use a power of two from {MIN_SLOTS} to {MAX_SLOTS}"))
}

/// That a slot table has a slot for each backend with weight.
pub fn enough_slots(slots: u32, weighted: usize) -> Checked<()> {
    if weighted <= slots as usize {
        return Ok(());
    }
    let enough = weighted.next_power_of_two();
    refuse(format!("slots {slots} are fewer than the {weighted} backends with weight; use {enough}"))
}

/// The secret of the flow hash. The refusal does not show the text.
pub fn hash_key(text: &str) -> Checked<HashKey> {
    let wrong = |what: String| {
        refuse(format!("hash_key {what}; write 32 of them, as \"openssl rand -hex 16\" makes"))
    };
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return wrong("is not all hexadecimal digits".to_owned());
    }
    let mut key = [0; 16];
    if text.len() != 2 * key.len() {
        return wrong(format!("has {} hexadecimal digits", text.len()));
    }
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16).unwrap_or_default() as u8;
        *byte = digit(0) << 4 | digit(1);
    }
    Ok(HashKey(key))
}

/// Name of a network interface, as the kernel's `dev_valid_name` has it.
pub fn interface(text: &str) -> Checked<String> {
    if text.is_empty() || text.len() > INTERFACE_BYTES {
        return refuse(format!(
            "interface {text:?} is {} bytes long; use 1 to {INTERFACE_BYTES}",
            text.len()
        ));
    }
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
    if text.contains(odd) || matches!(text, "." | "..") {
        return refuse(format!("interface {text:?} cannot be a name; write it as \"ip link\" shows it"));
    }
    Ok(text.to_owned())
}

/// An absolute path below the root, without `..`.
pub fn path(key: &str, text: &str) -> Checked<PathBuf> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return refuse(format!("{key} {text:?} is not absolute; start it with /"));
    }
    if path.parent().is_none() {
        return refuse(format!("{key} is the root; name a path below it"));
    }
    if path.components().any(|part| part == Component::ParentDir) || text.contains(char::is_control) {
        return refuse(format!(
            "{key} {text:?} is not a plain path; write it without \"..\" and control characters"
        ));
    }
    Ok(path.to_owned())
}

/// Path of a Unix socket.
pub fn socket_path(key: &str, text: &str) -> Checked<PathBuf> {
    let path = path(key, text)?;
    if text.len() > SOCKET_PATH_BYTES {
        return refuse(format!("{key} is {} bytes long; use at most {SOCKET_PATH_BYTES}", text.len()));
    }
    Ok(path)
}

/// An address and port to listen on.
pub fn listen_address(key: &str, text: &str) -> Checked<SocketAddr> {
    let wrong = |_| {
        Refusal(format!("{key} {text:?} is not an IP address and port; write it like \"127.0.0.1:9477\""))
    };
    text.parse().map_err(wrong)
}

/// Refuses what is there already; `first` says where.
pub(super) fn taken(what: impl Display, first: usize, mend: &str) -> Refusal {
    Refusal(format!("{what} is taken by line {first}; {mend}"))
}
