//! A backend: workers and one queue, first come, first served.

use std::collections::VecDeque;

use crate::{
    scenario::{CLIENT_TIMEOUT, Machine},
    time::{MILLISECOND, Nanos, scaled},
};

/// A request on its way through a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// When it arrived.
    pub arrived: Nanos,
    /// Time that it takes at speed 1.
    pub demand: Nanos,
    /// Which balancer sent it.
    pub balancer: usize,
    /// Whether it is a probe and not a client's.
    pub probe: bool,
    /// Whether its answer will be an error.
    pub fails: bool,
}

/// A backend at work.
#[derive(Clone, Debug)]
pub struct Backend {
    workers: usize,
    /// Work done in a time, relative to a full-speed backend.
    pub speed: f64,
    /// Whether it answers with errors at once.
    pub fast_errors: bool,
    in_service: Vec<Request>,
    queue: VecDeque<Request>,
}

impl Backend {
    /// An idle one.
    #[must_use]
    pub fn new(machine: &Machine) -> Self {
        Self {
            workers: machine.workers,
            speed: machine.speed,
            fast_errors: false,
            in_service: Vec::with_capacity(machine.workers),
            queue: VecDeque::new(),
        }
    }

    /// Requests a second that it can do, relative to the work of one worker at full speed.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        if self.fast_errors { 0.0 } else { self.workers as f64 * self.speed }
    }

    /// Takes a request. If a worker is free it starts, and the time that it is finished after is returned.
    pub fn arrive(&mut self, mut request: Request) -> Option<(Nanos, Request)> {
        if self.fast_errors {
            request.fails = true;
            return Some((MILLISECOND, request));
        }
        if self.in_service.len() < self.workers {
            return Some(self.start(request));
        }
        self.queue.push_back(request);
        None
    }

    fn start(&mut self, request: Request) -> (Nanos, Request) {
        self.in_service.push(request);
        (scaled(request.demand, 1.0 / self.speed), request)
    }

    /// A request is finished: its worker takes the next from the queue.
    pub fn finish(&mut self, request: &Request) -> Option<(Nanos, Request)> {
        let position = self.in_service.iter().position(|other| other == request)?;
        self.in_service.swap_remove(position);
        let next = self.queue.pop_front()?;
        Some(self.start(next))
    }

    /// The oldest request whose client has given up while it was waiting. It leaves the queue.
    pub fn give_up(&mut self, now: Nanos) -> Option<Request> {
        let expired = |request: &mut Request| now - request.arrived >= CLIENT_TIMEOUT;
        self.queue.pop_front_if(expired)
    }

    /// Ages of a balancer's requests or probes that are outstanding for longer than `than`.
    pub fn older(
        &self,
        now: Nanos,
        than: Nanos,
        balancer: usize,
        probes: bool,
    ) -> impl Iterator<Item = Nanos> {
        let old = move |request: &&Request| now - request.arrived > than;
        // The queue is in order of arrival.
        let all = self.in_service.iter().filter(old).chain(self.queue.iter().take_while(old));
        all.filter(move |request| request.balancer == balancer && request.probe == probes)
            .map(move |request| now - request.arrived)
    }
}
