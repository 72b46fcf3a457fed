//! The API over TCP: with TLS and client certificates, and never without.
//!
//! Whoever has a certificate of `client_ca` may do everything, as whoever may use the socket. Its subject is written into the
//! audit log.

use super::writer::Peer;
use crate::{audit::Who, config::ApiTls};
use anyhow::{Context as _, anyhow, bail};
use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use std::{
    fs, io,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tracing::{debug, info, warn};
use x509_cert::{Certificate, der::Decode as _};

/// A client that takes longer for the handshake is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes under way at most; further clients wait.
const HANDSHAKES: usize = 64;
/// After a failed `accept`, as of too many open files, so that the next does not come at once.
const PAUSE: Duration = Duration::from_millis(100);

type Connection = (TlsStream<TcpStream>, SocketAddr);

/// Connections whose client showed a certificate. Dropping it ends them.
#[derive(Debug)]
pub struct TlsListener {
    shaken: mpsc::Receiver<Connection>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

/// Listens there.
///
/// # Errors
/// When a file is not what it should be, or the address is not this machine's or taken.
pub async fn bind(files: &ApiTls) -> anyhow::Result<TlsListener> {
    let credentials = Credentials::load(files.clone())?;
    let listener = TcpListener::bind(files.address).await.with_context(|| {
        format!("cannot serve the API on {}; choose another `address` in [daemon.api_tls]", files.address)
    })?;
    let address = listener.local_addr().context("the API's listener has no address")?;
    info!("the API is served on {address} too, with TLS and client certificates");
    let (sender, shaken) = mpsc::channel(HANDSHAKES);
    let task = tokio::spawn(accept(listener, credentials, sender));
    Ok(TlsListener { shaken, address, task })
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        match self.shaken.recv().await {
            Some(connection) => connection,
            // The task ends with the listener alone.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let (_, session) = stream.io().get_ref();
        let certificate = session.peer_certificates().and_then(<[_]>::first);
        let address = stream.remote_addr().ip().to_canonical();
        Self(certificate.and_then(subject).map(|certificate| Who::Certificate { certificate, address }))
    }
}

/// Whom a certificate names (RFC 4514); one without a subject by its serial number.
fn subject(der: &CertificateDer<'_>) -> Option<String> {
    let certificate = Certificate::from_der(der).ok()?;
    let certificate = certificate.tbs_certificate();
    let subject = certificate.subject().to_string();
    Some(if subject.is_empty() { format!("serial {}", certificate.serial_number()) } else { subject })
}

async fn accept(listener: TcpListener, mut credentials: Credentials, shaken: mpsc::Sender<Connection>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(turn) = Arc::clone(&handshakes).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!("the API's listener: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let acceptor = TlsAcceptor::from(credentials.current());
        let shaken = shaken.clone();
        tokio::spawn(async move {
            let _turn = turn;
            match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                // Nobody serves any more: the daemon ends.
                Ok(Ok(stream)) => drop(shaken.send((stream, address)).await),
                Ok(Err(error)) => info!("the API refuses {address}: {error}"),
                Err(_) => debug!("the API lets {address} go, which does not end its handshake"),
            }
        });
    }
}

/// The files, read again when they change, so that certificates can be renewed while the daemon runs.
struct Credentials {
    files: ApiTls,
    seen: [Option<SystemTime>; 3],
    config: Arc<ServerConfig>,
}

impl Credentials {
    fn load(files: ApiTls) -> anyhow::Result<Self> {
        let seen = changed_at(&files);
        Ok(Self { config: Arc::new(config(&files)?), seen, files })
    }

    /// What holds for the next client.
    fn current(&mut self) -> Arc<ServerConfig> {
        let seen = changed_at(&self.files);
        if seen != self.seen {
            match config(&self.files) {
                Ok(config) => {
                    info!("the files of [daemon.api_tls] changed, and hold for new connections");
                    (self.config, self.seen) = (Arc::new(config), seen);
                }
                // As in between the two files of a renewed pair: the next client tries again.
                Err(error) => warn!("{error:#}; the API goes on with the files as they were"),
            }
        }
        Arc::clone(&self.config)
    }
}

fn changed_at(files: &ApiTls) -> [Option<SystemTime>; 3] {
    [&files.certificate, &files.key, &files.client_ca].map(|file| fs::metadata(file).ok()?.modified().ok())
}

fn config(files: &ApiTls) -> anyhow::Result<ServerConfig> {
    let ApiTls { address: _, certificate, key, client_ca } = files;
    let provider = Arc::new(ring::default_provider());
    let mut authorities = RootCertStore::empty();
    for authority in certificates("client_ca", client_ca)? {
        authorities.add(authority).map_err(|error| wrong("client_ca", client_ca, &error))?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(authorities), Arc::clone(&provider)).build();
    let verifier = verifier.map_err(|error| wrong("client_ca", client_ca, &error))?;
    let chain = certificates("certificate", certificate)?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("key", key, &error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, secret)
        .map_err(|error| {
            anyhow!(
                "api_tls: certificate {} and key {} do not go together ({error}); name a pair",
                certificate.display(),
                key.display()
            )
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificates of a PEM file, at least one.
fn certificates(key: &str, file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| wrong(key, file, &error))?;
    if read.is_empty() {
        bail!("api_tls: {key} {} holds no certificate; name a PEM file", file.display());
    }
    Ok(read)
}

fn wrong(key: &str, file: &Path, error: &dyn std::fmt::Display) -> anyhow::Error {
    anyhow!("api_tls: {key} {} cannot be used ({error}); name a PEM file", file.display())
}
