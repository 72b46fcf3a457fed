//! From the factors that the controller wants to those that the slot table follows, as far as the churn cap allows. Pure.

use std::time::Duration;

use lb_common::slot::BackendIndex;

use super::{Cause, ChurnCap};
use crate::table::{Member, quotas};

/// Steps in which the part of the way that the cap allows is sought: finer than a slot of any table.
const BISECTIONS: u32 = 24;

/// A backend that takes new connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Its name.
    pub name: String,
    /// Its index in the data plane.
    pub index: BackendIndex,
    /// Its share without a factor from latency: the configured weight and what slow start leaves of it.
    pub share: u32,
    /// The factor that its slots follow.
    pub factor: f64,
    /// The factor that they are to follow.
    pub wanted: f64,
    /// Whether its latency is so far from the mean that its slots may move faster.
    pub urgent: bool,
}

/// Brings the factors of a service to the wanted ones, or as far on the way there as the cap allows its slots to move. First those of
/// urgent backends, then the others. `None` for a cap: at once. Gives how many slots move.
pub fn publish(cap: Option<&mut ChurnCap>, now: Duration, slots: u32, backends: &mut [Published]) -> u32 {
    let Some(cap) = cap else {
        let before = table(backends, slots);
        for backend in backends.iter_mut() {
            backend.factor = backend.wanted;
        }
        return moves(&before, &table(backends, slots));
    };
    let mut moved = 0;
    for (urgent, cause) in [(true, Cause::UrgentLatency), (false, Cause::Latency)] {
        let allowed = cap.available(now, cause);
        let count = go(backends, slots, allowed, |backend| backend.urgent == urgent);
        moved += cap.take(now, count, cause);
    }
    moved
}

/// Has some of the factors go towards the wanted ones, by as large a part of the way as moves at most `allowed` slots.
fn go(backends: &mut [Published], slots: u32, allowed: u32, whom: impl Fn(&Published) -> bool) -> u32 {
    let before = table(backends, slots);
    let after = |part: f64| {
        let mut after = backends.to_vec();
        for backend in after.iter_mut().filter(|backend| whom(backend)) {
            // Between logarithms, as the law steps.
            backend.factor = backend.factor.powf(1.0 - part) * backend.wanted.powf(part);
        }
        let moved = moves(&before, &table(&after, slots));
        (after, moved)
    };
    let (whole, moved) = after(1.0);
    if moved <= allowed {
        backends.clone_from_slice(&whole);
        return moved;
    }
    let (mut least, mut most) = (0.0, 1.0);
    for _ in 0..BISECTIONS {
        let middle = f64::midpoint(least, most);
        if after(middle).1 <= allowed {
            least = middle;
        } else {
            most = middle;
        }
    }
    let (part, moved) = after(least);
    backends.clone_from_slice(&part);
    moved
}

fn table(backends: &[Published], slots: u32) -> Vec<u32> {
    let members: Vec<_> = backends.iter().map(Published::member).collect();
    quotas(&members, slots)
}

fn moves(before: &[u32], after: &[u32]) -> u32 {
    before.iter().zip(after).map(|(before, after)| after.saturating_sub(*before)).sum()
}

impl Published {
    fn member(&self) -> Member<'_> {
        let share = f64::from(self.share) * self.factor;
        let weight = if self.share == 0 { 0 } else { (share.round() as u32).max(1) };
        Member { name: &self.name, index: self.index, weight }
    }
}

#[cfg(test)]
mod tests {
    use super::{Published, publish};
    use crate::weight::{ChurnCap, Law, WEIGHT_SCALE};
    use std::time::Duration;

    const SLOTS: u32 = 1024;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn backends(wanted: &[(f64, bool)]) -> Vec<Published> {
        (1..)
            .zip(wanted)
            .map(|(index, &(wanted, urgent))| Published {
                name: format!("b{index}"),
                index,
                share: 100 * WEIGHT_SCALE,
                factor: 1.0,
                wanted,
                urgent,
            })
            .collect()
    }

    fn reached(backends: &[Published]) -> bool {
        backends.iter().all(|backend| (backend.factor - backend.wanted).abs() < 1e-9)
    }

    #[test]
    fn a_small_step_is_taken_whole_and_a_large_one_minute_by_minute() {
        let law = Law::default();
        let mut cap = ChurnCap::new(&law, SLOTS, at(0));
        let mut small = backends(&[(0.98, false), (1.0, false), (1.0, false), (1.02, false)]);
        assert_eq!(publish(Some(&mut cap), at(0), SLOTS, &mut small), 5, "of 256");
        assert!(reached(&small));

        let mut cap = ChurnCap::new(&law, SLOTS, at(0));
        let mut large = backends(&[(0.4, false), (1.2, false), (1.2, false), (1.2, false)]);
        let (mut moved, mut seconds) = (0, 0_u32);
        let mut last = 1.0;
        while !reached(&large) {
            moved += publish(Some(&mut cap), at(seconds.into()), SLOTS, &mut large);
            // 2 % of the slots at once, and as many each minute.
            assert!(f64::from(moved) <= 20.48 * (1.0 + f64::from(seconds) / 60.0), "{moved} in {seconds} s");
            assert!(large[0].factor <= last, "goes one way");
            last = large[0].factor;
            seconds += 1;
        }
        assert_eq!(moved, 153, "from 256 to 102.4 of 1,024, rounded: as many as the shares differ by");
        assert!((350..=460).contains(&seconds), "{seconds} s for 153 slots at 20 a minute");
    }

    #[test]
    fn urgent_ones_go_faster() {
        let law = Law::default();
        let mut cap = ChurnCap::new(&law, SLOTS, at(0));
        let mut all = backends(&[(0.4, true), (1.2, false), (1.2, false), (1.2, false)]);
        let moved = publish(Some(&mut cap), at(0), SLOTS, &mut all);
        assert!((100..=102).contains(&moved), "10 % of 1,024 at once: {moved}");
        assert!((all[1].factor - 1.0).abs() < 0.05, "the others wait for their own allowance");
    }

    #[test]
    fn without_a_cap_it_goes_at_once() {
        let mut all = backends(&[(0.1, false), (1.9, false)]);
        assert_eq!(publish(None, at(0), SLOTS, &mut all), 461);
        assert!(reached(&all));
    }

    #[test]
    fn a_table_of_few_slots_moves_one_by_one() {
        let law = Law::default();
        let mut cap = ChurnCap::new(&law, 64, at(0));
        let mut all = backends(&[(0.5, false), (1.5, false)]);
        let mut steps = Vec::new();
        for seconds in 0..1200 {
            let moved = publish(Some(&mut cap), at(seconds), 64, &mut all);
            steps.extend((moved > 0).then_some(moved));
        }
        assert!(reached(&all) && steps.iter().all(|moved| *moved == 1), "{steps:?}");
        assert_eq!(steps.len(), 16);
    }
}
