//! `xdp-lb attach IFACE`: with the daemon's program where one is pinned, else with an empty balancer that
//! passes everything until a daemon fills its maps.

use super::output;
use crate::{
    config::{self, XdpMode},
    daemon,
    dataplane::{
        Error,
        link::{Attached, Links},
        loader,
    },
    hash_key,
    neighbour::Resolver,
    state::{features_for_mtu, sizes_of},
};
use lb_common::{limits::MAX_PLAIN_MTU, meta::features};
use serde::Serialize;
use std::path::Path;

#[derive(Serialize)]
struct Answer<'a> {
    interface: &'a str,
    mode: &'static str,
    pin_dir: &'a Path,
}

/// Attaches to the interface.
pub fn run(pin_dir: &Path, name: &str, mode: XdpMode, json: bool) -> anyhow::Result<()> {
    loader::preflight()?;
    let interface = super::runtime()?.block_on(async { daemon::interface(&Resolver::new()?, name).await })?;
    let links = Links::new(pin_dir);
    links.check_free(&interface)?;
    let mut loaded = match loader::pinned(pin_dir)? {
        Some(loaded) => loaded,
        None => loader::load(
            pin_dir,
            sizes_of(&[], config::Tracking::default().flows),
            loader::Specialisation {
                features: features::ALL,
                log_level: 0,
                answer_rate: config::ANSWER_RATE,
                hash_key: hash_key::kept_or_random(Path::new(config::STATE_DIR))?.0,
            },
        )?,
    };
    if let Some(meta) = loader::pinned_meta(pin_dir)? {
        let missing = features_for_mtu(interface.mtu) & !meta.features;
        anyhow::ensure!(
            missing == 0,
            "interface {name} has an MTU of {}, and the running program is made for {MAX_PLAIN_MTU} at most; name the interface in the configuration and start the daemon again",
            interface.mtu
        );
    }
    let fresh = loaded.adopted == loader::Adopted::Nothing;
    let attached = loaded.links.attach(&mut loaded.program, &interface, mode).inspect_err(|_: &Error| {
        if fresh {
            // Nothing is left behind of an attempt that came to nothing; the first error is the one to tell.
            let _ = loader::remove_all(pin_dir);
        }
    })?;
    let mode = match attached {
        Attached::Native => "native",
        Attached::Generic => "generic",
        Attached::Already => "unchanged",
    };
    if json {
        return output::json(&Answer { interface: name, mode, pin_dir });
    }
    match attached {
        Attached::Already => output::line(&format!("{name} carries the program already")),
        _ => output::line(&format!("attached to {name} in {mode} mode; pinned under {}", pin_dir.display())),
    }
}
