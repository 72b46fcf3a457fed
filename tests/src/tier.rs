//! Servers of the distribution that stand behind a balancer: each one process on a backend, with no file outside the
//! bed's directory, ended with its guard.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    bed::{Host, Process},
    wait::wait_for,
};

/// How long a server may take until it accepts connections; varnish compiles its configuration.
const READY: Duration = Duration::from_secs(30);

/// redis on all addresses of the host, without a file.
pub fn redis(host: &Host, port: u16) -> Result<Process> {
    let mut command = host.command("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "0.0.0.0", "::", "--protected-mode", "no"]);
    command.args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
    command.arg("--dir").arg(directory(host, "redis")?);
    serve(host, &mut command, port)
}

/// memcached over TCP and UDP, on these addresses only: over UDP it answers from the address that it is bound to.
pub fn memcached(host: &Host, port: u16, addresses: &[IpAddr]) -> Result<Process> {
    let port_text = port.to_string();
    let addresses: Vec<_> = addresses.iter().chain([&host.address(false)]).map(ToString::to_string).collect();
    let mut command = host.command("memcached");
    command.args(["-u", "nobody", "-m", "16", "-t", "1", "-p", &port_text, "-U", &port_text]);
    command.args(["-l", &addresses.join(",")]);
    serve(host, &mut command, port)
}

/// haproxy in front of HTTP servers; it tells its own name in the header `x-tier`.
pub fn haproxy(host: &Host, port: u16, servers: &[SocketAddr]) -> Result<Process> {
    let directory = directory(host, "haproxy")?;
    let mut text = format!(
        "global\n  maxconn 200\n  nbthread 1\n\
         defaults\n  mode http\n  timeout connect 10s\n  timeout client 30s\n  timeout server 30s\n\
         frontend http\n  bind 0.0.0.0:{port}\n  bind :::{port} v6only\n  default_backend servers\n\
         backend servers\n  balance roundrobin\n  http-response set-header x-tier {}\n",
        host.role()
    );
    for (number, server) in servers.iter().enumerate() {
        let _ = writeln!(text, "  server server-{number} {server}");
    }
    let file = directory.join("haproxy.cfg");
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
    serve(host, host.command("haproxy").arg("-db").arg("-f").arg(&file), port)
}

/// varnish in front of an HTTP server. It tells of itself in the header `via`.
pub fn varnish(host: &Host, port: u16, server: SocketAddr) -> Result<Process> {
    let directory = directory(host, "varnish")?;
    let mut command = host.command("varnishd");
    command.arg("-n").arg(&directory).args(["-F", "-j", "none", "-s", "malloc,16m"]);
    command.args(["-p", "thread_pools=1", "-p", "thread_pool_min=10"]);
    command.args(["-a", &format!(":{port}"), "-b", &server.to_string()]);
    serve(host, &mut command, port)
}

fn directory(host: &Host, name: &str) -> Result<std::path::PathBuf> {
    let directory = host.file(name);
    fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// Starts a server and waits until it accepts connections.
fn serve(host: &Host, command: &mut Command, port: u16) -> Result<Process> {
    let mut process = Process::spawn(command, &host.file("server.log"))?;
    wait_for(READY, &format!("port {port} of {}", host.role()), || {
        process.must_run().context("is it installed? (cargo xtask setup)")?;
        let open = host.run_in(|| Ok(TcpStream::connect((host.address_v4(), port))?));
        Ok(open.is_ok().then_some(()))
    })?;
    Ok(process)
}
