//! `xdp-lb detach IFACE | --all`.

use super::output;
use crate::dataplane::{Error, link::Links, loader};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Answer<'a> {
    detached: &'a [String],
    removed: bool,
}

/// Takes the program off one interface, or off all of them. With the last link go program and maps.
pub fn run(pin_dir: &Path, interface: Option<&str>, json: bool) -> anyhow::Result<()> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::Machine(
            "detaching XDP programs needs root; run it with sudo, or as root".to_owned(),
        )
        .into());
    }
    if !pin_dir.exists() {
        return Err(Error::NothingPinned(pin_dir.to_owned()).into());
    }
    let links = Links::new(pin_dir);
    let detached = match interface {
        Some(name) => {
            links.detach(name)?;
            vec![name.to_owned()]
        }
        None => links.names()?,
    };
    let removed = interface.is_none() || links.names()?.is_empty();
    if removed {
        loader::remove_all(pin_dir)?;
    }
    if json {
        return output::json(&Answer { detached: &detached, removed });
    }
    let from = if detached.is_empty() { "no interface".to_owned() } else { detached.join(", ") };
    let rest = if removed { "; program and maps removed" } else { "" };
    output::line(&format!("detached from {from}{rest}"))
}
