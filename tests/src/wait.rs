//! Waiting for a condition with a deadline: the only place of this crate that sleeps.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Asks `check` again and again until it has a value; fails after `deadline`, naming `what` was awaited.
///
/// An error of `check` ends the wait at once.
pub fn wait_for<T>(
    deadline: Duration,
    what: &str,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let started = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = check()? {
            return Ok(value);
        }
        let Some(left) = deadline.checked_sub(started.elapsed()) else {
            bail!("waited {deadline:?} in vain for {what}");
        };
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// As [`wait_for`], for a condition that is simply true or not yet.
pub fn wait_until(deadline: Duration, what: &str, mut check: impl FnMut() -> bool) -> Result<()> {
    wait_for(deadline, what, || Ok(check().then_some(())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_the_wait() {
        let mut calls = 0;
        let value = wait_for(Duration::from_secs(10), "the third call", || {
            calls += 1;
            Ok((calls == 3).then_some(calls))
        });
        assert_eq!(value.unwrap(), 3);
    }

    #[test]
    fn the_deadline_names_what_was_awaited() {
        let error = wait_until(Duration::from_millis(5), "a miracle", || false).unwrap_err();
        assert!(error.to_string().contains("a miracle"), "{error}");
    }

    #[test]
    fn an_error_ends_the_wait_at_once() {
        let result: Result<()> = wait_for(Duration::from_hours(1), "nothing", || bail!("broken"));
        assert_eq!(result.unwrap_err().to_string(), "broken");
    }
}
