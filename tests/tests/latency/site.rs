//! A service whose weights follow latency.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use lb_tests::{
    ask::{json, number, row, start},
    bed::{Bed, Process},
    config::{Service, config_with},
    wait::wait_for,
};
use serde_json::Value;

/// Long enough for a busy machine.
pub const SOON: Duration = Duration::from_mins(1);
/// The service.
pub const SERVICE: &str = "web";
/// The law in a hurry, so that a test need not wait for minutes.
pub const HASTY: &str =
    "period = \"200ms\", smoothing = \"300ms\", gain = 0.5, min_samples = 3, churn = 1, churn_urgent = 1";

/// A bed with a balancer.
pub struct Site {
    pub bed: Bed,
    pub balancer: Process,
}

/// A service on a port of the VIP that checks a port of its backends.
pub fn service(bed: &Bed, name: &str, port: u16, health: &str, weights: &str) -> Result<String> {
    let backends = bed.backends();
    let all = vec![100; backends.len()];
    let service = Service::tcp(name, SocketAddr::new(bed.vip(false)?, port)).hosts(backends, &all);
    let keys = format!(
        "algorithm = \"hash\"\nslots = 1024\nslow_start = \"0s\"\nhealth = {{ type = \"http\", grace = \"1m\", {health} }}\nweights = {{ {weights} }}"
    );
    Ok(service.to_string().replace("algorithm = \"hash\"", &keys))
}

/// The whole configuration.
pub fn config(bed: &Bed, services: &str) -> String {
    config_with(bed, "metrics = \"127.0.0.1:9477\"\nlearn = \"4s\"", &[]) + services
}

impl Site {
    pub fn start(bed: Bed, services: &str) -> Result<Self> {
        let (balancer, _) = start(&bed, &config(&bed, services))?;
        Ok(Self { bed, balancer })
    }

    /// The row of a backend, as the daemon tells it.
    pub fn row(&self, backend: &str) -> Result<Value> {
        let rows = json(&self.bed, &["backend", "list", SERVICE])?;
        Ok(row(&rows, &[("backend", backend)])?.clone())
    }

    /// The row of the service, as the daemon tells it.
    pub fn service(&self) -> Result<Value> {
        Ok(row(&json(&self.bed, &["service", "list"])?, &[("service", SERVICE)])?.clone())
    }

    /// Waits until a backend's row is so, and gives it.
    pub fn wait_for(&self, backend: &str, what: &str, so: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let waited = wait_for(SOON, &format!("{backend}: {what}"), || {
            last = self.row(backend)?;
            Ok(so(&last).then(|| last.clone()))
        });
        waited.with_context(|| format!("{last}\n{}", self.balancer.log()))
    }

    pub fn slots(&self, backend: &str) -> Result<u64> {
        number(&self.row(backend)?, "slots")
    }
}

/// The weight in force.
pub fn force(row: &Value) -> f64 {
    row["effective_weight"].as_f64().unwrap_or_default()
}
