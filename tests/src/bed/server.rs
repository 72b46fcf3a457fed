//! Servers from the distribution, on a backend.

use std::{fmt::Write as _, fs, net::TcpStream, time::Duration};

use anyhow::{Context as _, Result};

use super::{host::Host, process::Process};
use crate::wait::wait_for;

/// nginx on one host. Dropping it ends it.
#[derive(Debug)]
pub struct Nginx {
    process: Process,
}

impl Nginx {
    /// Starts nginx on port 80 of the host, over IPv4 and IPv6, where it answers every request with `body`.
    ///
    /// It keeps all of its files in the bed's directory, and accepts connections when this returns.
    pub fn start(host: &Host, body: &str) -> Result<Self> {
        Self::start_with(host, body, "")
    }

    /// As [`Nginx::start`], and the same over TLS on port 443, with this certificate and key in PEM.
    pub fn start_tls(host: &Host, body: &str, certificate: &str, key: &str) -> Result<Self> {
        let (certificate_file, key_file) = (host.file("certificate.pem"), host.file("key.pem"));
        fs::write(&certificate_file, certificate).context("cannot write the certificate")?;
        fs::write(&key_file, key).context("cannot write the key")?;
        let lines = format!(
            "    listen [::]:443 ssl ipv6only=off;\n    ssl_protocols TLSv1.2 TLSv1.3;\n    ssl_certificate {};\n    ssl_certificate_key {};\n",
            certificate_file.display(),
            key_file.display()
        );
        Self::start_with(host, body, &lines)
    }

    /// With more lines in the `server` block.
    fn start_with(host: &Host, body: &str, lines: &str) -> Result<Self> {
        let directory = host.file("nginx");
        fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let config = directory.join("nginx.conf");
        fs::write(&config, configuration(body, lines))
            .with_context(|| format!("cannot write {}", config.display()))?;
        let mut command = host.command("nginx");
        command.arg("-p").arg(&directory).arg("-e").arg("error.log").arg("-c").arg(&config);
        let mut process = Process::spawn(&mut command, &directory.join("output.log"))?;
        wait_for(Duration::from_secs(10), &format!("nginx on {}", host.role()), || {
            process.must_run().context("is nginx installed? (cargo xtask setup)")?;
            Ok(accepts(host, 80).then_some(()))
        })?;
        Ok(Self { process })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Whether something on the host accepts connections to its own port.
fn accepts(host: &Host, port: u16) -> bool {
    host.run_in(|| Ok(TcpStream::connect((host.address_v4(), port))?)).is_ok()
}

/// One process, so that ending it ends all of it, with relative paths, which are relative to the prefix.
fn configuration(body: &str, lines: &str) -> String {
    let mut text = String::from(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nevents { worker_connections 4096; }\n\
         http {\n  access_log off;\n  default_type text/plain;\n",
    );
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "  {kind}_temp_path {kind}_temp;");
    }
    let quoted = body.replace('\\', "\\\\").replace('"', "\\\"");
    let _ = writeln!(
        text,
        "  server {{\n    listen [::]:80 ipv6only=off;\n{lines}    location / {{ return 200 \"{quoted}\"; }}\n  }}\n}}"
    );
    text
}
