//! The task that makes the checks: what [`Board`] decides, with sockets and a clock.

use super::{
    board::{Board, Start, Ticket},
    event::Event,
    report::{Failure, Obstacle, Outcome, Report},
    target::Target,
    via::{NoWay, Ways},
};
use nix::sys::resource::{Resource, getrlimit};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep_until,
};
use tracing::warn;

/// Events that wait for the receiver before those of single checks are dropped.
const QUEUE: usize = 4096;
/// Most checks under way at a time, ends of connections included.
const MOST_UNDER_WAY: u64 = 4096;
/// A check that starts so late is told of.
const LATE: Duration = Duration::from_millis(100);
/// How often the same trouble is told of.
const REPEAT: Duration = Duration::from_secs(10);

/// How checks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Most checks under way at a time, ends of connections included; each holds a socket. Those above it wait.
    pub concurrency: usize,
    /// What the times of the checks are random from.
    pub seed: u64,
}

impl Default for Options {
    /// Half of the files that this process may open, at most 4,096, and a seed of the system's.
    fn default() -> Self {
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Self { concurrency: (files / 2).clamp(1, MOST_UNDER_WAY) as usize, seed: fastrand::u64(..) }
    }
}

/// What a running runner is told with. Dropping it ends the checks.
#[derive(Debug)]
pub struct Handle(watch::Sender<Vec<Target>>);

impl Handle {
    /// Checks these targets from now on, in place of the old ones; see [`Board::replace`] for what stays as it is.
    pub fn replace(&self, targets: Vec<Target>) {
        // Without a receiver the runner is gone, and with it whoever listens to it.
        let _ = self.0.send(targets);
    }
}

/// Starts the checks on the current tokio runtime, which must have I/O and time; there are no targets yet.
///
/// Sockets belong to the network namespace of the runtime's threads. The receiver is to be read all the time: changes
/// wait for it, checks are dropped when 4,096 events wait. When it is dropped the checks end.
///
/// # Panics
/// Outside of a tokio runtime.
#[must_use]
pub fn spawn(options: Options) -> (Handle, mpsc::Receiver<Event>) {
    let (sender, targets) = watch::channel(Vec::new());
    let (events, receiver) = mpsc::channel(QUEUE);
    tokio::spawn(Runner::new(options, events).run(targets));
    (Handle(sender), receiver)
}

struct Runner {
    board: Board,
    concurrency: usize,
    ways: Ways,
    tasks: JoinSet<()>,
    /// Where tasks leave their results; as many as tasks at most.
    ended: mpsc::UnboundedSender<Ended>,
    results: mpsc::UnboundedReceiver<Ended>,
    events: mpsc::Sender<Event>,
    /// Changes that the receiver has no room for yet.
    waiting: VecDeque<Event>,
    late: Told,
    obstacles: Told,
}

/// A check's result.
type Ended = (Ticket, Report);

/// Why the runner looks up.
enum Woken {
    /// Handle or receiver are gone.
    End,
    /// There are other targets.
    Targets,
    /// A check has ended.
    Result(Ticket, Report),
    /// A socket is free again.
    Room,
    /// Something is due.
    Time,
    /// The receiver has read something.
    Reader,
}

/// When a kind of trouble was last told of.
type Told = Option<Instant>;

impl Runner {
    fn new(options: Options, events: mpsc::Sender<Event>) -> Self {
        let (ended, results) = mpsc::unbounded_channel();
        Self {
            board: Board::new(options.seed),
            concurrency: options.concurrency.max(1),
            ways: Ways::default(),
            tasks: JoinSet::new(),
            ended,
            results,
            events,
            waiting: VecDeque::new(),
            late: None,
            obstacles: None,
        }
    }

    /// Until the handle or the receiver is gone.
    async fn run(mut self, mut targets: watch::Receiver<Vec<Target>>) {
        let events = self.events.clone();
        loop {
            self.start();
            let room = self.tasks.len() < self.concurrency;
            let wake = self.board.wake(room);
            let woken = tokio::select! {
                changed = targets.changed() => changed.map_or(Woken::End, |()| Woken::Targets),
                Some((ticket, report)) = self.results.recv() => Woken::Result(ticket, report),
                Some(_) = self.tasks.join_next() => Woken::Room,
                () = until(wake) => Woken::Time,
                permit = events.reserve(), if !self.waiting.is_empty() => {
                    permit.map_or(Woken::End, |_| Woken::Reader)
                }
                () = events.closed() => Woken::End,
            };
            match woken {
                Woken::End => return,
                Woken::Targets => {
                    let targets = targets.borrow_and_update().clone();
                    self.ways.set(targets.iter().filter_map(|target| target.way));
                    let events = self.board.replace(targets, Instant::now());
                    self.tell(events);
                }
                Woken::Result(ticket, report) => {
                    self.finish(ticket, report);
                    while let Ok((ticket, report)) = self.results.try_recv() {
                        self.finish(ticket, report);
                    }
                }
                Woken::Time => {
                    let events = self.board.tick(Instant::now());
                    self.tell(events);
                }
                // The permit went back, so there is room for one.
                Woken::Reader => self.tell(Vec::new()),
                Woken::Room => while self.tasks.try_join_next().is_some() {},
            }
        }
    }

    /// Starts what is due, as far as there is room.
    fn start(&mut self) {
        while self.tasks.len() < self.concurrency {
            let now = Instant::now();
            let Some(Start { ticket, target, late }) = self.board.next_start(now) else { return };
            if late > LATE && is_news(&mut self.late, now) {
                warn!(
                    "health checks start {} ms late, with {} under way; a failure is noticed so much later: raise the limit of open files (LimitNOFILE=), the interval, or give the daemon more CPU",
                    late.as_millis(),
                    self.tasks.len()
                );
            }
            let mut endpoint = target.endpoint;
            if let Some(way) = target.way {
                match self.ways.mark(way) {
                    Some(Ok(mark)) => endpoint.mark = Some(mark),
                    // Whoever makes the way tells of what hinders it.
                    made => {
                        let events = self.board.finished(ticket, no_way(made.and_then(Result::err)), now);
                        self.tell(events);
                        continue;
                    }
                }
            }
            let ended = self.ended.clone();
            self.tasks.spawn(async move {
                let (report, closing) = target.probe.run(&endpoint).await;
                // The runner outlives its tasks.
                let _ = ended.send((ticket, report));
                if let Some(closing) = closing {
                    closing.await;
                }
            });
        }
    }

    fn finish(&mut self, ticket: Ticket, report: Report) {
        let now = Instant::now();
        if let Outcome::NotMade(obstacle) = &report.outcome
            && is_news(&mut self.obstacles, now)
        {
            warn!("a health check cannot be made, and its backend stays as it is: {obstacle}");
        }
        let events = self.board.finished(ticket, report, now);
        self.tell(events);
    }

    /// Hands events on: changes in their order, without loss; checks only while nothing waits.
    fn tell(&mut self, events: Vec<Event>) {
        for event in events {
            if matches!(event, Event::Changed(_)) {
                self.waiting.push_back(event);
            } else if self.waiting.is_empty() {
                let _ = self.events.try_send(event);
            }
        }
        while let Some(event) = self.waiting.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event)) =
                self.events.try_send(event)
            {
                self.waiting.push_front(event);
                return;
            }
        }
    }
}

/// Whether a trouble was not told of lately; from now on it was.
fn is_news(told: &mut Told, now: Instant) -> bool {
    let news = told.is_none_or(|told| now - told >= REPEAT);
    if news {
        *told = Some(now);
    }
    news
}

/// The result of a check without a way; `None`: the way is still being made.
fn no_way(cause: Option<NoWay>) -> Report {
    let outcome = match cause {
        Some(NoWay::Unreachable(cause)) => Outcome::Failed(Failure::Connect(cause)),
        Some(NoWay::Hindered(cause)) => Outcome::NotMade(Obstacle::Way(cause)),
        None => Outcome::NotMade(Obstacle::Way("it is being made".to_owned())),
    };
    Report { outcome, latency: Duration::ZERO, connect: None, first_byte: None, certificate: None }
}

async fn until(wake: Option<Instant>) {
    match wake {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
