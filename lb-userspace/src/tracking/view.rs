//! What the sweep looks up for every entry, in vectors: a flow's service, its slot, its backend.

use crate::{
    config::Tracking,
    dataplane::{FlowKey, Installed, InstalledService},
    distinct::distinct,
};
use lb_common::{
    flow::Owner,
    hash::KeyWords,
    service::{UDP, service_flags},
    slot::{BackendIndex, NO_BACKEND, Slot},
};
use std::{collections::BTreeSet, net::IpAddr};

/// The services and backends that the maps hold.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// By identifier.
    pub services: Vec<Option<ServiceView>>,
    /// By index.
    pub backends: Vec<BackendView>,
    /// Entries of each flow table.
    pub room: u32,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceView {
    pub name: String,
    pub destination: IpAddr,
    pub protocol: u8,
    pub flags: u16,
    pub first_slot: u32,
    /// Number of slots.
    pub size: u32,
    pub slots: Vec<Slot>,
    /// Every backend that a slot leads flows to, once.
    named: Vec<BackendIndex>,
    /// Every slot is stable: none of them need be looked at.
    pub rests: bool,
}

/// A record of BACKENDS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BackendView {
    pub generation: u32,
    /// It has a name and is not down.
    pub usable: bool,
}

impl View {
    pub fn new(installed: &Installed) -> Self {
        let mut services = Vec::new();
        services.resize(installed.sizes.services as usize, None);
        for service in &installed.services {
            if let Some(place) = services.get_mut(service.record.id as usize) {
                *place = Some(ServiceView::new(service));
            }
        }
        let unnamed = |&generation| BackendView { generation, usable: false };
        let mut backends: Vec<_> = installed.generations.iter().map(unnamed).collect();
        for have in &installed.backends {
            if let Some(place) = backends.get_mut(usize::from(have.index)) {
                place.usable = !have.record.next_hop.is_down();
            }
        }
        Self { services, backends, room: installed.sizes.flows }
    }

    pub fn service(&self, id: u32) -> Option<&ServiceView> {
        self.services.get(id as usize)?.as_ref()
    }

    /// The backend that an entry names; `None` where that was another one, which had the index before.
    pub fn backend(&self, owner: Owner) -> Option<BackendView> {
        let backend = self.backends.get(usize::from(owner.backend)).copied()?;
        (backend.generation == owner.generation && owner.backend != 0).then_some(backend)
    }

    /// Takes the slots of these services from the view before: they are as they were.
    pub fn take_slots(&mut self, before: &mut Self, settled: &BTreeSet<String>) {
        for (new, old) in self.services.iter_mut().zip(&mut before.services) {
            if let (Some(new), Some(old)) = (new, old)
                && settled.contains(&new.name)
                && new.name == old.name
            {
                (new.slots, new.named) = (std::mem::take(&mut old.slots), std::mem::take(&mut old.named));
                new.rests = old.rests;
            }
        }
    }

    /// Every backend that a slot leads flows to, but for those of these services.
    pub fn named(&self, settled: &BTreeSet<String>) -> impl Iterator<Item = BackendIndex> {
        let services = self.services.iter().flatten().filter(|service| !settled.contains(&service.name));
        services.flat_map(|service| service.named.iter().copied())
    }

    /// Whether both have the same services with slots in the same places.
    pub fn has_places_of(&self, other: &Self) -> bool {
        let place = |service: &Option<ServiceView>| {
            let service = service.as_ref()?;
            let ServiceView { destination, protocol, flags, first_slot, size, .. } = service;
            Some((*destination, *protocol, *flags, *first_slot, *size))
        };
        self.services.iter().map(place).eq(other.services.iter().map(place))
    }
}

impl ServiceView {
    pub fn new(service: &InstalledService) -> Self {
        let mut view = Self {
            name: service.name.clone(),
            destination: service.key.ip(),
            protocol: service.key.protocol,
            flags: service.record.flags,
            first_slot: service.record.first_slot,
            size: service.record.slot_mask + 1,
            slots: service.slots.clone(),
            named: Vec::new(),
            rests: false,
        };
        // Without slots it gets them from the view before, and what they say.
        if !view.slots.is_empty() {
            view.look();
        }
        view
    }

    /// Takes in what the slots say together, once they have changed.
    pub fn look(&mut self) {
        self.rests = self.slots.iter().all(|slot| slot.is_stable());
        let previous = |slot: &Slot| if slot.is_learning() { slot.previous } else { NO_BACKEND };
        self.named = distinct(self.slots.iter().flat_map(|slot| [slot.backend, previous(slot)]));
    }

    pub const fn tracks_all(&self) -> bool {
        self.flags & service_flags::TRACKS_ALL != 0
    }

    pub const fn counts_loads(&self) -> bool {
        self.flags & service_flags::LEAST_CONNECTIONS != 0
    }

    /// How long its slots learn.
    pub const fn learn(&self, tracking: &Tracking) -> std::time::Duration {
        if self.protocol == UDP { tracking.learn_udp } else { tracking.learn }
    }

    /// Position in the table of a flow's slot, by the hash that packets find it by; `None` for a key of the other
    /// family.
    pub fn slot_of(&self, key: &FlowKey, words: &KeyWords) -> Option<usize> {
        let hash = key.hash_to(self.destination, self.protocol, self.flags, words)?;
        Some(hash as usize & (self.slots.len() - 1))
    }
}
