//! Traces: what happens to a balancer, step by step, made from a seed.
//!
//! A trace knows flows and backends by number and no map, so that the same one can be run against any device. Flows send
//! packets with gaps shorter than the time that slots learn, but for a few that are longer on purpose.

use super::{Flow, Signal};
use lb_common::service::{ServiceKey, TCP, UDP};
use lb_userspace::{config::Algorithm, state::Standing};
use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// Backends that a trace knows, by number from 0.
pub const BACKENDS: usize = 5;

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Time passes.
    Advance(Duration),
    /// A packet of a flow, by its number.
    Packet(usize, Signal),
    /// What is wanted changes; the planner plans and all of it is carried out.
    Plan(Wish),
    /// The same, and the daemon dies after so many operations; it starts again and plans anew with the next [`Step::Start`].
    Crash(Wish, usize),
    /// The daemon starts, knowing nothing but the maps, and plans.
    Start,
    /// One step of the sweep; a plan follows where it says so.
    Sweep,
}

/// A change of what is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A weight; a backend that is not there joins.
    Weight(usize, u32),
    /// The weights of the first two backends together.
    Weights([u32; 2]),
    /// Another standing.
    Stand(usize, Standing),
    /// A backend leaves; at once, or when its flows have ended.
    Leave(usize, bool),
    /// Another algorithm.
    Algorithm(Algorithm),
    /// A table of twice the size.
    Grow,
}

/// What a trace is made of.
#[derive(Clone, Debug)]
pub struct Shape {
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// The algorithm at first.
    pub algorithm: Algorithm,
    /// Whether the algorithm changes.
    pub switches: bool,
    /// How long slots learn.
    pub learn: Duration,
    /// Entries of the flow table.
    pub room: u32,
    /// Entries that a step of the sweep reads.
    pub swept: usize,
    /// Flows.
    pub flows: usize,
    /// How long it all lasts.
    pub lasts: Duration,
    /// Mean time between two changes.
    pub calm: Duration,
}

/// A trace.
#[derive(Clone, Debug)]
pub struct Trace {
    /// What it was made from.
    pub shape: Shape,
    /// The flows.
    pub flows: Vec<Flow>,
    /// What happens.
    pub steps: Vec<Step>,
}

impl Trace {
    /// A trace of these steps.
    #[must_use]
    pub fn of(shape: Shape, steps: Vec<Step>) -> Self {
        let flows = (0..shape.flows).map(|number| flow(number, shape.protocol)).collect();
        Self { shape, flows, steps }
    }
}

/// The address, port and protocol of the service of a trace.
#[must_use]
pub fn service_key(protocol: u8) -> ServiceKey {
    ServiceKey::new(IpAddr::from([192, 0, 2, 10]), 443, protocol)
}

/// Flow number `number` of a service.
#[must_use]
pub fn flow(number: usize, protocol: u8) -> Flow {
    let client = SocketAddr::new(IpAddr::from([203, 0, 113, (number % 7) as u8]), 20_000 + number as u16);
    Flow { client, service: service_key(protocol) }
}

/// What a flow sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Open,
    Data(u32),
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Flow(usize),
    Change,
    Sweep,
}

/// A trace of this shape: the same for the same seed.
#[must_use]
pub fn generate(shape: &Shape, seed: u64) -> Trace {
    let mut maker = Maker { shape, random: fastrand::Rng::with_seed(seed), steps: Vec::new(), dead: false };
    maker.run();
    Trace::of(shape.clone(), maker.steps)
}

struct Maker<'s> {
    shape: &'s Shape,
    random: fastrand::Rng,
    steps: Vec<Step>,
    /// The daemon died, and nothing is planned or swept.
    dead: bool,
}

impl Maker<'_> {
    fn run(&mut self) {
        let mut due = BinaryHeap::new();
        let mut next = vec![Next::Open; self.shape.flows];
        for number in 0..self.shape.flows {
            due.push(Reverse((self.within(self.shape.lasts / 4), Due::Flow(number))));
        }
        due.push(Reverse((self.within(self.shape.calm), Due::Change)));
        due.push(Reverse((Duration::ZERO, Due::Sweep)));
        let mut now = Duration::ZERO;
        while let Some(Reverse((at, what))) = due.pop() {
            if at > self.shape.lasts {
                break;
            }
            if at > now {
                self.steps.push(Step::Advance(at.saturating_sub(now)));
                now = at;
            }
            let after = match what {
                Due::Flow(number) => self.packet(number, &mut next[number]),
                Due::Change => self.change(),
                Due::Sweep => {
                    if !self.dead {
                        self.steps.push(Step::Sweep);
                    }
                    self.within(Duration::from_millis(400))
                }
            };
            due.push(Reverse((at + after, what)));
        }
    }

    fn within(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.random.u64(1..=most.as_millis().max(1) as u64))
    }

    /// A packet of a flow; gives the time to its next.
    fn packet(&mut self, number: usize, next: &mut Next) -> Duration {
        let udp = self.shape.protocol == UDP;
        let signal = match *next {
            // UDP has no opening but QUIC's, which one flow in four is.
            Next::Open if udp && !number.is_multiple_of(4) => Signal::Data,
            Next::Open => Signal::Opens,
            Next::Data(_) => Signal::Data,
            Next::Close => Signal::Closes,
        };
        self.steps.push(Step::Packet(number, signal));
        if self.random.u8(0..20) == 0 {
            self.steps.push(Step::Packet(number, Signal::Quoted));
        }
        let gap = self.gap();
        *next = match *next {
            // Some SYNs are sent again.
            Next::Open if self.random.u8(0..10) == 0 => Next::Open,
            Next::Open => Next::Data(self.random.u32(1..40)),
            Next::Data(0) if udp => Next::Open,
            Next::Data(0) => Next::Close,
            Next::Data(left) => Next::Data(left - 1),
            Next::Close => {
                *next = Next::Open;
                // The port is used again at once, or later.
                return if self.random.bool() { Duration::from_millis(1) } else { gap };
            }
        };
        gap
    }

    fn gap(&mut self) -> Duration {
        let learn = self.shape.learn;
        match self.random.u8(0..100) {
            0..60 => self.within(Duration::from_secs(1).min(learn / 4)),
            60..90 => self.within(learn / 2),
            90..99 => learn.saturating_sub(self.within(Duration::from_millis(300))),
            _ => learn + self.within(learn),
        }
    }

    fn change(&mut self) -> Duration {
        if self.dead {
            self.dead = false;
            self.steps.push(Step::Start);
            return self.within(self.shape.calm);
        }
        let wish = self.wish();
        match self.random.u8(0..20) {
            0 => {
                self.dead = true;
                self.steps.push(Step::Crash(wish, self.random.usize(0..8)));
            }
            1 => self.steps.push(Step::Start),
            _ => self.steps.push(Step::Plan(wish)),
        }
        self.within(self.shape.calm * 2)
    }

    fn wish(&mut self) -> Wish {
        let backend = self.random.usize(0..BACKENDS);
        match self.random.u8(0..20) {
            0..8 => Wish::Weight(backend, self.random.u32(0..4)),
            8..10 => Wish::Stand(backend, Standing::Draining),
            10..12 => Wish::Stand(backend, Standing::Down),
            12..15 => Wish::Stand(backend, Standing::Serving),
            15..17 => Wish::Leave(backend, false),
            17 => Wish::Leave(backend, true),
            18 if self.shape.switches => Wish::Algorithm(self.algorithm()),
            18 => Wish::Weight(backend, 1),
            _ => Wish::Grow,
        }
    }

    fn algorithm(&mut self) -> Algorithm {
        match self.random.u8(0..5) {
            0 => Algorithm::Hash,
            1 => Algorithm::Maglev,
            2 => Algorithm::RoundRobin { per_client: false },
            3 => Algorithm::RoundRobin { per_client: true },
            _ => Algorithm::LeastConnections,
        }
    }
}

impl Shape {
    /// A few dozen flows for a few times as long as slots learn.
    #[must_use]
    pub fn small(algorithm: Algorithm) -> Self {
        let learn = Duration::from_secs(8);
        Self {
            protocol: TCP,
            algorithm,
            switches: false,
            learn,
            room: 4096,
            swept: 8192,
            flows: 40,
            lasts: learn * 6,
            calm: learn / 2,
        }
    }
}
