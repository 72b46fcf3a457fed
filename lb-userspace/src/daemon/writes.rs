//! Writes: each is validated whole, noted in the audit log, durable, and then applied; or nothing is changed.

use super::{
    RESYNC,
    balancer::{Balancer, now},
    commands::{Done, Failed, Request, Write},
    moves::Cause,
    reload::{Reload, new_config},
};
use crate::{
    audit::Deed,
    config::{own, rules::Refusal},
    health::target::Target,
    neighbour::Resolver,
    plan::{Plan, Report},
    state::{Change, State},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};
use tracing::{info, warn};

/// What a write makes of the state, before anything is changed.
struct Prepared {
    state: State,
    plan: Plan,
    notes: Vec<String>,
    reload: Option<Reload>,
    /// Who is checked from then on.
    targets: Vec<Target>,
    /// The program that it needs, as bits of [`lb_common::meta::features`].
    features: u32,
}

impl Write {
    /// Like `backend set`.
    const fn action(&self) -> &'static str {
        match self {
            Self::Backend(Change::SetWeight { .. }) => "backend set",
            Self::Backend(Change::AddBackend { .. }) => "backend add",
            Self::Backend(Change::Drain { .. }) => "backend drain",
            Self::Backend(Change::Remove { .. }) => "backend remove",
            Self::AddService(_) => "service add",
            Self::RemoveService(_) => "service remove",
            Self::Reload => "reload",
        }
    }

    /// The service that it is meant for; `None`: all.
    fn service(&self) -> Option<&str> {
        match self {
            Self::Backend(change) => Some(change.names().0),
            Self::AddService(service) => Some(&service.name),
            Self::RemoveService(name) => Some(name),
            Self::Reload => None,
        }
    }

    fn target(&self) -> String {
        match self {
            Self::Backend(change) => {
                let (service, backend) = change.names();
                format!("{service}/{backend}")
            }
            _ => self.service().unwrap_or_default().to_owned(),
        }
    }

    /// What it is meant for, in words.
    fn told(&self, state: &State) -> Value {
        match self {
            Self::Backend(change) => {
                let (service, backend) = change.names();
                state.told(service, backend)
            }
            Self::AddService(service) => state.told_service(&service.name),
            Self::RemoveService(name) => state.told_service(name),
            Self::Reload => json!({ "tag": state.tag_of_all() }),
        }
    }

    /// The tag of what it is meant for. A new service has none: what it comes to is the whole.
    fn tag(&self, state: &State) -> Option<String> {
        match self {
            Self::AddService(_) | Self::Reload => Some(state.tag_of_all()),
            _ => self.service().and_then(|service| state.tag(service)),
        }
    }
}

impl Balancer {
    /// Takes a write in whole, or not at all.
    pub(super) async fn write(&mut self, resolver: &Resolver, request: Request) -> Result<Done, Failed> {
        let Request { write, dry_run, if_match, who } = request;
        self.must_match(&write, if_match.as_deref())?;
        let mut prepared = self.prepare(resolver, &write).await?;
        let done = |prepared: &Prepared, state: &State| Done {
            report: prepared.plan.report.clone(),
            notes: prepared.notes.clone(),
            tag: match write.service() {
                Some(service) => state.tag(service),
                None => Some(state.tag_of_all()),
            },
        };
        if dry_run {
            return Ok(done(&prepared, &self.state));
        }
        let answer = done(&prepared, &prepared.state);
        let target = write.target();
        let after = write.told(&prepared.state);
        let deed = Deed {
            who: who.clone(),
            action: write.action().to_owned(),
            target: target.clone(),
            before: write.told(&self.state),
            after: after.clone(),
        };
        let failed = |error: anyhow::Error| Failed::Machine(format!("{error:#}; nothing was changed"));
        self.fit_program(&prepared).map_err(failed)?;
        if let Some(reload) = &mut prepared.reload {
            reload.look_again(resolver).await.map_err(failed)?;
        }
        self.records.audit(deed).map_err(failed)?;
        if let Err(error) = self.records.keep(&prepared.state) {
            let undone = Deed {
                who: who.clone(),
                action: format!("{} failed", write.action()),
                target,
                before: after,
                after: write.told(&self.state),
            };
            if let Err(error) = self.records.audit(undone) {
                warn!("{error:#}");
            }
            return Err(failed(error));
        }
        let Prepared { state, plan, reload, targets, .. } = prepared;
        self.state = state;
        self.check(targets);
        self.changes += 1;
        info!("{} {target} by {who}", write.action());
        self.events.tell(write.action(), target, after);
        let carried_out = self.carry_out(&plan, Some(Cause::Operator));
        let reloaded = reload.map_or(Ok(()), |reload| self.take_over(reload));
        carried_out.and(reloaded).map_err(|error| {
            Failed::Machine(format!(
                "{error:#}; the change is taken in and tried again, in {} s at the latest",
                RESYNC.as_secs()
            ))
        })?;
        Ok(answer)
    }

    /// That the asker has seen what it is about to change.
    fn must_match(&self, write: &Write, if_match: Option<&[String]>) -> Result<(), Failed> {
        let Some(tags) = if_match else { return Ok(()) };
        let has = write.tag(&self.state);
        if tags.iter().any(|tag| tag == "*" && has.is_some() || has.as_ref() == Some(tag)) {
            return Ok(());
        }
        Err(match write.service() {
            Some(service) if has.is_none() => Failed::Missing(self.state.no_service(service)),
            Some(service) => Failed::Stale(format!("service {service}")),
            None => Failed::Stale("the configuration".to_owned()),
        })
    }

    /// All that can be refused is refused here.
    async fn prepare(&self, resolver: &Resolver, write: &Write) -> Result<Prepared, Failed> {
        let mut state = self.state.clone();
        let (mut notes, mut reload) = (Vec::new(), None);
        match write {
            Write::Backend(change) => {
                state.change(change, now()).map_err(|refusal| {
                    if self.state.has(change) { Failed::Refused(refusal) } else { Failed::Missing(refusal) }
                })?;
            }
            Write::AddService(service) => {
                state.add_service((**service).clone())?;
                let mut added = state.services().iter().filter(|have| have.name == service.name);
                added.try_for_each(|service| own::check(&self.daemon, service))?;
            }
            Write::RemoveService(name) => state.remove_service(name).map_err(Failed::Missing)?,
            Write::Reload => {
                let config = new_config(&self.file, &self.daemon)?;
                let prepared = Reload::prepare(resolver, config.clone()).await?;
                notes = state.reconfigure(config, super::kept::clocks());
                reload = Some(prepared);
            }
        }
        let targets = self.vitals.targets(state.services(), matches!(write, Write::Reload));
        let targets = targets.map_err(|error| Refusal(error.to_string()))?;
        let known: BTreeSet<IpAddr> = self.state.addresses().into_iter().collect();
        let new = state.addresses().into_iter().filter(|address| !known.contains(address)).collect();
        introduce(resolver, &mut state, new).await?;
        let mut plan = self.plan(&state, write.service()).map_err(|error| Refusal(format!("{error:#}")))?;
        if let Write::Backend(Change::AddBackend { service, backend }) = write {
            tell_if_silent(&state, &mut plan.report, service, backend.address);
        }
        let features = state.features() | reload.as_ref().map_or(0, |reload| reload.features);
        Ok(Prepared { state, plan, notes, reload, targets, features })
    }

    /// Has the program do what the state asks for: one that can do more replaces it on every link at once.
    fn fit_program(&mut self, prepared: &Prepared) -> anyhow::Result<()> {
        let mut wanted = self.specialisation;
        wanted.features |= prepared.features;
        if let Some(reload) = &prepared.reload {
            wanted.answer_rate = reload.config.daemon.answer_rate;
        }
        if wanted == self.specialisation {
            return Ok(());
        }
        self.respecialise(wanted)?;
        info!("a new program is on every link: the old one lacked what the change asks for");
        Ok(())
    }
}

/// Notes in the report that a backend that was added gets nothing yet.
fn tell_if_silent(state: &State, report: &mut Report, service: &str, address: IpAddr) {
    let name = state.name_of(address);
    let silent = state.unresolved().iter().any(|backend| backend.ends_with(&format!("({address})")));
    if let Some(report) =
        report.services.iter_mut().find(|report| report.service == service).filter(|_| silent)
    {
        let note = format!(
            "backend {name} does not answer ARP or neighbour discovery; it gets no connections until it does"
        );
        report.note.get_or_insert(note);
    }
}

/// Finds the way to addresses that the state did not know before, under the rules of the boot.
async fn introduce(resolver: &Resolver, state: &mut State, addresses: Vec<IpAddr>) -> Result<(), Failed> {
    let answers = resolver.resolve_all(&addresses, super::balancer::INTRODUCTION).await;
    for (address, answer) in addresses.into_iter().zip(answers) {
        let next_hop = answer.map_err(|error| Refusal(super::blame(state, address, &error).to_string()))?;
        super::check_way(state, address, &next_hop).map_err(|error| Refusal(error.to_string()))?;
        state.handle(crate::state::Event::NextHop(address, next_hop));
    }
    Ok(())
}
