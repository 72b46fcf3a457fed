//! The scenarios.

use crate::{
    scenario::{Change, Connections, Event, Load, Machine, Phase, Scenario, Source, Variation},
    time::{MILLISECOND, Nanos, SECOND},
};

/// A backend at full speed.
const FULL: Machine = Machine { workers: 4, speed: 1.0 };
/// One of the slower ones.
const SLOW: Machine = Machine { workers: 4, speed: 0.6 };
/// The full-speed backend that something happens to.
const WATCHED: usize = 0;
/// When it happens, when it ends, and when the run ends.
const HAPPENS: Nanos = 300 * SECOND;
const PASSES: Nanos = 600 * SECOND;
const END: Nanos = 900 * SECOND;

/// All of them, in the order of the tables.
#[must_use]
pub fn all() -> Vec<Scenario> {
    let mut all: Vec<_> = [0.55, 0.7, 0.75, 0.8, 0.9].into_iter().map(standard).collect();
    all.extend([
        variation(),
        connections(),
        ramp(),
        jump(),
        overload(),
        three(),
        two_balancers(),
        errors(),
        fast_errors(),
        probes(),
        identical(),
        slots(0.7),
        slots(0.8),
        slots(0.9),
        three_slots(),
        late_start(0.8),
        late_start(0.9),
    ]);
    all
}

/// Those that tell what each part of the law is worth.
#[must_use]
pub fn telling() -> Vec<Scenario> {
    vec![standard(0.55), standard(0.8), standard(0.9), connections(), jump(), three()]
}

/// The standard pool, twelve full-speed and four slower backends; a full-speed one halves at 300 s and recovers at 600 s.
#[must_use]
pub fn standard(load: f64) -> Scenario {
    let mut backends = vec![FULL; 12];
    backends.extend([SLOW; 4]);
    Scenario {
        name: format!("load-{load}"),
        title: format!("load {load}"),
        backends,
        load: Load::Constant(load),
        variation: Variation::Exponential,
        events: vec![
            Event { at: HAPPENS, backend: WATCHED, change: Change::Speed(0.5) },
            Event { at: PASSES, backend: WATCHED, change: Change::Speed(1.0) },
        ],
        errors: 0.0,
        source: Source::Requests,
        connections: None,
        balancers: 1,
        slots: None,
        begin: 0,
        end: END,
        phases: vec![
            Phase { name: STEADY, from: 100 * SECOND, to: HAPPENS },
            Phase { name: STEP, from: HAPPENS, to: PASSES },
            Phase { name: "settled", from: 400 * SECOND, to: PASSES },
            Phase { name: "recovered", from: 700 * SECOND, to: END },
        ],
        watched: Some(WATCHED),
    }
}

/// Name of the phase before anything happens.
pub const STEADY: &str = "steady";
/// Name of the phase during which it happens.
pub const STEP: &str = "step";

/// Work with a long tail.
fn variation() -> Scenario {
    Scenario {
        name: "variation-2".into(),
        title: "load 0.8, work varies by 2".into(),
        variation: Variation::LogNormal(2.0),
        ..standard(0.8)
    }
}

/// Connections that outlive the weights they came by.
fn connections() -> Scenario {
    Scenario {
        name: "connections-60s".into(),
        title: "load 0.8, connections of 60 s".into(),
        connections: Some(Connections { life: 60 * SECOND, interval: SECOND }),
        ..standard(0.8)
    }
}

/// From quiet to busy and back.
fn ramp() -> Scenario {
    let points =
        vec![(0, 0.3), (100 * SECOND, 0.3), (400 * SECOND, 0.9), (500 * SECOND, 0.9), (800 * SECOND, 0.3)];
    Scenario {
        name: "ramp".into(),
        title: "load 0.3 to 0.9 to 0.3".into(),
        load: Load::Ramp(points),
        events: Vec::new(),
        phases: vec![
            Phase { name: STEADY, from: 100 * SECOND, to: 400 * SECOND },
            Phase { name: STEP, from: 400 * SECOND, to: 500 * SECOND },
            Phase { name: "down", from: 500 * SECOND, to: 800 * SECOND },
        ],
        watched: None,
        ..standard(0.8)
    }
}

/// From quiet to busy at once.
fn jump() -> Scenario {
    Scenario {
        name: "jump".into(),
        title: "load 0.3, 0.9 at once, 0.3".into(),
        load: Load::Ramp(vec![(HAPPENS, 0.3), (HAPPENS + 1, 0.9), (PASSES, 0.9), (PASSES + 1, 0.3)]),
        events: Vec::new(),
        watched: None,
        ..standard(0.8)
    }
}

/// More than all backends can do, for a minute.
fn overload() -> Scenario {
    let minute = 60 * SECOND;
    Scenario {
        name: "overload".into(),
        title: "load 0.7, a minute of 1.1".into(),
        load: Load::Ramp(vec![
            (HAPPENS, 0.7),
            (HAPPENS + 1, 1.1),
            (HAPPENS + minute, 1.1),
            (HAPPENS + minute + 1, 0.7),
        ]),
        events: Vec::new(),
        watched: None,
        ..standard(0.8)
    }
}

/// A small pool: one of three is all the difference.
fn three() -> Scenario {
    Scenario {
        name: "three".into(),
        title: "load 0.7, three backends".into(),
        backends: vec![FULL, FULL, SLOW],
        ..standard(0.7)
    }
}

/// Two that do not know of each other.
fn two_balancers() -> Scenario {
    Scenario {
        name: "two-balancers".into(),
        title: "load 0.8, two balancers".into(),
        balancers: 2,
        ..standard(0.8)
    }
}

/// A few errors everywhere.
fn errors() -> Scenario {
    Scenario {
        name: "errors-1-percent".into(),
        title: "load 0.8, 1 % errors".into(),
        errors: 0.01,
        ..standard(0.8)
    }
}

/// A backend that answers sooner than all others, with errors.
fn fast_errors() -> Scenario {
    Scenario {
        name: "fast-errors".into(),
        title: "load 0.7, one answers errors at once".into(),
        events: vec![
            Event { at: HAPPENS, backend: WATCHED, change: Change::FastErrors(true) },
            Event { at: PASSES, backend: WATCHED, change: Change::FastErrors(false) },
        ],
        ..standard(0.7)
    }
}

/// Two samples a second and backend.
fn probes() -> Scenario {
    Scenario {
        name: "probes".into(),
        title: "load 0.8, two probes a second".into(),
        source: Source::Probes(500 * MILLISECOND),
        ..standard(0.8)
    }
}

/// Nothing to gain.
fn identical() -> Scenario {
    Scenario {
        name: "identical".into(),
        title: "load 0.8, identical backends".into(),
        backends: vec![FULL; 16],
        events: Vec::new(),
        watched: None,
        ..standard(0.8)
    }
}

/// A slot table of the usual size, under the churn cap.
fn slots(load: f64) -> Scenario {
    Scenario {
        name: format!("slots-{load}"),
        title: format!("load {load}, 16,384 slots, churn cap"),
        slots: Some(16_384),
        ..standard(load)
    }
}

/// The law begins when the pool has been overloaded for a minute: it has never seen it at rest.
fn late_start(load: f64) -> Scenario {
    Scenario {
        name: format!("late-start-{load}"),
        title: format!("load {load}, begun while overloaded"),
        begin: 60 * SECOND,
        ..standard(load)
    }
}

/// A small pool, where the cap counts most: a backend's part of the table is large.
fn three_slots() -> Scenario {
    Scenario {
        name: "three-slots".into(),
        title: "load 0.7, three backends, slots, churn cap".into(),
        slots: Some(16_384),
        ..three()
    }
}
