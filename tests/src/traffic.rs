//! Traffic that runs beside the test until it is told to end: long-lived TCP connections and UDP flows that exchange
//! numbered messages, and new connections one after the other, all with an [`Echo`](crate::echo::Echo).

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, Scope},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{bed::Host, load::open, wait::wait_for};

/// An answer that takes longer is lost.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two messages of a flow: the machine has other things to do.
const PAUSE: Duration = Duration::from_millis(3);
/// A test that forgets its traffic does not have it for ever.
const LONGEST: Duration = Duration::from_mins(2);

/// How a flow speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One TCP connection for all messages.
    LongTcp,
    /// One UDP flow for all messages; a message is never repeated, so one lost packet is a failure.
    Udp,
    /// A TCP connection for each message.
    NewTcp,
}

/// The state that flows share with the test.
#[derive(Debug, Default)]
pub struct Traffic {
    stop: AtomicBool,
    flows: Mutex<Vec<std::sync::Arc<AtomicU64>>>,
    failures: Mutex<Vec<String>>,
}

/// Ends the traffic when dropped, so that a panic does not wait for it.
#[derive(Debug)]
pub struct Running<'a>(&'a Traffic);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

impl Traffic {
    /// Starts `number` flows of one kind, which end with the guard or with the first answer that is missing.
    pub fn start<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        from: &'scope Host,
        target: SocketAddr,
        kind: Kind,
        number: usize,
    ) -> Running<'scope> {
        for _ in 0..number {
            let count = std::sync::Arc::new(AtomicU64::new(0));
            lock(&self.flows).push(std::sync::Arc::clone(&count));
            scope.spawn(move || {
                if let Err(error) = from.run_in(|| self.speak(target, kind, &count)) {
                    let after = count.load(Ordering::SeqCst);
                    lock(&self.failures).push(format!("{kind:?} to {target} after {after}: {error:#}"));
                }
            });
        }
        Running(self)
    }

    /// Waits until every flow has exchanged `messages` more; fails when one has failed.
    pub fn flows_on(&self, messages: u64) -> Result<()> {
        let goals: Vec<_> = lock(&self.flows)
            .iter()
            .map(|count| (std::sync::Arc::clone(count), count.load(Ordering::SeqCst) + messages))
            .collect();
        wait_for(Duration::from_mins(1), "every flow to go on", || {
            self.require_all()?;
            Ok(goals.iter().all(|(count, goal)| count.load(Ordering::SeqCst) >= *goal).then_some(()))
        })
    }

    /// Fails when a flow has.
    pub fn require_all(&self) -> Result<()> {
        let failures = lock(&self.failures);
        ensure!(failures.is_empty(), "{} flows failed:\n{}", failures.len(), failures.join("\n"));
        Ok(())
    }

    fn speak(&self, target: SocketAddr, kind: Kind, count: &AtomicU64) -> Result<()> {
        let started = Instant::now();
        let mut flow = Flow::new(target, kind)?;
        let first = flow.ask(0)?;
        for number in 1.. {
            if self.stop.load(Ordering::SeqCst) || started.elapsed() > LONGEST {
                break;
            }
            if kind == Kind::NewTcp {
                flow = Flow::new(target, kind)?;
            }
            let name = flow.ask(number)?;
            ensure!(kind == Kind::NewTcp || name == first, "{first} answered first, then {name}");
            count.fetch_add(1, Ordering::SeqCst);
            // Pacing, not waiting: nothing depends on how long this takes.
            thread::park_timeout(PAUSE);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The client's end of one flow.
#[derive(Debug)]
pub enum Flow {
    /// Over TCP.
    Tcp(BufReader<TcpStream>),
    /// Over UDP; connected, so that only answers from the target's own address count.
    Udp(UdpSocket),
}

impl Flow {
    /// Begins a flow in the namespace of the calling thread.
    pub fn new(target: SocketAddr, kind: Kind) -> Result<Self> {
        if kind != Kind::Udp {
            let stream = open(target, None, ANSWER)?;
            stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
            return Ok(Self::Tcp(BufReader::new(stream)));
        }
        let any: IpAddr =
            if target.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).context("cannot make a socket")?;
        socket.connect(target).with_context(|| format!("cannot connect to {target}"))?;
        socket.set_read_timeout(Some(ANSWER)).context("cannot set the timeout")?;
        Ok(Self::Udp(socket))
    }

    /// Sends one message and gives the name of the server that answered it.
    pub fn ask(&mut self, number: u64) -> Result<String> {
        let answer = match self {
            Self::Tcp(stream) => {
                stream.get_mut().write_all(format!("{number}\n").as_bytes()).context("cannot send")?;
                let mut line = String::new();
                stream.read_line(&mut line).context("no answer")?;
                line
            }
            Self::Udp(socket) => {
                socket.send(number.to_string().as_bytes()).context("cannot send")?;
                let mut buffer = [0; 2048];
                let length = socket.recv(&mut buffer).context("no answer")?;
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            }
        };
        match answer.trim_end().split_once(' ') {
            Some((name, repeated)) if repeated == number.to_string() => Ok(name.to_owned()),
            _ => bail!("message {number} was answered with {answer:?}"),
        }
    }
}
