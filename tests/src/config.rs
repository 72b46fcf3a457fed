//! The balancer's configuration, written for a bed.

use std::{
    fmt::{self, Display},
    net::{IpAddr, SocketAddr},
};

use crate::bed::{Bed, Host};

/// A service to be written as a `[[service]]` table.
#[derive(Clone, Debug)]
pub struct Service {
    name: String,
    address: SocketAddr,
    protocol: &'static str,
    forwarding: &'static str,
    backends: Vec<(String, IpAddr, u32)>,
}

impl Service {
    /// A TCP service without backends.
    #[must_use]
    pub fn tcp(name: &str, address: SocketAddr) -> Self {
        let backends = Vec::new();
        Self { name: name.to_owned(), address, protocol: "tcp", forwarding: "l2-dsr", backends }
    }

    /// A UDP service without backends.
    #[must_use]
    pub fn udp(name: &str, address: SocketAddr) -> Self {
        Self { protocol: "udp", ..Self::tcp(name, address) }
    }

    /// Takes another forwarding mode than `l2-dsr`.
    #[must_use]
    pub fn forwarding(self, forwarding: &'static str) -> Self {
        Self { forwarding, ..self }
    }

    /// Adds a backend.
    #[must_use]
    pub fn backend(mut self, name: &str, address: IpAddr, weight: u32) -> Self {
        self.backends.push((name.to_owned(), address, weight));
        self
    }

    /// Adds hosts as backends, named after their roles, at their addresses of the service's family.
    #[must_use]
    pub fn hosts(self, hosts: &[Host], weights: &[u32]) -> Self {
        let v6 = self.address.is_ipv6();
        hosts
            .iter()
            .zip(weights)
            .fold(self, |service, (host, &weight)| service.backend(host.role(), host.address(v6), weight))
    }
}

impl Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, protocol, forwarding, backends } = self;
        write!(
            f,
            "\n[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n\
             forwarding = \"{forwarding}\"\nalgorithm = \"hash\"\n"
        )?;
        for (name, address, weight) in backends {
            write!(
                f,
                "\n[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n"
            )?;
        }
        Ok(())
    }
}

/// As [`config`], with more keys in the `[daemon]` table.
#[must_use]
pub fn config_with(bed: &Bed, daemon: &str, services: &[Service]) -> String {
    services.iter().fold(bed.daemon_table() + daemon + "\n", |text, service| text + &service.to_string())
}

/// A whole configuration: the bed's `[daemon]` table and the services.
#[must_use]
pub fn config(bed: &Bed, services: &[Service]) -> String {
    services.iter().fold(bed.daemon_table(), |text, service| text + &service.to_string())
}
