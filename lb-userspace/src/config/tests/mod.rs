//! Configurations that are refused, with the exact message, and configurations that are not.

mod bad;
mod good;
mod health;
mod nat;
mod weights;
mod whole;

use super::{Config, WrittenConfig, parse};
use std::fmt::Write;

/// A whole service, one key a line; `[[service]]` is line 1.
const SERVICE: &str = r#"[[service]]
name = "card-auth"
address = "192.0.2.10:8583"
protocol = "tcp"
forwarding = "l2-dsr"
algorithm = "hash"
slots = 64
[service.health]
type = "none"
[service.weights]
mode = "static"
[[service.backend]]
name = "auth-1"
address = "198.18.0.11"
weight = 100
"#;

/// [`SERVICE`] with line `number` (from 1) replaced; an empty replacement leaves an empty line.
fn with(number: usize, line: &str) -> String {
    let lines = (1..).zip(SERVICE.lines()).map(|(n, old)| if n == number { line } else { old });
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn daemon(line: &str) -> String {
    format!("[daemon]\n{line}\n")
}

/// [`SERVICE`] and more after it.
fn and(more: &str) -> String {
    format!("{SERVICE}{more}\n")
}

fn refusal(text: &str) -> String {
    parse(text, "lb.toml").map_or_else(|error| error.to_string(), |_| "accepted".to_owned())
}

fn accepted(text: &str) -> Config {
    let config = parse(text, "lb.toml").unwrap_or_else(|error| panic!("refused: {error}\n{text}"));
    // Whatever is accepted can be written down again, but for its secret.
    let written = WrittenConfig::from(&config).to_toml().unwrap();
    let again = parse(&written, "again.toml").unwrap_or_else(|error| panic!("{error}\n{written}"));
    let without = |config: &Config| {
        let mut config = config.clone();
        config.daemon.hash_key = None;
        config
    };
    assert_eq!(again, without(&config), "{written}");
    config
}

/// Checks each text against its one line, without the leading file name.
fn check(rows: &[(String, &str)]) {
    let mut differ = String::new();
    for (text, expected) in rows {
        let told = refusal(text);
        if told != format!("lb.toml:{expected}") {
            write!(differ, "\nEXP lb.toml:{expected}\nGOT {told}").unwrap();
        }
    }
    assert!(differ.is_empty(), "{differ}");
}
