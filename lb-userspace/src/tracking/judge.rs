//! What becomes of one entry of the flow table, and of one slot at the end of a pass. Pure, and all the figures of it.

use super::{time::Now, view::ServiceView};
use crate::config::Tracking;
use lb_common::{
    flow::{FlowClass, FlowEntry, Overflow, TOUCH, Tick, since, ticks},
    service::UDP,
    slot::{Phase, Slot},
};
use std::time::Duration;

/// How long a flow is remembered that only ever sent SYNs. Clients repeat them for a minute; Linux answers for as long.
const OPENING: Duration = Duration::from_mins(1);
/// The same when its table is more than half full, as in a flood.
const OPENING_CROWDED: Duration = Duration::from_secs(10);
/// How long a flow is remembered that sent a FIN or RST: what it started may still go on, as long as conntrack waits.
const CLOSING: Duration = Duration::from_mins(2);
/// A mark that seems to be so little older than the clock allows is one from the future of another processor's clock.
const AHEAD: Tick = ticks(60_000);

/// Time spans of one service in ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    opening: Tick,
    closing: Tick,
    quiet: Tick,
}

impl Limits {
    /// `crowded`: the flow's table is more than half full.
    pub fn new(service: &ServiceView, tracking: &Tracking, crowded: bool) -> Self {
        let quiet = match (service.protocol, service.tracks_all()) {
            (UDP, _) => tracking.learn_udp,
            (_, false) => tracking.learn,
            (_, true) => tracking.idle,
        };
        Self {
            opening: limit(if crowded { OPENING_CROWDED } else { OPENING }),
            closing: limit(CLOSING),
            quiet: limit(quiet),
        }
    }

    /// Whether an entry has been quiet for too long. Packets write the time of only one packet in [`TOUCH`].
    pub fn has_passed(self, entry: &FlowEntry, now: Now) -> bool {
        let quiet = since(now.tick(), entry.seen);
        let owner = entry.owner;
        quiet > self.quiet
            || owner.is(FlowClass::Opening) && quiet > self.opening
            || owner.is(FlowClass::Closing) && quiet > self.closing
    }
}

fn limit(span: Duration) -> Tick {
    ticks(span.as_millis() as u64) + TOUCH + 1
}

/// Whether an entry says no more than its slot does, in a service that does not remember all flows.
pub(super) const fn is_redundant(entry: &FlowEntry, slot: Slot) -> bool {
    match slot.phase() {
        Phase::Stable => true,
        // Packets without an entry follow `previous` then: the entry is what leads them to `backend`.
        Phase::Learn => false,
        Phase::Hold => entry.owner.backend == slot.backend,
    }
}

/// What becomes of a slot at the end of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    Stays,
    /// Every flow that it had has come by and is remembered.
    Holds,
    /// Flows found no room: those that are not remembered must come by once more.
    LearnsAgain,
    /// No flow is another backend's.
    Settles,
}

/// What a pass saw of a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// When the pass began, in seconds.
    pub began: u32,
    /// An entry of another backend is left.
    pub foreign: bool,
}

/// What becomes of a slot that learns or holds. `learn`: for how long; `overflow`: its mark.
pub(super) fn advance(slot: Slot, learn: Duration, seen: Seen, overflow: Overflow, now: Now) -> Advance {
    // The 30 bits of a slot's time do not wrap around within 34 years.
    let age = now.seconds().saturating_sub(slot.changed_at());
    match slot.phase() {
        // Both times are rounded down: only what is more than `learn` apart in seconds is surely as much in truth.
        Phase::Learn if u128::from(age) * 1000 <= learn.as_millis() => Advance::Stays,
        Phase::Learn if overflowed_within(overflow, age, now) => Advance::LearnsAgain,
        Phase::Learn => Advance::Holds,
        Phase::Hold if slot.changed_at() < seen.began && !seen.foreign => Advance::Settles,
        Phase::Hold | Phase::Stable => Advance::Stays,
    }
}

/// Whether a flow found no room in the last `age` seconds, or one more for the rounding.
fn overflowed_within(overflow: Overflow, age: u32, now: Now) -> bool {
    // Not `since`: a mark is never deleted, and one of 26 to 52 days ago must not seem fresh for so long.
    let passed = now.tick().wrapping_sub(overflow.at);
    let recent = u64::from(passed) <= u64::from(ticks(1000)) * (u64::from(age) + 1);
    overflow.count != 0 && (recent || passed > Tick::MAX - AHEAD)
}

#[cfg(test)]
mod tests {
    use super::{Advance, Limits, Seen, advance, is_redundant};
    use crate::{
        config::Tracking,
        dataplane::InstalledService,
        tracking::{time::Now, view::ServiceView},
    };
    use lb_common::{
        flow::{FlowClass, FlowEntry, Overflow, Owner, TOUCH, ticks},
        service::{Service, ServiceKey, TCP, UDP, service_flags},
        slot::Slot,
    };
    use std::{net::IpAddr, time::Duration};

    fn at(milliseconds: u64) -> Now {
        Now::new(Duration::from_millis(milliseconds))
    }

    fn entry(class: FlowClass, backend: u16, seen: Now) -> FlowEntry {
        FlowEntry { owner: Owner::new(backend, class, 1), seen: seen.tick(), reserved: 0 }
    }

    fn service(protocol: u8, flags: u16) -> ServiceView {
        ServiceView::new(&InstalledService {
            name: String::new(),
            key: ServiceKey::new(IpAddr::from([192, 0, 2, 10]), 80, protocol),
            record: Service { id: 0, first_slot: 0, slot_mask: 0, mss: 0, flags, ring: 0 },
            slots: vec![],
            ring: vec![],
        })
    }

    #[test]
    fn quiet_entries_pass_by_their_class() {
        let tracking = Tracking::default();
        let (tcp, udp) = (service(TCP, 0), service(UDP, 0));
        let all = service(TCP, service_flags::ROUND_ROBIN);
        let rows = [
            (&tcp, FlowClass::Opening, false, 60),
            (&tcp, FlowClass::Opening, true, 10),
            (&tcp, FlowClass::Open, false, 360),
            (&tcp, FlowClass::Closing, false, 120),
            (&udp, FlowClass::Open, false, 30),
            (&udp, FlowClass::Opening, true, 10),
            (&all, FlowClass::Open, false, 3600),
            (&all, FlowClass::Closing, true, 120),
        ];
        for (service, class, crowded, seconds) in rows {
            let limits = Limits::new(service, &tracking, crowded);
            let entry = entry(class, 1, at(1_000_000));
            assert!(!limits.has_passed(&entry, at(1_000_250 + seconds * 1000)), "{class:?} {seconds}");
            assert!(limits.has_passed(&entry, at(1_000_260 + seconds * 1000)), "{class:?} {seconds}");
        }
        assert!(TOUCH > ticks(240));
    }

    #[test]
    fn entries_are_redundant_where_their_slot_says_the_same() {
        let now = at(0);
        let of = |backend| entry(FlowClass::Open, backend, now);
        assert!(is_redundant(&of(1), Slot::stable(1, 0)) && is_redundant(&of(2), Slot::stable(1, 0)));
        assert!(is_redundant(&of(1), Slot::holding(1, 0)) && !is_redundant(&of(2), Slot::holding(1, 0)));
        assert!(!is_redundant(&of(1), Slot::learning(1, 1, 0)));
    }

    #[test]
    fn slots_advance_only_when_every_flow_had_its_time() {
        let learn = Duration::from_secs(6);
        let go = |slot, began, foreign, overflow, now| {
            advance(slot, learn, Seen { began, foreign }, overflow, now)
        };
        let never = Overflow::default();
        let slot = Slot::learning(2, 1, 100);
        assert_eq!(go(slot, 101, false, never, at(106_999)), Advance::Stays);
        assert_eq!(go(slot, 101, false, never, at(107_000)), Advance::Holds);
        let mark = |now: Now| Overflow { at: now.tick(), count: 1 };
        assert_eq!(go(slot, 101, false, mark(at(100_100)), at(107_000)), Advance::LearnsAgain);
        assert_eq!(go(slot, 101, false, mark(at(107_050)), at(107_000)), Advance::LearnsAgain);
        assert_eq!(go(slot, 101, false, mark(at(98_000)), at(107_000)), Advance::Holds);
        let slot = Slot::holding(2, 100);
        assert_eq!(go(slot, 100, false, never, at(200_000)), Advance::Stays, "it may have begun in the pass");
        assert_eq!(go(slot, 101, true, never, at(200_000)), Advance::Stays);
        assert_eq!(go(slot, 101, false, never, at(200_000)), Advance::Settles);
    }
}
