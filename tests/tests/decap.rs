//! `xdp-lb decap`: its program on crafted frames, whole connections through every kind of tunnel, and its command line.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

#[path = "decap/command.rs"]
mod command;
#[path = "decap/formats.rs"]
mod formats;
#[path = "decap/live.rs"]
mod live;
#[path = "decap/packets.rs"]
mod packets;
#[path = "decap/program.rs"]
mod program;
#[path = "decap/reasons.rs"]
mod reasons;

use std::{net::IpAddr, process::Output};

use lb_tests::bed::{Bed, INTERFACE, built};

/// Addresses of crafted packets, IPv4 and IPv6.
const CLIENT: [&str; 2] = ["203.0.113.9", "2001:db8:c::9"];
const VIP: [&str; 2] = ["192.0.2.10", "2001:db8::10"];
/// The backend's own.
const OWN: [&str; 2] = ["198.18.0.11", "2001:db8:18::11"];
/// The tunnel's other end.
const REMOTE: [&str; 2] = ["198.18.0.2", "2001:db8:18::2"];

fn address(of: [&str; 2], v6: bool) -> IpAddr {
    of[usize::from(v6)].parse().unwrap()
}

/// `xdp-lb` on the first backend, with the bed's pin directory.
fn xdp_lb(bed: &Bed, arguments: &[&str]) -> Output {
    let mut command = bed.backend(0).command(built("xdp-lb").unwrap());
    command.arg("--pin-dir").arg(bed.pin_dir()).args(arguments).output().unwrap()
}

/// What `xdp-lb decap` with these options answers, in JSON.
fn decap(bed: &Bed, options: &[&str]) -> serde_json::Value {
    let output = xdp_lb(bed, &[&["--json", "decap", "--iface", INTERFACE], options].concat());
    assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Packets that ended under this reason, as the command shows them.
fn counted(bed: &Bed, reason: &str) -> u64 {
    let answer = decap(bed, &[]);
    let rows = answer["verdicts"].as_array().unwrap();
    let row = rows.iter().find(|row| row["reason"] == reason).unwrap();
    row["packets"].as_u64().unwrap()
}
