//! The sweep: passes over both flow tables, a bounded step at a time.

use super::{
    census::Census,
    figures::{Figures, ServiceFigures},
    judge::{Advance, Seen, advance},
    loads::Loads,
    pass::Pass,
    time::Now,
    view::{ServiceView, View},
};
use crate::{
    config::Tracking,
    dataplane::{Error, FlowBatch, FlowKey, FlowTable, Installed, Operation},
};
use lb_common::{
    hash::KeyWords,
    slot::{BackendIndex, Phase, Slot},
};
use std::{
    collections::{BTreeSet, HashSet},
    time::Duration,
};

/// Entries that a step reads, about.
pub const AT_MOST: usize = 8_192;
/// Passes begin so far apart at least: slots' times are whole seconds.
const APART: Duration = Duration::from_secs(1);

/// The sweep, between two steps.
#[derive(Clone, Debug)]
pub struct Sweep {
    tracking: Tracking,
    words: KeyWords,
    at_most: usize,
    view: View,
    pass: Option<Pass>,
    last_began: Option<Now>,
    loads: Loads,
    census: Census,
    /// Backends without any flow, as the last pass found.
    empty: BTreeSet<(BackendIndex, u32)>,
    figures: Figures,
    /// Slots, by index in SLOTS, that learn once more.
    again: HashSet<u32>,
    /// Reused from step to step.
    doomed: Vec<FlowKey>,
}

/// What a step did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries read.
    pub read: usize,
    /// Entries deleted.
    pub deleted: usize,
    /// A pass came to its end: [`Sweep::figures`] and [`Sweep::census`] are new.
    pub ended: bool,
    /// Slots that advance: to be carried out before the next step.
    pub operations: Vec<Operation>,
    /// A plan may do more than before: slots became stable, or a backend has no flows any more.
    pub settled: bool,
}

impl Sweep {
    /// A sweep of nothing yet. `words`: the key of the flow hash, as [`lb_common::hash::expand_key`] makes it.
    #[must_use]
    pub fn new(tracking: Tracking, words: KeyWords) -> Self {
        Self {
            tracking,
            words,
            at_most: AT_MOST,
            view: View::default(),
            pass: None,
            last_began: None,
            loads: Loads::default(),
            census: Census::default(),
            empty: BTreeSet::new(),
            figures: Figures::default(),
            again: HashSet::new(),
            doomed: Vec::new(),
        }
    }

    /// The same in steps of another size than [`AT_MOST`].
    #[must_use]
    pub const fn in_steps_of(mut self, at_most: usize) -> Self {
        self.at_most = at_most;
        self
    }

    /// Takes in what the maps hold. To be called after every plan that was carried out, in part or whole, and when
    /// [`Progress::operations`] could not be.
    pub fn install(&mut self, installed: &Installed) {
        self.install_beside(installed, &BTreeSet::new());
    }

    /// As [`Sweep::install`], where the plan had nothing for these services: `installed` need not have their slots.
    pub fn install_beside(&mut self, installed: &Installed, settled: &BTreeSet<String>) {
        let mut view = View::new(installed);
        view.take_slots(&mut self.view, settled);
        if !view.has_places_of(&self.view) {
            // What was seen of slots and flows is not about these.
            self.pass = None;
        }
        self.view = view;
        if let Some(pass) = &mut self.pass {
            pass.name(&self.view, settled);
        }
    }

    /// What the last whole pass saw of the backends; nothing is known before the first.
    #[must_use]
    pub const fn census(&self) -> &Census {
        &self.census
    }

    /// What the last whole pass saw.
    #[must_use]
    pub const fn figures(&self) -> &Figures {
        &self.figures
    }

    /// One step: begins a pass when it is time, or goes on with one.
    ///
    /// # Errors
    /// When a table cannot be read or written; the pass then begins anew.
    pub fn tick<T: FlowTable>(&mut self, table: &mut T, now: Now) -> Result<Progress, Error> {
        let mut pass = match self.pass.take() {
            Some(pass) => pass,
            None if self.last_began.is_some_and(|began| now.since(began) < APART) => {
                return Ok(Progress::default());
            }
            None => {
                self.last_began = Some(now);
                let mut pass = Pass::begin(&self.view, &self.tracking, self.figures.read, now);
                pass.loads = Loads::begin(table, &self.view)?;
                pass
            }
        };
        let FlowBatch { entries, next } = table.flows(pass.next, self.at_most)?;
        self.doomed.clear();
        for (key, entry) in &entries {
            if pass.look(&self.view, &self.words, key, entry, now) {
                self.doomed.push(*key);
            }
        }
        table.forget(&self.doomed)?;
        for (index, by) in std::mem::take(&mut pass.unloading) {
            table.add_live(index, -by)?;
            *pass.unloaded.entry(index).or_default() += by;
        }
        let mut progress =
            Progress { read: entries.len(), deleted: self.doomed.len(), ..Progress::default() };
        if next.is_some() {
            pass.next = next;
            self.pass = Some(pass);
        } else {
            self.end(table, pass, now, &mut progress)?;
        }
        Ok(progress)
    }

    fn end<T: FlowTable>(
        &mut self,
        table: &mut T,
        pass: Pass,
        now: Now,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        self.loads.end(table, &pass, &pass.counts)?;
        let mut services = Vec::new();
        for service in self.view.services.iter_mut().flatten() {
            let learn = service.learn(&self.tracking);
            let (slots, figures) = advance_slots(service, learn, table, &pass, &mut self.again, now)?;
            progress.settled |= slots.iter().any(|(_, slot)| slot.is_stable());
            services.push(figures);
            if !slots.is_empty() {
                let service = service.name.clone();
                progress.operations.push(Operation::SetSlots { service, slots });
            }
        }
        services.sort_by(|a, b| a.service.cmp(&b.service));
        self.figures = Figures {
            passes: self.figures.passes + 1,
            duration: now.since(pass.began),
            classes: pass.classes,
            read: pass.read,
            deleted: pass.deleted,
            services,
        };
        self.census = Census::new(pass.counts);
        let usable = (0..).zip(&self.view.backends).filter(|(_, backend)| backend.usable);
        let empty = usable.map(|(index, backend)| (index, backend.generation));
        let empty = empty.filter(|&(index, generation)| self.census.is_empty_of(index, generation)).collect();
        progress.settled |= !self.empty.is_superset(&empty);
        self.empty = empty;
        progress.ended = true;
        Ok(())
    }
}

/// Lets the slots of a service advance as far as they may.
fn advance_slots<T: FlowTable>(
    service: &mut ServiceView,
    learn: Duration,
    table: &T,
    pass: &Pass,
    again: &mut HashSet<u32>,
    now: Now,
) -> Result<(Vec<(u32, Slot)>, ServiceFigures), Error> {
    let mut changed = Vec::new();
    let mut figures = ServiceFigures { service: service.name.clone(), ..ServiceFigures::default() };
    if service.rests {
        return Ok((changed, ServiceFigures { stable: service.size, ..figures }));
    }
    let (seconds, first, tracks_all) = (now.seconds(), service.first_slot, service.tracks_all());
    for (index, slot) in (first..).zip(&mut service.slots) {
        if !slot.is_stable() {
            let overflow = if slot.is_learning() { table.overflow(index)? } else { <_>::default() };
            let foreign = !tracks_all && pass.foreign.get(index as usize).copied().unwrap_or(true);
            let seen = Seen { began: pass.began.seconds(), foreign };
            let next = match advance(*slot, learn, seen, overflow, now) {
                Advance::Stays => None,
                Advance::Holds => Some(Slot::holding(slot.backend, seconds)),
                Advance::LearnsAgain => {
                    again.insert(index);
                    Some(Slot::learning(slot.backend, slot.previous, seconds))
                }
                Advance::Settles => Some(Slot::stable(slot.backend, seconds)),
            };
            if let Some(next) = next {
                *slot = next;
                changed.push((index, next));
            }
        }
        if !slot.is_learning() {
            again.remove(&index);
        }
        match slot.phase() {
            Phase::Stable => figures.stable += 1,
            Phase::Hold => figures.holding += 1,
            Phase::Learn => {
                figures.learning += 1;
                let age = seconds.saturating_sub(slot.changed_at());
                figures.oldest_learn = figures.oldest_learn.max(age);
                figures.not_advancing += u32::from(again.contains(&index));
            }
        }
    }
    if !changed.is_empty() {
        service.look();
    }
    Ok((changed, figures))
}
