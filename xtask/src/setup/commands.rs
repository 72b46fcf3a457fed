//! The commands that the tests and the demonstration start.
//!
//! The packages of nginx, redis, memcached, haproxy, varnish and prometheus also start a system service, unless the machine's
//! `policy-rc.d` forbids it; `systemctl disable --now NAME` ends one that is not wanted.

use std::path::Path;

use anyhow::Result;

use super::apt;
use crate::{progress::Progress, workspace::Workspace};

/// Each with Debian's package for it.
const COMMANDS: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("bpftool", "bpftool"),
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("ping", "iputils-ping"),
    ("redis-server", "redis-server"),
    ("redis-cli", "redis-tools"),
    ("memcached", "memcached"),
    ("haproxy", "haproxy"),
    ("varnishd", "varnish"),
    ("nft", "nftables"),
    ("promtool", "prometheus"),
];

/// A file that no command tells of, with its package: nginx's module for TCP.
const STREAM: (&str, &str) = ("/usr/lib/nginx/modules/ngx_stream_module.so", "libnginx-mod-stream");

/// Their names when all are there.
pub fn describe(workspace: &Workspace) -> Option<String> {
    let all = || COMMANDS.iter().map(|(command, _)| *command).collect::<Vec<_>>().join(", ");
    missing(workspace).is_empty().then(all)
}

/// Installs the packages of those that are missing.
pub fn install(workspace: &Workspace, progress: &Progress) -> Result<()> {
    apt::install(&missing(workspace), progress)
}

fn missing(workspace: &Workspace) -> Vec<&'static str> {
    let absent = COMMANDS.iter().filter(|(command, _)| workspace.which(command).is_none());
    let module = Some(STREAM.1).filter(|_| !Path::new(STREAM.0).exists());
    absent.map(|(_, package)| *package).chain(module).collect()
}
