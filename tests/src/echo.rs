//! A server that repeats what it is told, under its name: `7` is answered with `backend-1 7`. Over TCP a line is
//! a message, over UDP a datagram.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::socket;

use crate::bed::{Bed, Host};

/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_mins(1);
/// The longest datagram.
const LONGEST: usize = 64 * 1024;
/// How often a UDP thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// A running server. Dropping it closes its sockets.
#[derive(Debug)]
pub struct Echo {
    listener: TcpListener,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    stopping: AtomicBool,
    connections: AtomicU64,
    datagrams: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Echo {
    /// Serves on a port of a backend under the name of its role: TCP on all addresses, UDP on the VIPs only, so that
    /// no answer can come from another address.
    pub fn start(bed: &Bed, host: &Host, port: u16) -> Result<Self> {
        let bind = || {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
            let udp = bed.vips().iter().map(|vip| UdpSocket::bind(SocketAddr::new(*vip, port)));
            Ok((listener, udp.collect::<std::io::Result<Vec<_>>>()?))
        };
        let (listener, udp) =
            host.run_in(bind).with_context(|| format!("cannot serve port {port} of {}", host.role()))?;
        let shared = Arc::new(Shared {
            name: host.role().to_owned(),
            stopping: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            datagrams: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let mut threads = Vec::new();
        for socket in udp {
            socket.set_read_timeout(Some(LOOK)).context("cannot set the timeout")?;
            let shared = Arc::clone(&shared);
            threads.push(thread::spawn(move || datagrams(&socket, &shared)));
        }
        let incoming = listener.try_clone().context("cannot share the listener")?;
        threads.push(thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&incoming, &shared)
        }));
        Ok(Self { listener, shared, threads })
    }

    /// One on each backend of the bed.
    pub fn on_all(bed: &Bed, port: u16) -> Result<Vec<Self>> {
        bed.backends().iter().map(|host| Self::start(bed, host, port)).collect()
    }

    /// TCP connections that came in so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// UDP datagrams that came in so far.
    #[must_use]
    pub fn datagrams(&self) -> u64 {
        self.shared.datagrams.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // On Linux this wakes the thread in accept(2), with EINVAL.
        let _ = socket::shutdown(self.listener.as_raw_fd(), socket::Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        for stream in self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn datagrams(socket: &UdpSocket, shared: &Shared) {
    let mut buffer = vec![0; LONGEST];
    while !shared.stopping.load(Ordering::SeqCst) {
        let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
        shared.datagrams.fetch_add(1, Ordering::Relaxed);
        let said = String::from_utf8_lossy(&buffer[..length]);
        // The client notices an answer that is missing.
        let _ = socket.send_to(format!("{} {said}", shared.name).as_bytes(), from);
    }
}

fn accept(incoming: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stopping.load(Ordering::SeqCst) {
        let Ok((stream, _)) = incoming.accept() else { continue };
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        // A connection that has ended has no peer.
        open.retain(|stream| stream.peer_addr().is_ok());
        open.extend(stream.try_clone());
        drop(open);
        let shared = Arc::clone(shared);
        // The client's end of a connection is no error of the server.
        thread::spawn(move || serve(&stream, &shared.name));
    }
}

fn serve(stream: &TcpStream, name: &str) -> std::io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_nodelay(true)?;
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        writer.write_all(format!("{name} {line}").as_bytes())?;
        line.clear();
    }
    // The clone that is kept for the end would hold the connection open.
    stream.shutdown(Shutdown::Both)
}
