//! Certificates of an authority that is made for a test.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use time::OffsetDateTime;

/// An authority that signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// Its key.
    pub key: String,
}

impl Authority {
    /// A new one, with a new key (ECDSA over P-256).
    pub fn new() -> Result<Self> {
        // Of another name each: else a certificate of one seems to be forged rather than of an unknown authority.
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let name = format!("xdp-lb test authority {}", NUMBER.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = params.self_signed(&key).context("cannot sign the authority's certificate")?;
        Ok(Self { pem: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// The authority's own certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for these DNS names and IP addresses, valid from a day before its end, or before now if that is
    /// earlier, until `not_after`.
    pub fn issue(&self, names: &[&str], not_after: OffsetDateTime) -> Result<Identity> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        self.sign(CertificateParams::new(names).context("not a name for a certificate")?, not_after)
    }

    /// A certificate for a client of this common name.
    pub fn issue_to(&self, name: &str, not_after: OffsetDateTime) -> Result<Identity> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(params, not_after)
    }

    fn sign(&self, mut params: CertificateParams, not_after: OffsetDateTime) -> Result<Identity> {
        params.not_before = not_after.min(OffsetDateTime::now_utc()) - time::Duration::DAY;
        params.not_after = not_after;
        let key = KeyPair::generate().context("cannot make a key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("cannot sign a certificate")?;
        Ok(Identity { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
