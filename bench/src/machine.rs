//! The machine that the figures are of.

use std::fs;

use serde::Serialize;

/// What a reader of the figures has to know.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Processors.
    pub processors: usize,
    /// The kernel's release.
    pub kernel: String,
    /// What it does against speculation: the calls and returns that it makes slower are part of what a packet costs.
    pub mitigation: String,
    /// The load over the last minute before the run.
    pub load: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        Self {
            processor: field("model name").unwrap_or_default(),
            processors: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            mitigation: text("/sys/devices/system/cpu/vulnerabilities/spectre_v2").trim().to_owned(),
            load: text("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// Major and minor number of the kernel's release.
    #[must_use]
    pub fn series(&self) -> String {
        self.kernel.split(['.', '-']).take(2).collect::<Vec<_>>().join(".")
    }
}
