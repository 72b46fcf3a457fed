//! What the flow table says: of flows whose slot changed a short while ago, and of services that remember every flow.
//!
//! A function of its own, because most packets have nothing to do with it. docs/connection-consistency.md is the argument
//! for each line.

use crate::maps::{
    self,
    flows::{self, Entry, Key},
};
use lb_common::{
    flow::{
        ClientKey, FlowClass, FlowEntry, Overflow, Owner, RETRANSMISSION, TOUCH, Tick, TrackStats, since,
        ticks,
    },
    limits::{MAX_LEARN_UDP_MS, MAX_RING_SEARCH},
    meta::features,
    service::service_flags,
    slot::{BackendIndex, NO_BACKEND, Slot},
};
use lb_ebpf::{
    parse::l4::Signal,
    select::{Question, slot_of},
};

/// The backend of a packet whose slot does not decide alone; [`NO_BACKEND`]: none. The arguments are a [`Question`]'s words.
///
/// Global, so that the verifier looks at it once and not for every way that leads here: hence a symbol and nothing but
/// numbers. And five of those fit into registers: the caller's stack has no room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn track(high: u64, low: u64, place: u64, hash: u64, rest: u64) -> u64 {
    let question = &Question::from_words([high, low, place, hash, rest]);
    let Some(slot) = maps::slot(question.slot_index()) else { return NO_BACKEND.into() };
    count(question, |stats| stats.lookups += 1);
    let key = Key::of(question);
    let now = maps::now();
    let backend = match key.find() {
        Some(entry) => known(question, slot, &key, &entry, now),
        None => unknown(question, slot, &key, now),
    };
    backend.into()
}

/// How long after a flow found no room others of UDP are taken for older ones: as long as they are remembered at most.
const CROWDED: Tick = ticks(MAX_LEARN_UDP_MS);
/// Slots that are looked at for a second backend. Tables are smooth: neighbours differ but where one backend has nearly all.
const MAX_CANDIDATES: u64 = 16;
/// `EEXIST`: another processor was faster.
const EXISTS: i32 = -17;

/// A flow that the table has: its owner, unless that is gone or a new connection uses the port again.
#[inline(always)]
fn known(question: &Question, slot: Slot, key: &Key, entry: &Entry, now: Tick) -> BackendIndex {
    let owner = entry.owner();
    let alive = owns(owner);
    if question.signal() == Signal::Quoted {
        return if alive { owner.backend } else { slot.backend };
    }
    let repeated = since(now, entry.seen()) < RETRANSMISSION && !owner.is(FlowClass::Closing);
    if alive && (question.signal() != Signal::Opens || repeated) {
        count(question, |stats| stats.hits += 1);
        touch(question, entry, owner, now);
        return owner.backend;
    }
    count(question, |stats| if alive { stats.reused += 1 } else { stats.orphaned += 1 });
    let chosen = choice(question, slot, key);
    let Some(next) = owner_of(chosen, question.signal()) else { return chosen };
    match entry.exchange(owner, next) {
        Ok(()) => {
            // An index that was given to another backend since does not count this flow.
            if is_current(owner) && !owner.is(FlowClass::Closing) {
                add_live(question, owner.backend, -1);
            }
            if !next.is(FlowClass::Closing) {
                add_live(question, chosen, 1);
            }
            entry.see(now);
            chosen
        }
        // Another processor has a packet of the same flow: it decided.
        Err(other) => other.backend,
    }
}

/// Keeps the entry of a flow that goes on.
#[inline(always)]
fn touch(question: &Question, entry: &Entry, owner: Owner, now: Tick) {
    if question.signal() == Signal::Closes && !owner.is(FlowClass::Closing) {
        let closing = Owner { class: FlowClass::Closing as u16, ..owner };
        if entry.exchange(owner, closing).is_ok() {
            add_live(question, owner.backend, -1);
        }
    } else if question.signal() == Signal::Goes && owner.is(FlowClass::Opening) {
        let _ = entry.exchange(owner, Owner { class: FlowClass::Open as u16, ..owner });
    }
    if since(now, entry.seen()) >= TOUCH {
        entry.see(now);
    }
}

/// A flow that the table does not have.
#[inline(always)]
fn unknown(question: &Question, slot: Slot, key: &Key, now: Tick) -> BackendIndex {
    let everything = question.flags() & service_flags::TRACKS_ALL != 0;
    if question.signal() == Signal::Quoted || !(everything || slot.is_learning()) {
        return fallback(slot);
    }
    // Of UDP a flow that nobody knows is new, unless it may be one from before the slot's change, or had no room before.
    let may_be_older = slot.is_learning() || is_crowded(question.slot_index(), now);
    let opens = question.signal() == Signal::Opens || (everything && question.is_udp() && !may_be_older);
    let chosen = if opens { choice(question, slot, key) } else { fallback(slot) };
    let Some(owner) = owner_of(chosen, question.signal()) else { return chosen };
    match key.insert(&FlowEntry { owner, seen: now, reserved: 0 }) {
        Ok(()) => {
            count(question, |stats| if opens { stats.opened += 1 } else { stats.learned += 1 });
            if !owner.is(FlowClass::Closing) {
                add_live(question, chosen, 1);
            }
            chosen
        }
        Err(EXISTS) => key.find().map_or(chosen, |entry| entry.owner().backend),
        // Where its slot alone leads it, the flow stays without being remembered.
        Err(_) => {
            count(question, |stats| stats.overflows += 1);
            if let Some(overflow) = flows::overflow(question.slot_index()) {
                *overflow = Overflow { at: now, count: overflow.count.wrapping_add(1) };
            }
            fallback(slot)
        }
    }
}

/// Where a slot leads flows that nobody remembers.
#[inline(always)]
fn fallback(slot: Slot) -> BackendIndex {
    let Slot { backend, previous, .. } = slot;
    let owned_before = slot.is_learning() && previous != NO_BACKEND;
    match maps::backend(previous) {
        Some(record) if owned_before && !maps::way(record).0.is_down() => previous,
        _ => backend,
    }
}

/// The backend of a new connection.
#[inline(always)]
fn choice(question: &Question, slot: Slot, key: &Key) -> BackendIndex {
    let flags = question.flags();
    if maps::enabled(features::PER_CLIENT) && flags & service_flags::PER_CLIENT != 0 {
        return next_of_client(question, key);
    }
    if maps::enabled(features::ROUND_ROBIN) && flags & service_flags::ROUND_ROBIN != 0 {
        return next_of_all(question);
    }
    if maps::enabled(features::LEAST_CONNECTIONS) && flags & service_flags::LEAST_CONNECTIONS != 0 {
        return less_loaded(question, slot);
    }
    slot.backend
}

/// round-robin: the next slot of the table.
#[inline(always)]
fn next_of_all(question: &Question) -> BackendIndex {
    let turn = flows::next_turn(question.service()) as u32;
    slot_backend(question.first_slot() + (turn & question.slot_mask()))
}

/// round-robin for each client: the backends take turns, from the one that the service's own turn falls on.
#[inline(always)]
fn next_of_client(question: &Question, key: &Key) -> BackendIndex {
    let ring = question.ring();
    if ring == 0 {
        return NO_BACKEND;
    }
    let client = ClientKey { source: key.client(), service: question.service() };
    let place = flows::next_place(&client).unwrap_or_else(|| {
        let place = place_of(question, next_of_all(question)).unwrap_or(question.hash() >> 32);
        flows::start_client(&client, place);
        place
    });
    slot_backend(ring_start(question) + (place % u64::from(ring)) as u32)
}

/// A backend's place in the ring; `None` where it is too far back to be looked for.
#[inline(always)]
fn place_of(question: &Question, backend: BackendIndex) -> Option<u64> {
    let ring = question.ring();
    for place in 0..MAX_RING_SEARCH {
        if place >= ring {
            break;
        }
        if slot_backend(ring_start(question) + place) == backend {
            return Some(place.into());
        }
    }
    None
}

/// Index in SLOTS of the ring's first place.
#[inline(always)]
fn ring_start(question: &Question) -> u32 {
    question.first_slot() + question.slot_mask() + 1
}

/// least-connections: of two slots' backends the one with fewer live flows per weight.
#[inline(always)]
fn less_loaded(question: &Question, slot: Slot) -> BackendIndex {
    let first = slot.backend;
    let second = another(question, first);
    let (Some((a, weight_a)), Some((b, weight_b))) = (flows::load(first), flows::load(second)) else {
        return first;
    };
    if a * weight_b <= b * weight_a || second == NO_BACKEND { first } else { second }
}

/// The backend of another slot of the flow's; where that is `first` too, of the next slots. Were there no choice so often, the
/// slowest backend would get its weight's share squared however loaded it is.
#[inline(always)]
fn another(question: &Question, first: BackendIndex) -> BackendIndex {
    for step in 0..MAX_CANDIDATES {
        let hash = (question.hash() >> 32) + step;
        let backend = slot_backend(slot_of(question.first_slot(), question.slot_mask(), hash));
        if backend != first {
            return backend;
        }
    }
    NO_BACKEND
}

#[inline(always)]
fn slot_backend(index: u32) -> BackendIndex {
    maps::slot(index).map_or(NO_BACKEND, |slot| slot.backend)
}

/// The owner to be remembered; `None`: there is no backend.
#[inline(always)]
fn owner_of(backend: BackendIndex, signal: Signal) -> Option<Owner> {
    let record = maps::backend(backend).filter(|_| backend != NO_BACKEND)?;
    let class = match signal {
        Signal::Opens => FlowClass::Opening,
        Signal::Closes => FlowClass::Closing,
        Signal::Goes | Signal::Quoted => FlowClass::Open,
    };
    Some(Owner::new(backend, class, record.generation))
}

/// Whether the owner is there, and still the same backend.
#[inline(always)]
fn owns(owner: Owner) -> bool {
    maps::backend(owner.backend)
        .is_some_and(|record| record.generation == owner.generation && !maps::way(record).0.is_down())
}

/// Whether the owner is still the same backend, there or not.
#[inline(always)]
fn is_current(owner: Owner) -> bool {
    maps::enabled(features::LEAST_CONNECTIONS)
        && maps::backend(owner.backend).is_some_and(|record| record.generation == owner.generation)
}

#[inline(always)]
fn is_crowded(slot: u32, now: Tick) -> bool {
    flows::overflow(slot).is_some_and(|overflow| overflow.count != 0 && since(now, overflow.at) < CROWDED)
}

#[inline(always)]
fn add_live(question: &Question, backend: BackendIndex, by: i64) {
    if maps::enabled(features::LEAST_CONNECTIONS) && question.flags() & service_flags::LEAST_CONNECTIONS != 0
    {
        flows::add_live(backend, by);
    }
}

#[inline(always)]
fn count(question: &Question, add: impl FnOnce(&mut TrackStats)) {
    if let Some(stats) = flows::tracking(question.service()) {
        add(stats);
    }
}
