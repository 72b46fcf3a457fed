//! `xdp-lb lookup`: where a flow would go, and why. Reads the pinned maps, with or without a daemon.

use super::output;
use crate::{
    dataplane::{Dataplane as _, Error, kernel::Kernel, loader},
    lookup::{self, Answer, Destination, Entry},
    tracking::Now,
};
use clap::Args;
use lb_common::hash::expand_key;
use nix::time::{ClockId, clock_gettime};
use std::{net::SocketAddr, path::Path};

/// Which flow.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Name of the service
    service: String,
    /// Where the flow comes from, like 203.0.113.7:40112 or `[2001:db8::7]:40112`
    #[arg(value_name = "CLIENT_ADDRESS:PORT")]
    client: SocketAddr,
    /// Which port it goes to, of a service of every port
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
}

/// Prints where it goes.
pub fn run(pin_dir: &Path, arguments: &Arguments, json: bool) -> anyhow::Result<()> {
    let Arguments { service, client, port } = arguments;
    loader::require_root("reading the pinned maps")?;
    let meta = loader::pinned_meta(pin_dir)?.ok_or_else(|| Error::NothingPinned(pin_dir.to_owned()))?;
    let installed = Kernel::open(pin_dir)?.installed()?;
    let found = lookup::find(&installed, &expand_key(meta.hash_key), service, *client, *port)?;
    let entry = Kernel::flow(pin_dir, &found.key)?;
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    let answer = found.answer(entry, Now::new(now.into()).tick());
    if json { output::json(&answer) } else { print(&answer) }
}

fn print(answer: &Answer) -> anyhow::Result<()> {
    let Answer { service, client, destination, protocol, hash, slot, slots, phase, .. } = answer;
    output::line(&format!("{service}: {client} -> {destination}, {protocol}"))?;
    output::line(&format!("hash {hash}: slot {slot} of {slots}, {phase}"))?;
    if let Some(Entry { backend, class, quiet_milliseconds }) = &answer.flow {
        let backend = backend.as_deref().unwrap_or("a backend that is gone");
        output::line(&format!("flow table: {backend}'s, {class}, last packet {quiet_milliseconds} ms ago"))?;
    }
    let shown = |to: &Option<Destination>, nowhere: &str| match to {
        Some(Destination { backend, address, state }) => format!("{backend} ({address}), {state}"),
        None => nowhere.to_owned(),
    };
    let turn = if answer.goes_on.is_some() { "whoever's turn it is" } else { "nowhere" };
    output::line(&format!("a new connection goes to: {}", shown(&answer.new_connection, turn)))?;
    output::line(&format!("a packet of an open one:  {}", shown(&answer.goes_on, "nowhere")))?;
    answer.why.iter().try_for_each(|why| output::line(&format!("  {why}")))
}
