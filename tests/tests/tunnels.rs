//! ipip and gue from end to end: the balancer puts packets into tunnels, `xdp-lb decap` takes them out on the backends,
//! and the answers go straight to the client.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{
    collections::BTreeSet,
    io::{ErrorKind, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::{
    ask::{attach_decap, counted, decapsulated, start_resolved, text},
    bed::{Bed, Host, Nginx},
    config::{Service, config},
    transfer::{Sink, download, upload},
    wait::wait_for,
};
use socket2::{Domain, Protocol, Socket, Type};

const FAMILIES: [(&str, bool); 2] = [("web", false), ("web6", true)];
const PORT: u16 = 80;
const SINK: u16 = 9000;
/// Bytes of a transfer.
const MANY: usize = 100 << 20;
/// Bytes of a transfer that has to learn what fits.
const SOME: usize = 12 << 20;
/// `EtherType`s of IPv4 and IPv6, as a packet socket takes them.
const ETHERTYPE: [u16; 2] = [0x0800, 0x86dd];
/// Protocol numbers of TCP, UDP and ipip.
const CARRIERS: [u8; 4] = [6, 17, 4, 41];

/// A service per family, each with the first backend by its IPv4 address and the second by its IPv6 address.
fn services(bed: &Bed, forwarding: &'static str, port: u16) -> Result<Vec<Service>> {
    let service = |(name, v6)| {
        let service = Service::tcp(name, SocketAddr::new(bed.vip(v6)?, port)).forwarding(forwarding);
        let backends = bed.backends().iter().zip([false, true]);
        Ok(backends.fold(service, |service, (host, outer_v6)| {
            service.backend(host.role(), host.address(outer_v6), 1)
        }))
    };
    FAMILIES.into_iter().map(service).collect()
}

/// Answers of 40 connections: status and the name of the backend, each on a line.
fn curl(bed: &Bed, v6: bool) -> Result<String> {
    let mut curl = bed.client().command("timeout");
    // Curl's own -m is for each connection.
    curl.args([
        "40",
        "curl",
        "-sS",
        "-m",
        "30",
        "-H",
        "Connection: close",
        "-w",
        "%{http_code} %{remote_ip}\n",
    ]);
    curl.arg("--resolve").arg(format!("vip.example:{PORT}:{}", bed.vip(v6)?));
    text(curl.arg(format!("http://vip.example:{PORT}/[1-40]")))
}

/// Where packets come from that reach a host with TCP, UDP or a tunnel in them, while `work` runs.
fn sources<T>(host: &Host, v6: bool, work: impl FnOnce() -> T) -> Result<(BTreeSet<IpAddr>, T)> {
    let protocol = i32::from(ETHERTYPE[usize::from(v6)].to_be());
    let mut socket = host.run_in(|| {
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(protocol)))?;
        socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        Ok(socket)
    })?;
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watching = scope.spawn(|| -> Result<BTreeSet<IpAddr>> {
            let (mut seen, mut packet) = (BTreeSet::new(), [0; 64]);
            loop {
                match socket.read(&mut packet) {
                    Ok(_) => seen.extend(source(&packet, v6)),
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        if done.load(Ordering::SeqCst) {
                            return Ok(seen);
                        }
                    }
                    Err(error) => return Err(error).context("cannot watch"),
                }
            }
        });
        let ends = Ends(&done);
        let result = work();
        drop(ends);
        Ok((watching.join().unwrap()?, result))
    })
}

/// Ends the watch, also while a panic unwinds.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn source(packet: &[u8; 64], v6: bool) -> Option<IpAddr> {
    let (protocol, address): (u8, IpAddr) = if v6 {
        (packet[6], Ipv6Addr::from(<[u8; 16]>::try_from(&packet[8..24]).ok()?).into())
    } else {
        (packet[9], Ipv4Addr::from(<[u8; 4]>::try_from(&packet[12..16]).ok()?).into())
    };
    CARRIERS.contains(&protocol).then_some(address)
}

/// Both families of clients reach backends of both families, and see the virtual address only.
fn curl_through(forwarding: &'static str) {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers: Vec<Nginx> = bed
        .backends()
        .iter()
        .map(|host| Nginx::start(host, &format!("{}\n", host.role())).unwrap())
        .collect();
    bed.backends().iter().for_each(|host| attach_decap(&bed, host).unwrap());
    let _balancer = start_resolved(&bed, &config(&bed, &services(&bed, forwarding, PORT).unwrap())).unwrap();
    for (_, v6) in FAMILIES {
        let vip = bed.vip(v6).unwrap();
        let (seen, said) = sources(bed.client(), v6, || curl(&bed, v6).unwrap()).unwrap();
        assert_eq!(seen, BTreeSet::from([vip]), "the client sees the virtual address only");
        let mut lines: Vec<_> = said.lines().collect();
        lines.sort_unstable();
        let right = format!("200 {vip}");
        let (names, status): (Vec<&str>, Vec<&str>) =
            lines.into_iter().partition(|line| line.starts_with("backend"));
        assert_eq!(status, vec![right.as_str(); 40], "{said}");
        // Forty connections miss one of two backends once in 5 * 10^11 runs.
        assert_eq!(names.len(), 40, "{said}");
        assert_eq!(BTreeSet::from_iter(names), BTreeSet::from(["backend-1", "backend-2"]));
    }
    for host in bed.backends() {
        let taken_out = decapsulated(&bed, host, forwarding).unwrap();
        assert!(taken_out > 0, "{} took nothing out", host.role());
    }
    all_taken_out(&bed, forwarding);
}

/// Waits until the backends have taken out each packet that the balancer put into a tunnel; tells how many.
fn all_taken_out(bed: &Bed, forwarding: &str) -> u64 {
    let patience = Duration::from_secs(10);
    wait_for(patience, "each forwarded packet to be taken out", || {
        let counts = bed.backends().iter().map(|host| decapsulated(bed, host, forwarding));
        let taken_out = counts.sum::<Result<u64>>()?;
        Ok((counted(bed, "forwarded")? == taken_out).then_some(taken_out))
    })
    .unwrap()
}

#[test]
fn curl_reaches_nginx_through_ipip_of_every_family() {
    curl_through("ipip");
}

#[test]
fn curl_reaches_nginx_through_gue_of_every_family() {
    curl_through("gue");
}

/// A hundred megabytes each way, whole; a packet that the tunnel has no room for on the way up is told of.
fn transfer_through(forwarding: &'static str) {
    let bed = Bed::builder().build().unwrap();
    let _sink = Sink::start(bed.backend(0), SINK).unwrap();
    attach_decap(&bed, bed.backend(0)).unwrap();
    let _balancer = start_resolved(&bed, &config(&bed, &services(&bed, forwarding, SINK).unwrap())).unwrap();
    let target = SocketAddr::new(bed.vip(false).unwrap(), SINK);
    download(bed.client(), target, MANY).unwrap();
    assert_eq!(counted(&bed, "packet-too-big").unwrap(), 0, "nothing that the client sent was large");
    upload(bed.client(), target, MANY).unwrap();
    let told = counted(&bed, "packet-too-big").unwrap();
    assert!(told > 0, "full frames do not fit into a tunnel on a link of 1500 bytes");
    let taken_out = all_taken_out(&bed, forwarding);
    assert!(taken_out > MANY as u64 / 1500, "{taken_out} packets");
}

#[test]
fn a_hundred_megabytes_each_way_through_ipip() {
    transfer_through("ipip");
}

#[test]
fn a_hundred_megabytes_each_way_through_gue() {
    transfer_through("gue");
}

/// What the client's kernel says of its way to the virtual address.
fn route(bed: &Bed, v6: bool) -> Result<String> {
    text(bed.client().command("ip").args(["route", "get"]).arg(bed.vip(v6)?.to_string()))
}

/// Bytes that an outer header takes: of IPv4 and of IPv6.
const OUTER: [u16; 2] = [20, 40];
/// MTU of the way from the balancer to the backends.
const NARROW: u16 = 1400;

/// The way to the backends is narrower than the client's link: the balancer tells the client, which sends less.
#[test]
fn a_narrow_way_to_the_backend_is_told_to_the_client() {
    for outer_v6 in [false, true] {
        let bed = Bed::builder().build().unwrap();
        let backend = bed.backend(0);
        let _sink = Sink::start(backend, SINK).unwrap();
        attach_decap(&bed, backend).unwrap();
        let (to, width) = (backend.address(outer_v6), if outer_v6 { 128 } else { 32 });
        bed.balancer().namespace().ip(&[format!("route add {to}/{width} dev eth0 mtu {NARROW}")]).unwrap();
        let services = FAMILIES.map(|(name, v6)| {
            let vip = SocketAddr::new(bed.vip(v6).unwrap(), SINK);
            Service::tcp(name, vip).forwarding("ipip").backend(backend.role(), to, 1)
        });
        let _balancer = start_resolved(&bed, &config(&bed, &services)).unwrap();
        let fits = format!(" mtu {} ", NARROW - OUTER[usize::from(outer_v6)]);
        for (_, v6) in FAMILIES {
            let told = counted(&bed, "packet-too-big").unwrap();
            assert!(!route(&bed, v6).unwrap().contains(" mtu "), "the client knows nothing yet");
            upload(bed.client(), SocketAddr::new(bed.vip(v6).unwrap(), SINK), SOME).unwrap();
            let known = route(&bed, v6).unwrap();
            assert!(known.contains(&fits), "no{fits}in {known}");
            assert!(counted(&bed, "packet-too-big").unwrap() > told);
        }
        assert_eq!(counted(&bed, "too-big").unwrap(), 0, "each was told");
        let frames = all_taken_out(&bed, "ipip");
        assert!(frames > 2 * SOME as u64 / u64::from(NARROW), "{frames} packets");
    }
}
