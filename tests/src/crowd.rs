//! Thousands of TCP connections at a time, each with steady numbered messages that a server repeats under its name. A
//! connection that is cut, or answered by another server than at first, is broken.

use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{Scope, ScopedJoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    runtime::Runtime,
    time::{sleep, timeout},
};

use crate::bed::Host;

/// An answer that takes longer is lost.
const ANSWER: Duration = Duration::from_secs(15);
/// How many failures a crowd keeps in words.
const FAILURES_KEPT: usize = 20;

/// Servers, one on each of some hosts. Dropping them closes all sockets.
#[derive(Debug)]
pub struct Servers(Runtime);

impl Servers {
    /// None yet.
    pub fn new() -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(Self(builder.worker_threads(1).enable_all().build().context("cannot make a runtime")?))
    }

    /// Serves on a port of a host, under the name of its role.
    pub fn serve(&self, host: &Host, port: u16) -> Result<()> {
        let bind = || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
            // As many as come at once when the crowd begins.
            nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(4095)?)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener =
            host.run_in(bind).with_context(|| format!("cannot serve port {port} of {}", host.role()))?;
        let name = host.role().to_owned();
        let _entered = self.0.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        self.0.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let name = name.clone();
                // The client's end of a connection is no error of the server.
                tokio::spawn(async move { repeat(stream, &name).await });
            }
        });
        Ok(())
    }
}

async fn repeat(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.split();
    let (mut reader, mut line) = (BufReader::new(reader), String::new());
    while reader.read_line(&mut line).await? > 0 {
        writer.write_all(format!("{name} {line}").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

/// How connections of a crowd behave.
#[derive(Clone, Copy, Debug)]
pub struct Habit {
    /// Connections at a time.
    pub connections: u32,
    /// Between two messages of one.
    pub pause: Duration,
    /// A connection is closed and opened again after so many messages, and up to as many more, each with its own number.
    pub messages: u32,
}

/// What a crowd has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Connections that are open, by the server's name.
    pub open: BTreeMap<String, u64>,
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that were closed as they should.
    pub closed: u64,
    /// Connections that were cut or went astray, by the name of the server that had them.
    pub broken: BTreeMap<String, u64>,
    /// Connections that were never made.
    pub refused: u64,
    /// The first failures, in words.
    pub failures: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    messages: AtomicU64,
    seen: Mutex<Seen>,
}

/// A crowd of connections from one host. Dropping it ends it.
#[derive(Debug)]
pub struct Crowd<'scope> {
    shared: Arc<Shared>,
    thread: Option<ScopedJoinHandle<'scope, Result<()>>>,
}

impl<'scope> Crowd<'scope> {
    /// Begins at once; the connections are opened over one second.
    #[must_use]
    pub fn start(
        scope: &'scope Scope<'scope, '_>,
        from: &'scope Host,
        target: SocketAddr,
        habit: Habit,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        let thread = scope.spawn({
            let shared = Arc::clone(&shared);
            move || {
                from.run_in(|| {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                    runtime.block_on(crowd(&shared, target, habit));
                    Ok(())
                })
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// What it has seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Messages that were answered.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// Closes all connections in order, and gives what it has seen.
    pub fn finish(mut self) -> Result<Seen> {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => bail!("the crowd panicked"),
            }
        }
        Ok(self.seen())
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn crowd(shared: &Arc<Shared>, target: SocketAddr, habit: Habit) {
    let connections = (0..habit.connections).map(|number| {
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            sleep(Duration::from_secs(1) * number / habit.connections).await;
            let mut round = 0;
            while !shared.stop.load(Ordering::Relaxed) {
                // Lives of different lengths, the same in every run.
                let messages =
                    habit.messages + number.wrapping_mul(2_654_435_761).wrapping_add(round) % habit.messages;
                round += 1;
                connection(&shared, target, habit.pause, messages).await;
            }
        })
    });
    for connection in connections.collect::<Vec<_>>() {
        let _ = connection.await;
    }
}

/// One connection from its opening to its end.
async fn connection(shared: &Shared, target: SocketAddr, pause: Duration, messages: u32) {
    let mut server = None;
    let result = talk(shared, target, pause, messages, &mut server).await;
    let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = &server
        && let Some(open) = seen.open.get_mut(name)
    {
        *open -= 1;
    }
    match (result, server) {
        (Ok(()), _) => seen.closed += 1,
        (Err(error), server) => {
            if seen.failures.len() < FAILURES_KEPT {
                let of = server.as_deref().unwrap_or("nobody");
                seen.failures.push(format!("connection of {of}: {error:#}"));
            }
            match server {
                Some(name) => *seen.broken.entry(name).or_default() += 1,
                None => seen.refused += 1,
            }
        }
    }
}

async fn talk(
    shared: &Shared,
    target: SocketAddr,
    pause: Duration,
    messages: u32,
    server: &mut Option<String>,
) -> Result<()> {
    let stream = timeout(ANSWER, TcpStream::connect(target)).await.context("no answer to the SYN")??;
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let (mut reader, mut line) = (BufReader::new(reader), String::new());
    for number in 0..messages {
        writer.write_all(format!("{number}\n").as_bytes()).await.context("cannot send")?;
        line.clear();
        let read = timeout(ANSWER, reader.read_line(&mut line)).await;
        let bytes = read.with_context(|| format!("no answer to message {number}"))?.context("cut")?;
        ensure!(bytes > 0, "closed by the server after {number} messages");
        let (name, repeated) = line.trim_end().split_once(' ').context("an answer of another form")?;
        ensure!(repeated == number.to_string(), "message {number} was answered with {line:?}");
        if let Some(first) = server {
            ensure!(first == name, "{first} answered first, then {name}");
        } else {
            *server = Some(name.to_owned());
            let mut seen = shared.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.opened += 1;
            *seen.open.entry(name.to_owned()).or_default() += 1;
        }
        shared.messages.fetch_add(1, Ordering::Relaxed);
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        sleep(pause).await;
    }
    writer.shutdown().await.context("cannot close")
}
