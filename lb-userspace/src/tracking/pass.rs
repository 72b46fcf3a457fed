//! One pass over both flow tables, while it goes on.

use super::{
    census::Count,
    judge::{Limits, is_redundant},
    time::Now,
    view::View,
};
use crate::{
    config::Tracking,
    dataplane::{FlowCursor, FlowKey},
};
use lb_common::{
    flow::{FlowClass, FlowEntry},
    hash::KeyWords,
    slot::BackendIndex,
};
use std::collections::{BTreeSet, HashMap};

/// A pass that is not over.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    pub began: Now,
    pub next: Option<FlowCursor>,
    /// Time spans of each service by identifier, of IPv4 and IPv6.
    limits: Vec<Option<[Limits; 2]>>,
    /// By index in SLOTS: an entry of another backend than the slot's is left.
    pub foreign: Vec<bool>,
    /// By index in BACKENDS.
    pub counts: Vec<Count>,
    pub classes: [u64; 3],
    pub read: [u64; 2],
    pub deleted: u64,
    /// The counters of least-connections as the pass began.
    pub loads: HashMap<BackendIndex, i64>,
    /// What the deletions of a step are about to take from them.
    pub unloading: HashMap<BackendIndex, i64>,
    /// What deletions took from them since.
    pub unloaded: HashMap<BackendIndex, i64>,
}

impl Pass {
    /// `read`: what the pass before read of each family.
    pub fn begin(view: &View, tracking: &Tracking, read: [u64; 2], now: Now) -> Self {
        let crowded = read.map(|read| read > u64::from(view.room / 2));
        let limits = view.services.iter().map(|service| {
            let service = service.as_ref()?;
            Some(crowded.map(|crowded| Limits::new(service, tracking, crowded)))
        });
        let ends = view.services.iter().flatten();
        let slots = ends.map(|service| service.first_slot as usize + service.slots.len()).max();
        let count =
            |backend: &super::view::BackendView| Count { generation: backend.generation, ..Count::default() };
        let mut pass = Self {
            began: now,
            next: None,
            limits: limits.collect(),
            foreign: vec![false; slots.unwrap_or_default()],
            counts: view.backends.iter().map(count).collect(),
            classes: [0; 3],
            read: [0; 2],
            deleted: 0,
            loads: HashMap::new(),
            unloading: HashMap::new(),
            unloaded: HashMap::new(),
        };
        pass.name(view, &BTreeSet::new());
        pass
    }

    /// Marks the backends that slots name, but for those of services whose slots are as they were.
    pub fn name(&mut self, view: &View, settled: &BTreeSet<String>) {
        for index in view.named(settled) {
            if let Some(count) = self.counts.get_mut(usize::from(index)) {
                count.named = true;
            }
        }
    }

    /// Counts an entry; says whether it is to be deleted.
    pub fn look(
        &mut self,
        view: &View,
        words: &KeyWords,
        key: &FlowKey,
        entry: &FlowEntry,
        now: Now,
    ) -> bool {
        let family = usize::from(matches!(key, FlowKey::V6(_)));
        self.read[family] += 1;
        let delete = self.judge(view, words, key, entry, now, family);
        if delete {
            self.deleted += 1;
            self.unload(view, key, entry);
        }
        delete
    }

    fn judge(
        &mut self,
        view: &View,
        words: &KeyWords,
        key: &FlowKey,
        entry: &FlowEntry,
        now: Now,
        family: usize,
    ) -> bool {
        let owner = entry.owner;
        let limits = self.limits.get(key.service() as usize).copied().flatten();
        let (Some(service), Some(limits)) = (view.service(key.service()), limits) else { return true };
        let valid = view.backend(owner).is_some_and(|backend| backend.usable);
        let Some(place) = service.slot_of(key, words).filter(|_| valid) else { return true };
        let slot = service.slots[place];
        if limits[family].has_passed(entry, now) || !service.tracks_all() && is_redundant(entry, slot) {
            return true;
        }
        if owner.backend != slot.backend
            && let Some(foreign) = self.foreign.get_mut(service.first_slot as usize + place)
        {
            *foreign = true;
        }
        let count = &mut self.counts[usize::from(owner.backend)];
        count.entries += 1;
        count.live += u32::from(!owner.is(FlowClass::Closing));
        if let Some(class) = self.classes.get_mut(usize::from(owner.class)) {
            *class += 1;
        }
        false
    }

    /// Takes a deleted entry off its backend's connections, where packets counted it.
    fn unload(&mut self, view: &View, key: &FlowKey, entry: &FlowEntry) {
        let counted = view.service(key.service()).is_some_and(super::view::ServiceView::counts_loads);
        if counted && !entry.owner.is(FlowClass::Closing) && view.backend(entry.owner).is_some() {
            *self.unloading.entry(entry.owner.backend).or_default() += 1;
        }
    }
}
