//! How much the balancer says itself.

use bytemuck::{Pod, Zeroable};

/// A token bucket: answers that may still be given, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Budget {
    /// Answers left, in nanoseconds of saved-up time.
    pub saved: u64,
    /// When it was last looked at, in nanoseconds of the coarse clock.
    pub at: u64,
}

const _: () = assert!(size_of::<Budget>() == 16);

impl Budget {
    /// Takes one answer at `now`, if `rate` a second allows it; up to a second's worth is saved up.
    #[inline(always)]
    pub const fn take(&mut self, now: u64, rate: u32) -> bool {
        const SECOND: u64 = 1_000_000_000;
        if rate == u32::MAX {
            return true;
        }
        if rate == 0 {
            return false;
        }
        let saved = self.saved.saturating_add(now.saturating_sub(self.at));
        let saved = if saved > SECOND { SECOND } else { saved };
        let price = SECOND / rate as u64;
        self.at = now;
        if saved < price {
            self.saved = saved;
            return false;
        }
        self.saved = saved - price;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn a_bucket_gives_its_rate_and_a_second_of_burst() {
        let mut budget = Budget { saved: 0, at: 0 };
        let mut now = 100_000_000_000;
        let burst = (0..1000).filter(|_| budget.take(now, 100)).count();
        assert_eq!(burst, 100);
        let mut given = 0;
        for _ in 0..1000 {
            now += 1_000_000;
            given += u32::from(budget.take(now, 100));
        }
        assert_eq!(given, 100, "in one second of millisecond steps");
        assert!(!budget.take(now, 0));
        assert!((0..1000).all(|_| budget.take(now, u32::MAX)));
    }
}
