//! The panic threshold: when so few backends of a service are up that health is not believed.
//!
//! That most of a service fails at once is more often the fault of the checks (the balancer's own link, a firewall, a
//! check that asks for the wrong thing) than of the backends; and even if not, the few that are left would fall under
//! the load of all. So health is ignored then, and connections are spread over all backends. It is said loudly.

use super::machine::State;
use std::fmt;

/// Whether a service's health is heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Backends that are not up get no new connections.
    Heeded,
    /// All backends get connections, as if all were up.
    Ignored {
        /// Backends that are up.
        up: usize,
        /// All backends that could be.
        of: usize,
    },
}

/// Judges the backends of a service: those with weight, that no operator drains.
///
/// `threshold` is in percent: health is ignored when fewer than that are up. 0: never; a service without backends
/// never panics either.
#[must_use]
pub fn judge(backends: impl IntoIterator<Item = State>, threshold: u8) -> Verdict {
    let (mut up, mut of) = (0, 0);
    for state in backends {
        of += 1;
        up += usize::from(state == State::Up);
    }
    if up * 100 < of * usize::from(threshold) { Verdict::Ignored { up, of } } else { Verdict::Heeded }
}

impl Verdict {
    /// The state that the data plane is to act on, for a backend that its checks found in `state`.
    #[must_use]
    pub const fn effective(self, state: State) -> State {
        match self {
            Self::Heeded => state,
            Self::Ignored { .. } => State::Up,
        }
    }
}

/// What an operator is to read when a service's verdict becomes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// The service's name.
    pub service: &'a str,
    /// The new verdict.
    pub verdict: Verdict,
    /// The service's threshold in percent.
    pub threshold: u8,
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, verdict, threshold } = self;
        match verdict {
            Verdict::Ignored { up, of } => write!(
                f,
                "service {service} PANICS: {up} of {of} backends are up, fewer than its panic_threshold of {threshold} %; health is ignored and connections go to all of them, dead ones too; mend the backends or their check"
            ),
            Verdict::Heeded => write!(
                f,
                "service {service} panics no longer: at least {threshold} % of its backends are up; health is heeded again"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{Down, Failing, Up};

    #[test]
    fn health_is_ignored_under_the_threshold() {
        let rows: [(&[State], u8, Option<usize>); 12] = [
            (&[], 50, None),
            (&[Up, Up, Up, Up], 50, None),
            (&[Up, Up, Down, Down], 50, None),
            (&[Up, Failing, Down, Down], 50, Some(1)),
            (&[Up, Failing], 50, None),
            (&[Failing], 50, Some(0)),
            (&[Down], 1, Some(0)),
            (&[Down, Down], 0, None),
            (&[Up, Up, Down], 67, Some(2)),
            (&[Up, Up, Down], 66, None),
            (&[Up, Down], 100, Some(1)),
            (&[Up, Up], 100, None),
        ];
        for (states, threshold, up) in rows {
            let expected = up.map_or(Verdict::Heeded, |up| Verdict::Ignored { up, of: states.len() });
            assert_eq!(judge(states.iter().copied(), threshold), expected, "{states:?} at {threshold} %");
        }
    }

    #[test]
    fn while_health_is_ignored_all_count_as_up() {
        for state in [Up, Failing, Down] {
            assert_eq!(Verdict::Heeded.effective(state), state);
            assert_eq!(Verdict::Ignored { up: 0, of: 1 }.effective(state), Up);
        }
    }

    #[test]
    fn a_panic_is_said_loudly() {
        let verdict = Verdict::Ignored { up: 1, of: 4 };
        let told = Notice { service: "card-auth", verdict, threshold: 50 }.to_string();
        assert!(told.starts_with("service card-auth PANICS: 1 of 4 backends are up"), "{told}");
        let told = Notice { service: "card-auth", verdict: Verdict::Heeded, threshold: 50 }.to_string();
        assert!(told.starts_with("service card-auth panics no longer"), "{told}");
    }
}
