//! A server that accepts connections and says nothing.

use std::net::{Ipv6Addr, TcpListener};

use anyhow::{Context as _, Result};

use super::host::Host;

/// A port whose connections are established by the kernel and never served. Dropping it closes the port.
#[derive(Debug)]
pub struct Silent {
    _listener: TcpListener,
}

impl Silent {
    /// On a port of the host, over IPv4 and IPv6.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        let listener = host.run_in(|| {
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .with_context(|| format!("cannot listen on port {port} of {}", host.role()))
        })?;
        Ok(Self { _listener: listener })
    }
}
