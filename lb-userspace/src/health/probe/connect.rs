//! Connecting, measuring and closing: what all checks share.

use super::{Closing, LINGER, Trouble};
use crate::health::report::{Certificate, Failure, Obstacle, Outcome, Phase, Report};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes that are read for an orderly end; a backend that says more is reset.
const MOST_AFTERWARDS: usize = 256 * 1024;

/// Where a check goes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address and port to connect to.
    pub address: SocketAddr,
    /// Address of this machine to send from; `None`: the kernel's choice.
    pub source: Option<IpAddr>,
    /// Mark of the packets (`SO_MARK`, which needs `CAP_NET_ADMIN`), for policy routing; `None`: none.
    pub mark: Option<u32>,
}

/// One check under way: how far it is, and what it measured.
pub(super) struct Session {
    started: Instant,
    phase: Phase,
    connect: Option<Duration>,
    asked: Option<Instant>,
    first_byte: Option<Duration>,
    certificate: Option<Certificate>,
    closing: Option<Closing>,
}

impl Session {
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            phase: Phase::Connect,
            connect: None,
            asked: None,
            first_byte: None,
            certificate: None,
            closing: None,
        }
    }

    /// How far the check is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// A connection to the endpoint.
    pub async fn connect(&mut self, endpoint: &Endpoint) -> Result<TcpStream, Trouble> {
        let socket = socket(endpoint).map_err(|error| trouble(endpoint, &error))?;
        let stream = socket.connect(endpoint.address).await.map_err(|error| trouble(endpoint, &error))?;
        self.connect = Some(self.started.elapsed());
        self.phase = Phase::Answer;
        Ok(stream)
    }

    /// A TLS handshake begins.
    pub fn shakes_hands(&mut self) {
        self.phase = Phase::Handshake;
    }

    /// A request begins.
    pub fn asks(&mut self) {
        self.phase = Phase::Answer;
        self.asked = Some(Instant::now());
    }

    /// The answer begins; later calls change nothing.
    pub fn is_answered(&mut self) {
        if self.first_byte.is_none() {
            self.first_byte = self.asked.map(|asked| asked.elapsed());
        }
    }

    /// The backend showed its certificate.
    pub fn shows(&mut self, certificate: Option<Certificate>) {
        self.certificate = certificate;
    }

    /// Ends a connection in order, once the outcome is told.
    pub fn close(&mut self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        self.close_with(close(stream));
    }

    /// As [`Session::close`], with another's way of ending.
    pub fn close_with(&mut self, closing: impl Future<Output = ()> + Send + 'static) {
        self.closing = Some(Box::pin(async {
            let _ = tokio::time::timeout(LINGER, closing).await;
        }));
    }

    /// The end of the check.
    pub fn end(self, outcome: Outcome) -> (Report, Option<Closing>) {
        let Self { started, connect, first_byte, certificate, closing, .. } = self;
        (Report { outcome, latency: started.elapsed(), connect, first_byte, certificate }, closing)
    }
}

/// Says that nothing more comes, and reads until the other side says so too.
pub(super) async fn close(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    // The outcome is known; what breaks now concerns nobody.
    if stream.shutdown().await.is_ok() {
        let _ = drain(&mut stream).await;
    }
}

/// Reads until the other side says that nothing more comes, as it was asked to; only if it does not in time, says so
/// first. A `close_notify` to a server that has closed already would be answered with a reset.
pub(super) async fn close_after_it(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if tokio::time::timeout(LINGER / 2, drain(&mut stream)).await.is_err() {
        close(stream).await;
    }
}

/// Reads to the end, or until it is too much.
async fn drain(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let (mut rest, mut total) = ([0; 512], 0);
    while total <= MOST_AFTERWARDS {
        match stream.read(&mut rest).await? {
            0 => break,
            length => total += length,
        }
    }
    Ok(())
}

/// An unconnected socket from which the check is sent.
fn socket(endpoint: &Endpoint) -> io::Result<TcpSocket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(endpoint.address), kind, Some(Protocol::TCP))?;
    if let Some(mark) = endpoint.mark {
        socket.set_mark(mark)?;
    }
    if let Some(source) = endpoint.source {
        // The port is chosen when the target is known, so that connections to other targets may have it too; without
        // this a source address has 28,000 ports for all of them. Since Linux 4.2; only a limit is lost without it.
        let _ = setsockopt(&socket, IpBindAddressNoPort, &true);
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Whose fault it is that there is no connection.
fn trouble(endpoint: &Endpoint, error: &io::Error) -> Trouble {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let text = errno.map_or_else(|| error.to_string(), |errno| errno.desc().to_lowercase());
    match errno {
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM | Errno::EAGAIN) => {
            Trouble::Obstacle(Obstacle::Resources(text))
        }
        Some(Errno::EADDRNOTAVAIL) => {
            let source =
                endpoint.source.map_or_else(|| "any address".to_owned(), |source| source.to_string());
            Trouble::Obstacle(Obstacle::Source(format!("{source} to {} ({text})", endpoint.address)))
        }
        Some(Errno::EPERM) if endpoint.mark.is_some() => Trouble::Obstacle(Obstacle::Way(text)),
        _ => Trouble::Failure(Failure::Connect(text)),
    }
}
