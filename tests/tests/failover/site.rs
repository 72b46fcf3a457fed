//! A service whose backends are checked by the daemon.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use lb_tests::{
    ask::{json, number, row, start},
    bed::{Bed, Nginx, Process},
    config::{Service, config_with},
    wait::wait_for,
};
use serde_json::Value;

/// For what should happen within a second or so; long enough for a busy machine.
pub const SOON: Duration = Duration::from_secs(40);
/// The service.
pub const SERVICE: &str = "web";
/// Checks of nginx that do not keep a test waiting.
pub const QUICK: &str =
    "type = \"http\", port = 80, interval = \"250ms\", timeout = \"250ms\", rise = 2, fall = 3";

/// A bed with a balancer that checks the backends.
pub struct Site {
    pub bed: Bed,
    pub port: u16,
    pub balancer: Process,
}

impl Site {
    /// A service of all backends on this port of the VIP, with these keys of `[service.health]` and of the service.
    pub fn start(bed: Bed, port: u16, health: &str, keys: &str) -> Result<Self> {
        let text = text(&bed, port, bed.backends().len(), health, keys)?;
        let (balancer, _) = start(&bed, &text)?;
        Ok(Self { bed, port, balancer })
    }

    /// The VIP of the service.
    pub fn vip(&self) -> Result<SocketAddr> {
        Ok(SocketAddr::new(self.bed.vip(false)?, self.port))
    }

    /// The row of a backend, as the daemon tells it.
    pub fn row(&self, backend: &str) -> Result<Value> {
        let rows = json(&self.bed, &["backend", "list", SERVICE])?;
        Ok(row(&rows, &[("backend", backend)])?.clone())
    }

    /// Waits until a backend is in this state, and gives its row.
    pub fn wait_for(&self, backend: &str, state: &str) -> Result<Value> {
        let mut last = Value::Null;
        let waited = wait_for(SOON, &format!("{backend} to be {state}"), || {
            last = self.row(backend)?;
            Ok((last["state"] == state).then(|| last.clone()))
        });
        waited.with_context(|| format!("{last}\n{}", self.balancer.log()))
    }

    /// Waits until a check of every backend has passed, so that what fails then has worked before.
    pub fn wait_until_all_pass(&self) -> Result<()> {
        for host in self.bed.backends() {
            wait_for(SOON, &format!("a check of {} to pass", host.role()), || {
                let row = self.row(host.role())?;
                Ok((row["health"]["result"] == "passed" && row["state"] == "up").then_some(()))
            })?;
        }
        Ok(())
    }

    /// Slots of a backend.
    pub fn slots(&self, backend: &str) -> Result<u64> {
        number(&self.row(backend)?, "slots")
    }

    /// The row of the service, as the daemon tells it.
    pub fn service(&self) -> Result<Value> {
        Ok(row(&json(&self.bed, &["service", "list"])?, &[("service", SERVICE)])?.clone())
    }
}

/// The configuration of the first backends of a bed.
pub fn text(bed: &Bed, port: u16, backends: usize, health: &str, keys: &str) -> Result<String> {
    let hosts = &bed.backends()[..backends];
    let weights = vec![100; backends];
    let service = Service::tcp(SERVICE, SocketAddr::new(bed.vip(false)?, port)).hosts(hosts, &weights);
    let text = config_with(bed, "metrics = \"127.0.0.1:9477\"\nlearn = \"4s\"", &[service]);
    let keys = format!("algorithm = \"hash\"\nslots = 256\n{keys}\nhealth = {{ {health} }}");
    Ok(text.replace("algorithm = \"hash\"", &keys))
}

/// nginx on every backend, for checks on port 80.
pub fn servers(bed: &Bed) -> Result<Vec<Option<Nginx>>> {
    bed.backends().iter().map(|host| Nginx::start(host, host.role()).map(Some)).collect()
}
