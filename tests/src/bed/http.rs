//! A small HTTP/1.1 server of threads, which says the same words to every request.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv6Addr, Shutdown, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::socket;

use super::host::Host;

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_mins(1);
/// Connections served at a time; more of them are refused.
const MOST_CONNECTIONS: usize = 4096;
const STACK: usize = 128 * 1024;

/// A running server. Dropping it closes the port and cuts its connections.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    response: String,
    stopping: AtomicBool,
    accepted: AtomicU64,
    open: Mutex<HashMap<u64, TcpStream>>,
}

impl HttpServer {
    /// Serves `body` on a port of the host, over IPv4 and IPv6, on every address including the VIPs.
    ///
    /// It is ready when this returns. Connections stay open until the client ends them or asks for `close`.
    pub fn start(host: &Host, port: u16, body: &str) -> Result<Self> {
        let listener = host.run_in(|| {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .with_context(|| format!("cannot listen on port {port} of {}", host.role()))
        })?;
        let shared = Arc::new(Shared {
            response: format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
            stopping: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let incoming = listener.try_clone().context("cannot share the listener")?;
        let acceptor = thread::Builder::new().name(format!("http-{}", host.role())).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&incoming, &shared)
        });
        Ok(Self { listener, shared, acceptor: Some(acceptor.context("cannot start a thread")?) })
    }

    /// How many connections came in so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.open().len()
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // On Linux this wakes the thread in accept(2), with EINVAL.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.open().values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn open(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn accept(incoming: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopping.load(Ordering::SeqCst) {
        // An aborted connection is an error of accept(2) that concerns nobody else.
        let Ok((stream, _)) = incoming.accept() else { continue };
        let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
        if shared.open().len() >= MOST_CONNECTIONS {
            continue;
        }
        let Ok(kept) = stream.try_clone() else { continue };
        shared.open().insert(number, kept);
        let serving = Arc::clone(shared);
        let started = thread::Builder::new().stack_size(STACK).spawn(move || {
            // The client's end of a connection is no error of the server.
            let _ = serve(&stream, &serving.response);
            serving.open().remove(&number);
        });
        if started.is_err() {
            shared.open().remove(&number);
        }
    }
}

/// Answers requests without a body until the client closes or asks for it.
fn serve(stream: &TcpStream, response: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut close = false;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let header = line.trim_end();
        close |= header.eq_ignore_ascii_case("connection: close");
        if header.is_empty() {
            let mut writer = stream;
            writer.write_all(response.as_bytes())?;
            if close {
                return Ok(());
            }
        }
    }
}
