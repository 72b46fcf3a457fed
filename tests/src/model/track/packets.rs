//! The packet side of flow tracking, in memory. Written from docs/connection-consistency.md, not from the program.

use super::{Device, Flow, Signal};
use anyhow::Result;
use lb_common::{
    flow::{FlowClass, FlowEntry, Overflow, Owner, RETRANSMISSION, TICK_SHIFT, TOUCH, Tick, since, ticks},
    hash::{KeyWords, expand_key, flow_hash, words_v4, words_v6},
    limits::MAX_LEARN_UDP_MS,
    service::{Service, UDP, service_flags},
    slot::{BackendIndex, NO_BACKEND, Slot},
};
use lb_userspace::dataplane::{
    Dataplane, Error, FlowBatch, FlowCursor, FlowKey, FlowTable, Installed, Operation, Sizes, fake::Fake,
};
use std::{collections::HashMap, net::IpAddr, time::Duration};

/// Places of the ring that are searched for a client's first backend.
const SEARCHED: u32 = 64;

/// For so long after a flow of UDP found no room, unknown flows of its slot are led where it was.
const CROWDED: Tick = ticks(MAX_LEARN_UDP_MS);
/// Slots that are looked at for a second backend.
const CANDIDATES: u64 = 16;

/// Maps in memory, and what becomes of packets.
#[derive(Clone, Debug)]
pub struct Model {
    maps: Fake,
    words: KeyWords,
    now: Tick,
    /// CURSORS by service.
    turns: HashMap<u32, u32>,
    /// CLIENTS.
    clients: HashMap<(IpAddr, u32), u64>,
    lookups: u64,
}

/// A packet that tracking has to do with.
struct Tracked<'f> {
    flow: &'f Flow,
    signal: Signal,
    service: Service,
    hash: u64,
    /// Index in SLOTS.
    at: u32,
    slot: Slot,
    key: FlowKey,
}

impl Tracked<'_> {
    const fn has(&self, flag: u16) -> bool {
        self.service.flags & flag != 0
    }

    const fn is_udp(&self) -> bool {
        self.flow.service.protocol == UDP
    }

    /// The class of an entry that this packet makes.
    fn class(&self) -> FlowClass {
        match self.signal {
            Signal::Opens => FlowClass::Opening,
            Signal::Closes => FlowClass::Closing,
            Signal::Data | Signal::Quoted => FlowClass::Open,
        }
    }
}

impl Model {
    /// Empty maps. `secret`: of the flow hash.
    #[must_use]
    pub fn new(sizes: Sizes, secret: [u8; 16]) -> Self {
        Self {
            maps: Fake::new(sizes),
            words: expand_key(secret),
            now: 0,
            turns: HashMap::new(),
            clients: HashMap::new(),
            lookups: 0,
        }
    }

    /// The maps.
    #[must_use]
    pub const fn maps(&self) -> &Fake {
        &self.maps
    }

    fn hash(&self, flow: &Flow, service: &Service) -> u64 {
        let alone = service.flags & service_flags::ADDRESSES_ONLY != 0;
        let ports = if alone { 0 } else { flow.ports() };
        let (protocol, k) = (flow.service.protocol, self.words);
        match (flow.client.ip(), flow.service.ip()) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => {
                flow_hash(words_v4(client.octets(), vip.octets(), ports, protocol), [k[0], k[1], k[2], k[3]])
            }
            (client, vip) => {
                let octets = |address: IpAddr| match address {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                    IpAddr::V6(v6) => v6.octets(),
                };
                flow_hash(words_v6(octets(client), octets(vip), ports, protocol), k)
            }
        }
    }

    fn usable(&self, backend: BackendIndex) -> bool {
        let record = self.maps.backend(backend);
        backend != NO_BACKEND && record.is_some_and(|record| !record.next_hop.is_down())
    }

    fn is_valid(&self, owner: Owner) -> bool {
        let record = self.maps.backend(owner.backend);
        self.usable(owner.backend) && record.is_some_and(|record| record.generation == owner.generation)
    }

    /// Where flows that are not known belong.
    fn fallback(&self, slot: Slot) -> BackendIndex {
        if slot.is_learning() && self.usable(slot.previous) { slot.previous } else { slot.backend }
    }

    fn slot(&self, at: u32) -> Slot {
        self.maps.slot(at).unwrap_or(Slot::EMPTY)
    }

    fn owner(&self, backend: BackendIndex, class: FlowClass) -> Owner {
        let generation = self.maps.backend(backend).map_or(0, |record| record.generation);
        Owner::new(backend, class, generation)
    }

    fn forward(&mut self, packet: &Tracked<'_>) -> Result<BackendIndex> {
        let tracks_all = packet.has(service_flags::TRACKS_ALL);
        if !tracks_all && packet.slot.is_stable() {
            return Ok(packet.slot.backend);
        }
        self.lookups += 1;
        match self.maps.flow_mut(&packet.key).copied() {
            Some(entry) => self.hit(packet, entry),
            None => self.miss(packet),
        }
    }

    fn hit(&mut self, packet: &Tracked<'_>, entry: FlowEntry) -> Result<BackendIndex> {
        let valid = self.is_valid(entry.owner);
        if packet.signal == Signal::Quoted {
            return Ok(if valid { entry.owner.backend } else { packet.slot.backend });
        }
        let quiet = since(self.now, entry.seen);
        let anew = entry.owner.is(FlowClass::Closing) || quiet >= RETRANSMISSION;
        if !valid || packet.signal == Signal::Opens && anew {
            let choice = self.choice(packet);
            if choice != NO_BACKEND {
                let owner = self.owner(choice, packet.class());
                self.rebind(packet, entry.owner, owner)?;
            }
            return Ok(choice);
        }
        let owner = entry.owner;
        let class = match packet.signal {
            Signal::Closes => FlowClass::Closing as u16,
            Signal::Data if owner.is(FlowClass::Opening) => FlowClass::Open as u16,
            _ => owner.class,
        };
        if packet.signal == Signal::Closes && !owner.is(FlowClass::Closing) {
            self.count(packet, owner.backend, -1)?;
        }
        let now = self.now;
        if let Some(entry) = self.maps.flow_mut(&packet.key) {
            entry.owner.class = class;
            if quiet >= TOUCH {
                entry.seen = now;
            }
        }
        Ok(owner.backend)
    }

    fn miss(&mut self, packet: &Tracked<'_>) -> Result<BackendIndex> {
        let Tracked { slot, signal, .. } = *packet;
        if signal == Signal::Quoted {
            return Ok(self.fallback(slot));
        }
        if !packet.has(service_flags::TRACKS_ALL) && !slot.is_learning() {
            return Ok(slot.backend);
        }
        if !self.is_new(packet) {
            let known = self.fallback(slot);
            self.remember(packet, known)?;
            return Ok(known);
        }
        let choice = self.choice(packet);
        if choice == NO_BACKEND || self.remember(packet, choice)? {
            return Ok(choice);
        }
        Ok(self.fallback(slot))
    }

    /// Whether a flow that is not known has only just begun.
    fn is_new(&self, packet: &Tracked<'_>) -> bool {
        let tracks_all = packet.has(service_flags::TRACKS_ALL);
        if packet.signal == Signal::Opens || !tracks_all || !packet.is_udp() {
            return packet.signal == Signal::Opens;
        }
        let Ok(Overflow { at, count }) = self.maps.overflow(packet.at) else { return false };
        let recent = count > 0 && since(self.now, at) < CROWDED;
        !packet.slot.is_learning() && !recent
    }

    /// Remembers a flow where there is room, and marks its slot where there is none. Says whether there was.
    fn remember(&mut self, packet: &Tracked<'_>, backend: BackendIndex) -> Result<bool> {
        if backend == NO_BACKEND {
            return Ok(false);
        }
        let owner = self.owner(backend, packet.class());
        let room = self.maps.remember(packet.key, FlowEntry { owner, seen: self.now, reserved: 0 });
        if !room {
            self.maps.mark_overflow(packet.at, self.now);
        } else if !owner.is(FlowClass::Closing) {
            self.count(packet, backend, 1)?;
        }
        Ok(room)
    }

    fn rebind(&mut self, packet: &Tracked<'_>, from: Owner, to: Owner) -> Result<()> {
        let generation = self.maps.backend(from.backend).map_or(0, |record| record.generation);
        if !from.is(FlowClass::Closing) && generation == from.generation {
            self.count(packet, from.backend, -1)?;
        }
        if !to.is(FlowClass::Closing) {
            self.count(packet, to.backend, 1)?;
        }
        let now = self.now;
        if let Some(entry) = self.maps.flow_mut(&packet.key) {
            *entry = FlowEntry { owner: to, seen: now, reserved: 0 };
        }
        Ok(())
    }

    fn count(&mut self, packet: &Tracked<'_>, backend: BackendIndex, by: i64) -> Result<()> {
        if packet.has(service_flags::LEAST_CONNECTIONS) {
            self.maps.add_live(backend, by)?;
        }
        Ok(())
    }

    /// The backend of a new connection.
    fn choice(&mut self, packet: &Tracked<'_>) -> BackendIndex {
        if packet.has(service_flags::PER_CLIENT) {
            self.clients_next(packet)
        } else if packet.has(service_flags::ROUND_ROBIN) {
            self.next_turn(&packet.service)
        } else if packet.has(service_flags::LEAST_CONNECTIONS) {
            self.less_loaded(packet)
        } else {
            packet.slot.backend
        }
    }

    fn next_turn(&mut self, service: &Service) -> BackendIndex {
        let turn = self.turns.entry(service.id).or_default();
        let at = service.first_slot + (*turn & service.slot_mask);
        *turn = turn.wrapping_add(1);
        self.slot(at).backend
    }

    fn clients_next(&mut self, packet: &Tracked<'_>) -> BackendIndex {
        let Service { id, first_slot, slot_mask, ring, .. } = packet.service;
        if ring == 0 {
            return NO_BACKEND;
        }
        let place = |number: u64| first_slot + slot_mask + 1 + (number % u64::from(ring)) as u32;
        let client = (packet.flow.client.ip(), id);
        let known = self.clients.get(&client).copied();
        let next = known.unwrap_or_else(|| {
            let first = self.next_turn(&packet.service);
            let mut searched = 0..u64::from(ring.min(SEARCHED));
            searched.find(|number| self.slot(place(*number)).backend == first).unwrap_or(packet.hash >> 32)
        });
        self.clients.insert(client, next + 1);
        self.slot(place(next)).backend
    }

    fn less_loaded(&self, packet: &Tracked<'_>) -> BackendIndex {
        let Service { first_slot, slot_mask, .. } = packet.service;
        let candidate = |bits: u64| self.slot(first_slot + (bits as u32 & slot_mask)).backend;
        let a = candidate(packet.hash);
        let others = (0..CANDIDATES).map(|step| candidate((packet.hash >> 32) + step));
        let Some(b) = others.into_iter().find(|other| *other != a && *other != NO_BACKEND) else { return a };
        let load = |backend| self.maps.load(backend).copied().unwrap_or_default();
        let (of_a, of_b) = (load(a), load(b));
        if of_a.live * of_b.weight <= of_b.live * of_a.weight { a } else { b }
    }
}

impl Device for Model {
    fn packet(&mut self, flow: &Flow, signal: Signal) -> Result<BackendIndex> {
        let Some(&service) = self.maps.service(&flow.service) else { return Ok(NO_BACKEND) };
        let hash = self.hash(flow, &service);
        let at = service.first_slot + (hash as u32 & service.slot_mask);
        let (slot, key) = (self.slot(at), flow.key(service.id));
        self.forward(&Tracked { flow, signal, service, hash, at, slot, key })
    }

    fn set_time(&mut self, since_boot: Duration) -> Result<()> {
        self.now = (since_boot.as_nanos() >> TICK_SHIFT) as Tick;
        Ok(())
    }

    fn lookups(&self) -> Result<u64> {
        Ok(self.lookups)
    }
}

impl Dataplane for Model {
    fn installed(&self) -> Result<Installed, Error> {
        self.maps.installed()
    }

    fn apply(&mut self, operation: &Operation) -> Result<(), Error> {
        if let Operation::NameService { id, .. } = operation {
            self.turns.remove(id);
        }
        self.maps.apply(operation)
    }
}

impl FlowTable for Model {
    fn flows(&mut self, from: Option<FlowCursor>, at_most: usize) -> Result<FlowBatch, Error> {
        self.maps.flows(from, at_most)
    }

    fn forget(&mut self, keys: &[FlowKey]) -> Result<(), Error> {
        self.maps.forget(keys)
    }

    fn overflow(&self, slot: u32) -> Result<Overflow, Error> {
        self.maps.overflow(slot)
    }

    fn live(&self, backend: BackendIndex) -> Result<u64, Error> {
        self.maps.live(backend)
    }

    fn add_live(&mut self, backend: BackendIndex, by: i64) -> Result<(), Error> {
        self.maps.add_live(backend, by)
    }
}
