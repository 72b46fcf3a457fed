//! A bounded load: TCP connections from a host, each with one HTTP request, counted by the backend that answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::bed::Host;

/// How many failures a report keeps in words.
const FAILURES_KEPT: usize = 10;
/// An answer longer than this is not one of our servers'.
const LONGEST_ANSWER: u64 = 64 * 1024;

/// What to send. Everything is bounded: number, concurrency and time.
#[derive(Clone, Debug)]
pub struct Load {
    target: SocketAddr,
    connections: usize,
    concurrency: usize,
    timeout: Duration,
    deadline: Duration,
    sources: Vec<SocketAddr>,
    answers: BTreeSet<String>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Connections by the name that the server answered with.
    pub by_backend: BTreeMap<String, u64>,
    /// Connections that got no right answer, those never begun for lack of time included.
    pub failed: u64,
    /// The first failures, in words.
    pub failures: Vec<String>,
    /// How long it all took.
    pub elapsed: Duration,
}

impl Load {
    /// `connections` connections to `target`, 32 at a time, 5 seconds for each and 60 for all.
    #[must_use]
    pub fn new(target: SocketAddr, connections: usize) -> Self {
        Self {
            target,
            connections,
            concurrency: 32,
            timeout: Duration::from_secs(5),
            deadline: Duration::from_mins(1),
            sources: Vec::new(),
            answers: BTreeSet::new(),
        }
    }

    /// How many connections are open at a time, at most.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// How long one connection may take to be made, and each of its reads and writes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// After how long no further connection is begun.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Where to send from, in turn; a port or an address of zero leaves the choice to the kernel.
    ///
    /// A port that is used twice must have had a second to leave `TIME_WAIT`.
    #[must_use]
    pub fn sources(mut self, sources: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.sources = sources.into_iter().collect();
        self
    }

    /// The answers that count as right; every answer does when none is named.
    #[must_use]
    pub fn answers<S: Into<String>>(mut self, answers: impl IntoIterator<Item = S>) -> Self {
        self.answers = answers.into_iter().map(Into::into).collect();
        self
    }

    /// Sends the load from the host's namespace.
    pub fn run(&self, from: &Host) -> Result<Report> {
        self.run_with(from, || true)
    }

    /// As [`Load::run`]; `next` is asked before each connection, from several threads, and false ends the load.
    pub fn run_with(&self, from: &Host, next: impl Fn() -> bool + Sync) -> Result<Report> {
        ensure!(self.concurrency > 0, "a load needs a concurrency of at least one");
        let started = Instant::now();
        let begun = AtomicUsize::new(0);
        let report = Mutex::new(Report::default());
        let worker = || {
            while started.elapsed() < self.deadline && next() {
                let number = begun.fetch_add(1, Ordering::Relaxed);
                if number >= self.connections {
                    return;
                }
                let answer = self.connect(number);
                report.lock().unwrap_or_else(PoisonError::into_inner).add(number, answer);
            }
        };
        from.run_in(|| {
            // A thread belongs to the namespace of the thread that starts it.
            thread::scope(|scope| {
                for _ in 0..self.concurrency.min(self.connections) {
                    scope.spawn(worker);
                }
            });
            Ok(())
        })?;
        let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
        let missing = (self.connections as u64).saturating_sub(report.answered() + report.failed);
        if missing > 0 {
            report.failed += missing;
            report.failures.push(format!("{missing} connections were never begun"));
        }
        report.elapsed = started.elapsed();
        Ok(report)
    }

    /// One connection, one request; gives the answer's body.
    fn connect(&self, number: usize) -> Result<String> {
        let source = self.sources.get(number % self.sources.len().max(1)).copied();
        let stream = open(self.target, source, self.timeout)?;
        let body = get(&stream, self.target)?;
        if !self.answers.is_empty() && !self.answers.contains(&body) {
            bail!("unexpected answer {body:?}");
        }
        Ok(body)
    }
}

impl Report {
    /// Connections that got an answer.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.by_backend.values().sum()
    }

    /// Connections that this backend answered.
    #[must_use]
    pub fn of(&self, backend: &str) -> u64 {
        self.by_backend.get(backend).copied().unwrap_or(0)
    }

    /// Adds the connections of another load.
    pub fn merge(&mut self, other: Self) {
        for (backend, connections) in other.by_backend {
            *self.by_backend.entry(backend).or_default() += connections;
        }
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.elapsed += other.elapsed;
    }

    /// Fails when a connection did.
    pub fn require_all(&self) -> Result<()> {
        ensure!(
            self.failed == 0,
            "{} connections failed, {} succeeded:\n{}",
            self.failed,
            self.answered(),
            self.failures.join("\n")
        );
        Ok(())
    }

    fn add(&mut self, number: usize, answer: Result<String>) {
        match answer {
            Ok(backend) => *self.by_backend.entry(backend).or_default() += 1,
            Err(error) => {
                self.failed += 1;
                if self.failures.len() < FAILURES_KEPT {
                    self.failures.push(format!("connection {number}: {error:#}"));
                }
            }
        }
    }
}

/// Connects from `source` (see [`Load::sources`]) in the namespace of the calling thread.
pub fn open(target: SocketAddr, source: Option<SocketAddr>, timeout: Duration) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))
        .context("cannot make a socket")?;
    if let Some(source) = source {
        socket.set_reuse_address(true).context("cannot share the source port")?;
        socket
            .bind(&source_for(target, source).into())
            .with_context(|| format!("cannot bind to {source}"))?;
    }
    socket.connect_timeout(&target.into(), timeout).with_context(|| format!("cannot connect to {target}"))?;
    socket.set_read_timeout(Some(timeout)).context("cannot set the timeout")?;
    socket.set_write_timeout(Some(timeout)).context("cannot set the timeout")?;
    Ok(socket.into())
}

/// An unspecified source address takes the target's family, so that a list of ports serves both.
fn source_for(target: SocketAddr, source: SocketAddr) -> SocketAddr {
    let any: IpAddr =
        if target.is_ipv6() { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    if source.ip().is_unspecified() { SocketAddr::new(any, source.port()) } else { source }
}

/// Sends one request and gives the body of the answer, without blanks at its ends.
pub fn get(mut stream: &TcpStream, host: SocketAddr) -> Result<String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).context("cannot send the request")?;
    let mut answer = String::new();
    match stream.take(LONGEST_ANSWER).read_to_string(&mut answer) {
        Ok(_) => body_of(&answer),
        Err(error) if error.kind() == ErrorKind::WouldBlock => bail!("no answer in time"),
        Err(error) => Err(error).context("cannot read the answer"),
    }
}

fn body_of(answer: &str) -> Result<String> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "the answer is {:?}", head.lines().next().unwrap_or_default());
    Ok(body.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_200_has_a_body() {
        assert_eq!(body_of("HTTP/1.1 200 OK\r\nA: b\r\n\r\nweb-1\n").unwrap(), "web-1");
        assert!(body_of("HTTP/1.1 502 Bad Gateway\r\n\r\nweb-1").is_err());
        assert!(body_of("HTTP/1.1 200 OK\r\n").is_err());
        assert!(body_of("").is_err());
    }

    #[test]
    fn a_source_without_address_fits_both_families() {
        let port: SocketAddr = "0.0.0.0:4000".parse().unwrap();
        let fixed: SocketAddr = "198.18.0.1:4000".parse().unwrap();
        let target: SocketAddr = "[2001:db8::10]:80".parse().unwrap();
        assert_eq!(source_for(target, port).to_string(), "[::]:4000");
        assert_eq!(source_for(fixed, fixed), fixed);
    }
}
