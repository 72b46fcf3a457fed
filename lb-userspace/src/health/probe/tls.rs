//! TLS: the handshake, and until when the backend's certificate is valid.

use super::{
    Trouble,
    connect::{Endpoint, Session},
};
use crate::{
    config,
    health::report::{Certificate, Failure},
};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use x509_cert::der::Decode as _;

/// Why a check of TLS cannot be made ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The file of certificates cannot be read.
    #[error("{}: no certificates to be read from it ({cause}); name a PEM file with `ca` in [service.health]", .file.display())]
    Ca {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The system trusts no certificate.
    #[error(
        "this system has no trusted certificates ({0}); install ca-certificates, or name a file with `ca` in [service.health], or set verify = false"
    )]
    NoSystemRoots(String),
    /// The TLS library refuses.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// A client of TLS for the checks of one service.
#[derive(Debug)]
pub(super) struct Client {
    config: ClientConfig,
    name: Option<ServerName<'static>>,
    verifier: Arc<dyn ServerCertVerifier>,
}

impl Client {
    /// A client that offers these application protocols (ALPN).
    pub fn new(tls: &config::Tls, protocols: &[&[u8]]) -> Result<Self, PrepareError> {
        let error = |error: &dyn ToString| PrepareError::Tls(error.to_string());
        let provider = Arc::new(ring::default_provider());
        let verifier: Arc<dyn ServerCertVerifier> = if tls.verify {
            let roots = match &tls.ca {
                Some(file) => Arc::new(roots_of(file)?),
                None => system_roots()?,
            };
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
                .build()
                .map_err(|cause| error(&cause))?
        } else {
            Arc::new(AnyCertificate(Arc::clone(&provider)))
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| error(&cause))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier))
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        // Each check is a whole handshake: a resumed session would not show the certificate of today.
        config.resumption = Resumption::disabled();
        let name =
            tls.server_name.clone().map(ServerName::try_from).transpose().map_err(|cause| error(&cause))?;
        Ok(Self { config, name, verifier })
    }

    /// The handshake; the session learns the backend's certificate, whatever comes of it.
    pub async fn handshake(
        &self,
        session: &mut Session,
        endpoint: &Endpoint,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, Trouble> {
        session.shakes_hands();
        // The end of the handshake and the request are two small writes: the second must not wait until the first is
        // acknowledged. The other checks write once. What this cannot set is only slower.
        let _ = stream.set_nodelay(true);
        let seen = Arc::new(Seen { verifier: Arc::clone(&self.verifier), certificate: Mutex::default() });
        let mut config = self.config.clone();
        config.dangerous().set_certificate_verifier(Arc::clone(&seen) as Arc<dyn ServerCertVerifier>);
        // An address is not sent as a name (RFC 6066, section 3).
        let name = self.name.clone().unwrap_or_else(|| ServerName::IpAddress(endpoint.address.ip().into()));
        let result = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        session.shows(*seen.certificate.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(result.map_err(|error| failure(&error))?)
    }
}

fn failure(error: &io::Error) -> Failure {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match tls {
        Some(tls) => Failure::Tls(tls.to_string()),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Failure::Tls("the backend closed the connection during the handshake".to_owned())
        }
        None => Failure::Tls(error.to_string()),
    }
}

/// The certificates of a PEM file.
fn roots_of(file: &Path) -> Result<RootCertStore, PrepareError> {
    let error = |cause: String| PrepareError::Ca { file: file.to_owned(), cause };
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|cause| error(cause.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|cause| error(cause.to_string()))?;
        roots.add(certificate).map_err(|cause| error(cause.to_string()))?;
    }
    if roots.is_empty() { Err(error("it holds none".to_owned())) } else { Ok(roots) }
}

/// The certificates that the system trusts, read once.
fn system_roots() -> Result<Arc<RootCertStore>, PrepareError> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    if let Some(roots) = ROOTS.get() {
        return Ok(Arc::clone(roots));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some of a system's certificates may be of a form that is no longer taken.
    let _ = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let causes: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        return Err(PrepareError::NoSystemRoots(causes.join(", ")));
    }
    Ok(Arc::clone(ROOTS.get_or_init(|| Arc::new(roots))))
}

/// A verifier that keeps what it was shown.
#[derive(Debug)]
struct Seen {
    verifier: Arc<dyn ServerCertVerifier>,
    certificate: Mutex<Option<Certificate>>,
}

impl ServerCertVerifier for Seen {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = certificate(end_entity);
        self.verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// `verify = false`: whatever certificate, as long as the backend has its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What a certificate tells; none when it cannot be read.
fn certificate(der: &CertificateDer<'_>) -> Option<Certificate> {
    let parsed = x509_cert::Certificate::from_der(der).ok()?;
    Some(Certificate { not_after: parsed.tbs_certificate().validity().not_after.to_system_time() })
}
