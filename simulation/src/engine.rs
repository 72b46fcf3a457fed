//! Discrete events: one run of one scenario with one policy and one seed.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use anyhow::Result;
use lb_userspace::weight::Controller;

use crate::{
    backend::{Backend, Request},
    balancer::{Balancer, Policy},
    random::{Demand, Streams},
    record::Record,
    scenario::{CLIENT_TIMEOUT, Change, Connections, DEMAND, Scenario, Source},
    time::{Nanos, SECOND, scaled},
};

/// How long a run goes on after its last request, so that each one ends: longer than clients wait.
const AFTER: Nanos = CLIENT_TIMEOUT + 2 * SECOND;

/// Something that is going to happen.
#[derive(Clone, Copy, Debug)]
enum What {
    /// A request of no connection arrives.
    Arrival,
    /// A connection begins, and another will after it.
    Connect,
    /// A connection's next request.
    Next(Connection),
    /// A backend has finished a request.
    Done(usize, Request),
    /// A balancer probes a backend.
    Probe(usize, usize),
    /// Something happens to a backend: position in the scenario's list.
    Change(usize),
    /// A second is over.
    Tick,
}

#[derive(Clone, Copy, Debug)]
struct Connection {
    balancer: usize,
    backend: usize,
    ends: Nanos,
}

/// A time, a number that keeps the order of events at one time, and the event.
struct Due(Nanos, u64, What);

/// One run.
struct Run<'a> {
    scenario: &'a Scenario,
    backends: Vec<Backend>,
    balancers: Vec<Balancer>,
    streams: Streams,
    demand: Demand,
    record: Record,
    due: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    now: Nanos,
}

/// Runs a scenario to its end.
///
/// # Errors
/// Constants of the law that break its rules.
pub fn run(scenario: &Scenario, policy: Policy, seed: u64) -> Result<Record> {
    let balancers = (0..scenario.balancers).map(|_| Balancer::new(scenario, policy));
    let mut run = Run {
        scenario,
        backends: scenario.backends.iter().map(Backend::new).collect(),
        balancers: balancers.collect::<Result<_, _>>()?,
        streams: Streams::new(seed),
        demand: Demand::new(DEMAND, scenario.variation),
        record: Record::new(scenario)?,
        due: BinaryHeap::new(),
        sequence: 0,
        now: 0,
    };
    run.begin();
    while let Some(Reverse(Due(at, _, what))) = run.due.pop() {
        if at > scenario.end + AFTER {
            break;
        }
        run.now = at;
        run.happen(what);
    }
    let controller = run.balancers.first().and_then(Balancer::controller);
    run.record.figures = controller.map(Controller::figures);
    run.record.moved = run.balancers.iter().map(Balancer::moved).sum();
    Ok(run.record)
}

impl Run<'_> {
    fn schedule(&mut self, after: Nanos, what: What) {
        let at = self.now + after;
        let sends = matches!(what, What::Arrival | What::Connect | What::Next(_) | What::Probe(..));
        if sends && at >= self.scenario.end {
            return;
        }
        self.sequence += 1;
        self.due.push(Reverse(Due(at, self.sequence, what)));
    }

    fn begin(&mut self) {
        self.record.shares(0, mean_shares(&self.balancers));
        self.schedule(SECOND, What::Tick);
        for (position, event) in self.scenario.events.iter().enumerate() {
            self.schedule(event.at, What::Change(position));
        }
        if let Some(connections) = self.scenario.connections {
            self.connect_all(connections);
        } else {
            self.schedule(0, What::Arrival);
        }
        if let Source::Probes(interval) = self.scenario.source {
            let pairs = self.balancers.len() * self.backends.len();
            for pair in 0..pairs {
                let (balancer, backend) = (pair / self.backends.len(), pair % self.backends.len());
                // Spread over the interval, as a daemon would.
                self.schedule(interval * pair as Nanos / pairs as Nanos, What::Probe(balancer, backend));
            }
        }
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Arrival => self.arrival(),
            What::Connect => {
                if let Some(connections) = self.scenario.connections {
                    self.connect(connections);
                    let between = self.mean_between(connections);
                    let after = self.streams.arrivals.exponential(between);
                    self.schedule(after, What::Connect);
                }
            }
            What::Next(connection) => self.next_request(connection),
            What::Done(backend, request) => self.done(backend, request),
            What::Probe(balancer, backend) => self.probe(balancer, backend),
            What::Change(position) => self.change(position),
            What::Tick => self.tick(),
        }
    }

    fn arrival(&mut self) {
        let balancer = self.streams.dispatch.below(self.balancers.len());
        if let Some(backend) = self.pick(balancer) {
            self.send(balancer, backend, false);
        }
        let mean = scaled(SECOND, 1.0 / self.scenario.rate(self.now));
        let after = self.streams.arrivals.exponential(mean);
        self.schedule(after, What::Arrival);
    }

    fn pick(&mut self, balancer: usize) -> Option<usize> {
        Some(self.balancers.get_mut(balancer)?.pick(&mut self.streams.dispatch))
    }

    /// As many connections as there are in the long run.
    fn connect_all(&mut self, connections: Connections) {
        let number = self.scenario.rate(0) * connections.interval as f64 / SECOND as f64;
        for _ in 0..number.round() as u64 {
            self.connect(connections);
        }
        self.schedule(0, What::Connect);
    }

    /// Mean time from one new connection to the next, so that their number stays.
    fn mean_between(&self, connections: Connections) -> Nanos {
        let number = self.scenario.rate(self.now) * connections.interval as f64 / SECOND as f64;
        scaled(connections.life, 1.0 / number)
    }

    fn connect(&mut self, connections: Connections) {
        let balancer = self.streams.dispatch.below(self.balancers.len());
        let Some(backend) = self.pick(balancer) else { return };
        let ends = self.now + self.streams.arrivals.exponential(connections.life);
        let first = self.streams.arrivals.exponential(connections.interval);
        self.schedule(first, What::Next(Connection { balancer, backend, ends }));
    }

    fn next_request(&mut self, connection: Connection) {
        let Some(connections) = self.scenario.connections else { return };
        if self.now >= connection.ends {
            return;
        }
        self.send(connection.balancer, connection.backend, false);
        let after = self.streams.arrivals.exponential(connections.interval);
        self.schedule(after, What::Next(connection));
    }

    fn probe(&mut self, balancer: usize, backend: usize) {
        self.send(balancer, backend, true);
        if let Source::Probes(interval) = self.scenario.source {
            self.schedule(interval, What::Probe(balancer, backend));
        }
    }

    fn send(&mut self, balancer: usize, to: usize, probe: bool) {
        let demand = self.demand.draw(&mut self.streams.demands);
        let fails = self.streams.demands.unit() < self.scenario.errors;
        let request = Request { arrived: self.now, demand, balancer, probe, fails };
        if !probe && let Some(balancer) = self.balancers.get_mut(balancer) {
            balancer.count();
        }
        let started = self.backends.get_mut(to).and_then(|backend| backend.arrive(request));
        self.started(to, started);
    }

    fn started(&mut self, backend: usize, started: Option<(Nanos, Request)>) {
        if let Some((after, request)) = started {
            self.schedule(after, What::Done(backend, request));
        }
    }

    fn done(&mut self, at: usize, request: Request) {
        let latency = self.now - request.arrived;
        // Who has given up counts as that, and the worker was busy in vain.
        let in_time = latency < CLIENT_TIMEOUT;
        self.ended(at, &request, latency.min(CLIENT_TIMEOUT), in_time && !request.fails);
        self.give_up(at);
        let next = self.backends.get_mut(at).and_then(|backend| backend.finish(&request));
        self.started(at, next);
    }

    /// Takes out of a queue those whose clients have given up.
    fn give_up(&mut self, at: usize) {
        while let Some(request) = self.backends.get_mut(at).and_then(|backend| backend.give_up(self.now)) {
            self.ended(at, &request, CLIENT_TIMEOUT, false);
        }
    }

    fn ended(&mut self, backend: usize, request: &Request, latency: Nanos, success: bool) {
        if !request.probe {
            self.record.request(request.arrived, backend, latency, success);
        }
        let sampled = request.probe == matches!(self.scenario.source, Source::Probes(_));
        if sampled && let Some(balancer) = self.balancers.get_mut(request.balancer) {
            balancer.observe(self.now, backend, latency, success);
        }
    }

    fn change(&mut self, position: usize) {
        let Some(event) = self.scenario.events.get(position) else { return };
        let Some(backend) = self.backends.get_mut(event.backend) else { return };
        match event.change {
            Change::Speed(speed) => backend.speed = speed,
            Change::FastErrors(errors) => backend.fast_errors = errors,
        }
    }

    fn tick(&mut self) {
        for backend in 0..self.backends.len() {
            self.give_up(backend);
        }
        let probes = matches!(self.scenario.source, Source::Probes(_));
        for (number, balancer) in self.balancers.iter_mut().enumerate() {
            if let Some(late_after) = balancer.late_after() {
                for (position, backend) in self.backends.iter().enumerate() {
                    let ages = backend.older(self.now, late_after, number, probes);
                    balancer.outstanding(self.now, position, ages);
                }
            }
            balancer.tick(self.now, &self.backends);
        }
        let shares = mean_shares(&self.balancers);
        if self.now > 60 * SECOND {
            self.record.apart = self.record.apart.max(apart(&self.balancers, &shares));
        }
        self.record.shares(self.now, shares);
        self.schedule(SECOND, What::Tick);
    }
}

/// Each backend's share in the mean of the balancers, whose clients are equally many.
fn mean_shares(balancers: &[Balancer]) -> Vec<f64> {
    let mut sums: Vec<f64> = Vec::new();
    for balancer in balancers {
        sums.resize(balancer.shares().len(), 0.0);
        for (sum, share) in sums.iter_mut().zip(balancer.shares()) {
            *sum += share / balancers.len() as f64;
        }
    }
    sums
}

/// How far a balancer's share of a backend is from the mean share, at most and relative to it.
fn apart(balancers: &[Balancer], means: &[f64]) -> f64 {
    let pairs = balancers.iter().flat_map(|balancer| balancer.shares().iter().zip(means));
    pairs.map(|(share, mean)| (share / mean - 1.0).abs()).filter(|part| part.is_finite()).fold(0.0, f64::max)
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}
