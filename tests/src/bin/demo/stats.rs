//! What the balancer says it did: `xdp-lb stats --json`.

use anyhow::{Context as _, Result, bail};
use lb_tests::bed::{Bed, shown};
use serde_json::Value;

/// The balancer's counters.
#[derive(Debug)]
pub(crate) struct Stats(Value);

/// One backend's counters, of all services together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) connections: u64,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

impl Stats {
    /// Runs the command.
    pub(crate) fn ask(bed: &Bed) -> Result<Self> {
        let mut command = bed.xdp_lb()?;
        command.args(["stats", "--json"]);
        let output = command.output().context("cannot start xdp-lb")?;
        if !output.status.success() {
            bail!("{} failed: {}", shown(&command), String::from_utf8_lossy(&output.stderr).trim());
        }
        Self::read(&output.stdout)
    }

    fn read(json: &[u8]) -> Result<Self> {
        Ok(Self(serde_json::from_slice(json).context("xdp-lb stats --json gave no JSON")?))
    }

    /// The sum of a backend's counters over the services.
    pub(crate) fn of(&self, backend: &str) -> Result<Counts> {
        let rows = self.0["backends"].as_array().context("the statistics have no `backends`")?;
        let mut sum = Counts::default();
        let mut found = false;
        for row in rows.iter().filter(|row| row["backend"] == backend) {
            found = true;
            sum.connections += number(row, "connections")?;
            sum.packets += number(row, "packets")?;
            sum.bytes += number(row, "bytes")?;
        }
        if !found {
            bail!("the statistics have no backend {backend}");
        }
        Ok(sum)
    }
}

fn number(row: &Value, name: &str) -> Result<u64> {
    row[name].as_u64().with_context(|| format!("the statistics have no number `{name}` in {row}"))
}
