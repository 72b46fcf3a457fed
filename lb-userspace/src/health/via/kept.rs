//! The task that makes rules and routes, and takes them away.

use super::{Marks, NoWay, Way, lock, messages};
use crate::neighbour::{NetlinkError, ResolveError, Resolver, Watch, netlink::Netlink};
use nix::errno::Errno;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE},
    packet_route::{AddressFamily, RouteNetlinkMessage, rule::RuleMessage},
};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::watch, time::sleep};
use tracing::warn;

/// How long to wait before what failed is tried again, and at least between two looks at what changed.
const PAUSE: Duration = Duration::from_secs(1);
const FAMILIES: [AddressFamily; 2] = [AddressFamily::Inet, AddressFamily::Inet6];

/// The ways as they are in the kernel.
pub(super) struct Kept {
    netlink: Netlink,
    resolver: Resolver,
    marks: Arc<Mutex<Marks>>,
    /// Each way's number, and the interface of its route once that is made.
    ways: HashMap<Way, (u16, Option<u32>)>,
}

impl Kept {
    /// Keeps what is wanted until nobody wants anything any more.
    pub async fn run(mut wanted: watch::Receiver<BTreeSet<Way>>, marks: Arc<Mutex<Marks>>) {
        loop {
            let kept = Self::open(Arc::clone(&marks)).and_then(|kept| Ok((kept, Watch::new()?)));
            match kept {
                Ok((kept, watch)) => return kept.keep(wanted, watch).await,
                Err(error) => {
                    warn!("checks by way of the data path wait: {error}");
                    sleep(PAUSE).await;
                    if wanted.has_changed().is_err() {
                        return;
                    }
                    wanted.mark_unchanged();
                }
            }
        }
    }

    fn open(marks: Arc<Mutex<Marks>>) -> Result<Self, ResolveError> {
        let (netlink, resolver) = (Netlink::open()?, Resolver::new()?);
        Ok(Self { netlink, resolver, marks, ways: HashMap::new() })
    }

    async fn keep(mut self, mut wanted: watch::Receiver<BTreeSet<Way>>, mut watch: Watch) {
        self.sweep().await;
        loop {
            let ways = wanted.borrow_and_update().clone();
            self.make(&ways).await;
            let failed = lock(&self.marks).values().any(Result::is_err);
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() {
                    return self.sweep().await;
                },
                // Routes go with their interface, and rules with whoever flushes them.
                () = routes_change(&mut watch) => {}
                () = sleep(PAUSE), if failed => {}
            }
        }
    }

    /// Takes away all rules and routes of ways, whoever made them.
    async fn sweep(&mut self) {
        for family in FAMILIES {
            let rules = self.netlink.dump(messages::all_rules(family)).await.unwrap_or_default();
            let numbers = rules.iter().filter_map(|rule| match rule {
                RouteNetlinkMessage::NewRule(rule) => messages::number_of(rule),
                _ => None,
            });
            let numbers: Vec<u16> = numbers.collect();
            for number in numbers {
                self.forget(family, number).await;
            }
            for rule in messages::frame(family).into_iter().rev() {
                // That it was not there is as well.
                let _ = self.netlink.change(RouteNetlinkMessage::DelRule(rule), 0).await;
            }
        }
        self.ways.clear();
    }

    /// Takes away a way's rule and the routes of its table.
    async fn forget(&self, family: AddressFamily, number: u16) {
        let rule = messages::way_rule(family, number);
        let _ = self.netlink.change(RouteNetlinkMessage::DelRule(rule), 0).await;
        let routes = self.netlink.dump(messages::table(family, number)).await.unwrap_or_default();
        for route in routes {
            if let RouteNetlinkMessage::NewRoute(route) = route
                && messages::is_in_table(&route, number)
            {
                let _ = self.netlink.change(RouteNetlinkMessage::DelRoute(route), 0).await;
            }
        }
    }

    /// Makes what is wanted and not there, takes away what is there and not wanted, and tells the marks.
    async fn make(&mut self, wanted: &BTreeSet<Way>) {
        let gone: Vec<Way> = self.ways.keys().filter(|way| !wanted.contains(way)).copied().collect();
        for way in gone {
            lock(&self.marks).remove(&way);
            if let Some((number, _)) = self.ways.remove(&way) {
                self.forget(messages::family(way.vip), number).await;
            }
        }
        for family in FAMILIES {
            if !wanted.iter().any(|way| messages::family(way.vip) == family) {
                continue;
            }
            for rule in messages::frame(family) {
                // What hinders it hinders each way's own rule too, and is told of there.
                let _ = self.add_rule(rule).await;
            }
        }
        for &way in wanted {
            let made = self.make_one(way).await;
            if let Err(cause) = &made
                && lock(&self.marks).get(&way) != Some(&made)
            {
                warn!("the way of checks to {} as {} cannot be made: {cause}", way.backend, way.vip);
            }
            lock(&self.marks).insert(way, made);
        }
    }

    async fn make_one(&mut self, way: Way) -> Result<u32, NoWay> {
        let (number, made_on) = self.numbered(way)?;
        // Whether others could reach it does not matter.
        if let Err(ResolveError::Local { address }) = self.resolver.route(way.vip).await {
            return Err(NoWay::Hindered(format!(
                "{address} is an address of this machine, so packets to it never leave; take it off its interfaces, or set via = \"direct\""
            )));
        }
        let route =
            self.resolver.route(way.backend).await.map_err(|error| NoWay::Unreachable(error.to_string()))?;
        if let Some(gateway) = route.gateway {
            return Err(NoWay::Unreachable(format!(
                "{} is behind the gateway {gateway}, not on a link of this machine",
                way.backend
            )));
        }
        let family = messages::family(way.vip);
        let message = RouteNetlinkMessage::NewRoute(messages::route(way, number, route.ifindex));
        // What is there stays untouched, so that nobody is told of a change.
        let flags = if made_on == Some(route.ifindex) { NLM_F_EXCL } else { NLM_F_REPLACE };
        there_is(self.netlink.change(message, NLM_F_CREATE | flags).await)
            .map_err(|error| NoWay::Hindered(format!("its route cannot be made: {error}")))?;
        self.ways.insert(way, (number, Some(route.ifindex)));
        self.add_rule(messages::way_rule(family, number)).await?;
        Ok(messages::mark(number))
    }

    async fn add_rule(&self, rule: RuleMessage) -> Result<(), NoWay> {
        let added = self.netlink.change(RouteNetlinkMessage::NewRule(rule), NLM_F_CREATE | NLM_F_EXCL).await;
        there_is(added).map_err(|error| NoWay::Hindered(format!("its rule cannot be made: {error}")))
    }

    /// The way's number; the least that is free for a new one.
    fn numbered(&mut self, way: Way) -> Result<(u16, Option<u32>), NoWay> {
        if let Some(known) = self.ways.get(&way) {
            return Ok(*known);
        }
        let taken: HashSet<u16> = self.ways.values().map(|(number, _)| *number).collect();
        let free = (1..=u16::MAX).find(|number| !taken.contains(number));
        let number = free.ok_or_else(|| NoWay::Hindered("there are 65535 such ways already".to_owned()))?;
        self.ways.insert(way, (number, None));
        Ok((number, None))
    }
}

/// That something is there is as good as having made it.
fn there_is(made: Result<(), NetlinkError>) -> Result<(), NetlinkError> {
    match made {
        Err(NetlinkError::Kernel(Errno::EEXIST)) => Ok(()),
        other => other,
    }
}

/// Until routes or interfaces have changed; not at once, so that a storm of changes costs little.
async fn routes_change(watch: &mut Watch) {
    loop {
        let change = watch.changed().await;
        if change.routes || change.links {
            return sleep(PAUSE / 4).await;
        }
    }
}
