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
    backends: Vec<(String, IpAddr, u32)>,
}

impl Service {
    /// A TCP service without backends.
    #[must_use]
    pub fn tcp(name: &str, address: SocketAddr) -> Self {
        Self { name: name.to_owned(), address, protocol: "tcp", backends: Vec::new() }
    }

    /// A UDP service without backends.
    #[must_use]
    pub fn udp(name: &str, address: SocketAddr) -> Self {
        Self { protocol: "udp", ..Self::tcp(name, address) }
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
        let Self { name, address, protocol, backends } = self;
        write!(
            f,
            "\n[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"{protocol}\"\n\
             forwarding = \"l2-dsr\"\nalgorithm = \"hash\"\n"
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

/// A whole configuration: the bed's `[daemon]` table and the services.
#[must_use]
pub fn config(bed: &Bed, services: &[Service]) -> String {
    services.iter().fold(bed.daemon_table(), |text, service| text + &service.to_string())
}
