//! A host of ISO 8583 over TCP: it answers every request on a connection, in order, after a service time.
//!
//! Whatever the request (0200, 0400, 0800...), its elements come back in the response of that type, with a response code
//! in element 39. Messages are framed and packed by the codec of the health checks, whose bytes are those of another
//! implementation (its unit tests).

use std::{
    io::{self, Read as _, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use lb_userspace::health::iso8583::{
    DecodeError, LengthHeader, Message, Packing,
    echo::{RESPONSE, TRACE},
};
use nix::sys::socket;

use crate::bed;

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_mins(1);
const STACK: usize = 128 * 1024;

/// How a host answers.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// From a whole request to its response.
    pub service_time: Duration,
    /// The length before each message.
    pub header: LengthHeader,
    /// How messages are packed.
    pub packing: Packing,
    /// Element 39 of every response: two characters; none: 00.
    pub response: Option<String>,
    /// Says something first on each connection: a sign-on request, 0800 with element 70 = 001.
    pub signs_on: bool,
}

/// A running host. Dropping it closes the port and cuts its connections.
#[derive(Debug)]
pub struct Iso8583Host {
    listener: TcpListener,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    options: Options,
    stopping: Mutex<bool>,
    stopped: Condvar,
    connections: AtomicU64,
    requests: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
    log: Mutex<Box<dyn Write + Send>>,
}

impl Iso8583Host {
    /// Serves on a port of a node of the bed, over IPv4 and IPv6, on every address including the VIPs, without a log.
    pub fn start_on(host: &bed::Host, port: u16, options: Options) -> Result<Self> {
        let listener = host.run_in(|| {
            TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, port))
                .with_context(|| format!("cannot listen on port {port} of {}", host.role()))
        })?;
        Self::start(listener, options, Box::new(io::sink()))
    }

    /// Serves on a listener; each response is a line in the log.
    pub fn start(listener: TcpListener, options: Options, log: Box<dyn Write + Send>) -> Result<Self> {
        let shared = Arc::new(Shared {
            options,
            stopping: Mutex::new(false),
            stopped: Condvar::new(),
            connections: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            open: Mutex::default(),
            log: Mutex::new(log),
        });
        let incoming = listener.try_clone().context("cannot share the listener")?;
        let acceptor = thread::Builder::new().name("iso8583".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || accept(&incoming, &shared)
        });
        Ok(Self { listener, shared, acceptor: Some(acceptor.context("cannot start a thread")?) })
    }

    /// Where it serves.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().context("the listener has no address")
    }

    /// Connections that came in so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// Requests that were answered so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Iso8583Host {
    fn drop(&mut self) {
        *self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
        // On Linux this wakes the thread in accept(2), with EINVAL.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn is_stopping(&self) -> bool {
        *self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes its time, unless the host ends.
    fn work(&self) {
        if self.options.service_time.is_zero() {
            return;
        }
        let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
        let ended =
            self.stopped.wait_timeout_while(stopping, self.options.service_time, |stopping| !*stopping);
        drop(ended.unwrap_or_else(PoisonError::into_inner));
    }

    fn log(&self, number: u64, peer: SocketAddr, request: &Message, answer: &Message, took: Duration) {
        let ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let (trace, response) =
            (request.text(TRACE).unwrap_or_default(), answer.text(RESPONSE).unwrap_or_default());
        let line = format!(
            "ms={ms} connection={number} peer={peer} request={:04} trace={trace} response={response} took_us={}\n",
            request.kind,
            took.as_micros()
        );
        // Whoever reads the log may be gone; the host serves on.
        let _ = self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes());
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("options", &self.options).finish_non_exhaustive()
    }
}

fn accept(incoming: &TcpListener, shared: &Arc<Shared>) {
    while !shared.is_stopping() {
        // An aborted connection is an error of accept(2) that concerns nobody else.
        let Ok((stream, peer)) = incoming.accept() else { continue };
        let number = shared.connections.fetch_add(1, Ordering::Relaxed) + 1;
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection that has ended has no peer.
        open.retain(|stream| stream.peer_addr().is_ok());
        open.extend(stream.try_clone());
        drop(open);
        let shared = Arc::clone(shared);
        // The client's end of a connection is no error of the host.
        let _ = thread::Builder::new().stack_size(STACK).spawn(move || {
            let _ = serve(&stream, number, peer, &shared);
            // The clone that is kept for the end would hold the connection open.
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

fn serve(mut stream: &TcpStream, number: u64, peer: SocketAddr, shared: &Shared) -> Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let Options { header, packing, signs_on, ref response, .. } = shared.options;
    if signs_on {
        let sign_on = Message::new(800).with(TRACE, "999999").with(70, "001");
        stream.write_all(&header.frame(&sign_on.encode(packing)?)?)?;
    }
    let mut read = Vec::new();
    while let Some(request) = next(stream, &mut read, header, packing)? {
        let begun = Instant::now();
        shared.work();
        let code = response.clone().unwrap_or_else(|| "00".to_owned());
        // The third digit is even for a request, and one more for its response.
        let mut answer = request.clone().with(RESPONSE, code);
        answer.kind += 10;
        stream.write_all(&header.frame(&answer.encode(packing)?)?)?;
        shared.requests.fetch_add(1, Ordering::Relaxed);
        shared.log(number, peer, &request, &answer, begun.elapsed());
    }
    Ok(())
}

/// The next request; none when the client has said all. `read` keeps what was read of the one after it.
fn next(
    mut stream: &TcpStream,
    read: &mut Vec<u8>,
    header: LengthHeader,
    packing: Packing,
) -> Result<Option<Message>> {
    loop {
        let begin = header.bytes();
        let length =
            if begin > 0 && read.len() >= begin { Some(header.length(&read[..begin])?) } else { None };
        let whole = begin == 0 || length.is_some_and(|length| read.len() >= begin + length);
        if whole {
            let end = length.map_or(read.len(), |length| begin + length);
            match Message::decode(&read[begin..end], packing, 128) {
                Ok((message, taken)) => {
                    read.drain(..length.map_or(taken, |_| end));
                    return Ok(Some(message));
                }
                // Without a length header more may make it whole.
                Err(DecodeError::Short) if begin == 0 => {}
                Err(error) => return Err(error).context("not a message"),
            }
        }
        let mut chunk = [0; 4096];
        let length = stream.read(&mut chunk).context("cannot read")?;
        if length == 0 {
            return Ok(None);
        }
        read.extend_from_slice(&chunk[..length]);
    }
}
