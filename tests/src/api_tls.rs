//! The balancer's API over TLS, with the certificates of a test.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use time::{Duration, OffsetDateTime};

use crate::{
    bed::{Bed, Host},
    certificate::{Authority, Identity},
};

/// Where it is served on the balancer's address.
const PORT: u16 = 9478;

/// The authorities of both sides, with their files in the bed's directory.
#[derive(Debug)]
pub struct ApiTls {
    directory: PathBuf,
    address: SocketAddr,
    servers: Authority,
    clients: Authority,
}

impl ApiTls {
    /// Authorities, and a certificate for the balancer.
    pub fn new(bed: &Bed) -> Result<Self> {
        let directory = bed.directory();
        let address = SocketAddr::new(bed.balancer().address(false), PORT);
        let this = Self { directory, address, servers: Authority::new()?, clients: Authority::new()? };
        this.write("server-ca.pem", this.servers.pem())?;
        this.write("client-ca.pem", this.clients.pem())?;
        this.renew()?;
        Ok(this)
    }

    /// Gives the balancer another certificate and key.
    pub fn renew(&self) -> Result<()> {
        let server = self.servers.issue(&[&self.address.ip().to_string()], tomorrow())?;
        self.write("api.key", &server.key)?;
        self.write("api.pem", &server.certificate)
    }

    /// The key of `[daemon]`, in one line.
    #[must_use]
    pub fn key(&self) -> String {
        let file = |name: &str| self.file(name).display().to_string();
        format!(
            "api_tls = {{ address = \"{}\", certificate = \"{}\", key = \"{}\", client_ca = \"{}\" }}",
            self.address,
            file("api.pem"),
            file("api.key"),
            file("client-ca.pem"),
        )
    }

    /// Where it is served.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// A file of the test's.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A client's certificate and key, in files `NAME.pem` and `NAME.key`.
    pub fn client(&self, name: &str) -> Result<()> {
        self.keep(name, &self.clients.issue_to(name, tomorrow())?)
    }

    /// One of an authority that the balancer does not know.
    pub fn stranger(&self, name: &str) -> Result<()> {
        self.keep(name, &Authority::new()?.issue_to(name, tomorrow())?)
    }

    /// curl on a host, which trusts the balancer's authority and shows the certificate of `client`.
    #[must_use]
    pub fn curl(&self, host: &Host, client: Option<&str>) -> Command {
        let mut curl = host.command("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(self.file("server-ca.pem"));
        if let Some(client) = client {
            curl.arg("--cert").arg(self.file(&format!("{client}.pem")));
            curl.arg("--key").arg(self.file(&format!("{client}.key")));
        }
        curl
    }

    fn keep(&self, name: &str, identity: &Identity) -> Result<()> {
        self.write(&format!("{name}.key"), &identity.key)?;
        self.write(&format!("{name}.pem"), &identity.certificate)
    }

    /// Moved into its place, so that nobody reads half of it.
    fn write(&self, name: &str, text: &str) -> Result<()> {
        let (new, file) = (self.file(&format!("{name}.new")), self.file(name));
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }
}

fn tomorrow() -> OffsetDateTime {
    OffsetDateTime::now_utc() + Duration::DAY
}
