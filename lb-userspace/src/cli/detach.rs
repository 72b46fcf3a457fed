//! `xdp-lb detach IFACE | --all`.

use super::output;
use crate::{
    dataplane::{Error, link::Links, loader},
    neighbour::Resolver,
};
use serde::Serialize;
use std::{path::Path, time::Duration};
use tokio::time::{sleep, timeout};

/// How long the kernel may take to let go of an interface.
const LET_GO: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

#[derive(Serialize)]
struct Answer<'a> {
    detached: &'a [String],
    removed: bool,
}

/// Takes the program off one interface, or off all of them. With the last link go program and maps.
pub fn run(pin_dir: &Path, interface: Option<&str>, json: bool) -> anyhow::Result<()> {
    loader::require_root("detaching XDP programs")?;
    if !pin_dir.exists() {
        return Err(Error::NothingPinned(pin_dir.to_owned()).into());
    }
    let links = Links::new(pin_dir);
    let (detached, removed) = super::runtime()?.block_on(async {
        let resolver = Resolver::new()?;
        let live = live(&resolver, &links, interface).await?;
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
        let_go(&resolver, live).await?;
        anyhow::Ok((detached, removed))
    })?;
    if json {
        return output::json(&Answer { detached: &detached, removed });
    }
    let from = if detached.is_empty() { "no interface".to_owned() } else { detached.join(", ") };
    let rest = if removed { "; program and maps removed" } else { "" };
    output::line(&format!("detached from {from}{rest}"))
}

/// The interfaces that run our links, each with the number of its program: all of them, or the one that is named.
async fn live(resolver: &Resolver, links: &Links, only: Option<&str>) -> anyhow::Result<Vec<(String, u32)>> {
    let mut live = Vec::new();
    for name in links.names()?.into_iter().filter(|name| only.is_none_or(|only| only == name)) {
        if let Some(interface) = resolver.interface(&name).await?.filter(|found| links.is_live(found))
            && let Some(xdp) = interface.xdp
        {
            live.push((name, xdp.program_id));
        }
    }
    Ok(live)
}

/// The kernel takes a program off its interface a moment after the pin has gone. Whoever attaches the next one
/// must not be told that this one is still there.
async fn let_go(resolver: &Resolver, live: Vec<(String, u32)>) -> anyhow::Result<()> {
    for (name, program) in live {
        let gone = async {
            while resolver
                .interface(&name)
                .await?
                .and_then(|interface| interface.xdp)
                .map(|xdp| xdp.program_id)
                == Some(program)
            {
                sleep(LOOK_AGAIN).await;
            }
            anyhow::Ok(())
        };
        timeout(LET_GO, gone).await.unwrap_or_else(|_| {
            anyhow::bail!(
                "interface {name} still runs the program (id {program}), whose pin is removed; another process holds its link, `bpftool link show` names it"
            )
        })?;
    }
    Ok(())
}
