//! Whole connections: in the balancer's place stands a forwarder in user space that puts what it gets for a VIP into
//! tunnels of the kernel's own sockets, so that no outer header is of our making. The answers go straight to the client.

use std::{
    io::{ErrorKind, Read as _},
    net::{IpAddr, SocketAddr, UdpSocket},
    panic::{self, AssertUnwindSafe},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_tests::{
    bed::{Bed, HttpServer},
    load::Load,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{counted, decap};

const FAMILIES: [bool; 2] = [false, true];
/// `EtherType`s, which a packet socket takes for its protocol in network byte order.
const ETHERTYPE: [u16; 2] = [0x0800, 0x86dd];
/// Protocol numbers of ipip.
const IPIP: [i32; 2] = [4, 41];
/// How often the forwarder looks whether it is to end.
const POLL: Duration = Duration::from_millis(20);
const ECHO_PORT: u16 = 8583;

/// A tunnel from the balancer's namespace to the first backend.
#[derive(Clone, Copy, Debug)]
struct Tunnel {
    /// UDP port of GUE; none: ipip.
    gue: Option<u16>,
    outer_v6: bool,
    inner_v6: bool,
}

impl Tunnel {
    fn all(gue_port: u16) -> impl Iterator<Item = Self> {
        [None, Some(gue_port)].into_iter().flat_map(|gue| {
            FAMILIES
                .into_iter()
                .flat_map(move |outer_v6| FAMILIES.map(|inner_v6| Self { gue, outer_v6, inner_v6 }))
        })
    }

    /// The socket that the inner packets are written to.
    fn open(self, bed: &Bed) -> Result<Socket> {
        let to = bed.backend(0).address(self.outer_v6);
        let domain = if self.outer_v6 { Domain::IPV6 } else { Domain::IPV4 };
        let (kind, protocol) = if self.gue.is_some() {
            (Type::DGRAM, Protocol::UDP)
        } else {
            (Type::RAW, Protocol::from(IPIP[usize::from(self.inner_v6)]))
        };
        let socket = Socket::new(domain, kind, Some(protocol))?;
        socket.connect(&SocketAddr::new(to, self.gue.unwrap_or(0)).into())?;
        Ok(socket)
    }
}

/// Carries packets to VIPs through the tunnel while `work` runs.
fn through<T>(bed: &Bed, tunnel: Tunnel, work: impl FnOnce() -> T) -> T {
    let vip = bed.vip(tunnel.inner_v6).unwrap();
    // The kernel gets the packets too, and without a route it would tell the client so (ICMPv6 "no route"), which ends
    // a connection that is being opened whenever the client hears it between two of its own steps.
    bed.balancer().namespace().ip(&[format!("route replace blackhole {vip}")]).unwrap();
    let (incoming, outgoing) = bed
        .balancer()
        .run_in(|| {
            let protocol = ETHERTYPE[usize::from(tunnel.inner_v6)].to_be();
            let incoming =
                Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(i32::from(protocol))))
                    .context("cannot open a packet socket")?;
            incoming.set_read_timeout(Some(POLL))?;
            Ok((incoming, tunnel.open(bed)?))
        })
        .unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let forwarder = scope.spawn(|| forward(&incoming, &outgoing, vip, &done));
        // Else the scope would wait for the forwarder for ever.
        let result = panic::catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        forwarder.join().unwrap().unwrap();
        result.unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

fn forward(mut incoming: &Socket, outgoing: &Socket, vip: IpAddr, done: &AtomicBool) -> Result<()> {
    let mut packet = [0; 2048];
    while !done.load(Ordering::Relaxed) {
        let length = match incoming.read(&mut packet) {
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        };
        let packet = &packet[..length];
        let to_vip = match vip {
            IpAddr::V4(vip) => packet.get(16..20) == Some(&vip.octets()),
            IpAddr::V6(vip) => packet.get(24..40) == Some(&vip.octets()),
        };
        if to_vip {
            // A kernel that knows no tunnel answers with an ICMP error, which the next write is told. What is lost shows
            // in the connections.
            let _ = outgoing.send(packet);
        }
    }
    Ok(())
}

fn connections(bed: &Bed, v6: bool, number: usize) {
    let target = SocketAddr::new(bed.vip(v6).unwrap(), 80);
    Load::new(target, number).answers(["backend-1"]).run(bed.client()).unwrap().require_all().unwrap();
}

/// A datagram each way, between the addresses that the client used.
fn echoes(bed: &Bed, v6: bool) {
    let vip = SocketAddr::new(bed.vip(v6).unwrap(), ECHO_PORT);
    let server = bed.backend(0).run_in(|| Ok(UdpSocket::bind(vip)?)).unwrap();
    let client = bed.client().run_in(|| Ok(UdpSocket::bind((bed.client().address(v6), 0))?)).unwrap();
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    }
    let mut buffer = [0; 1500];
    for length in [0, 1, 512, 1200] {
        client.send_to(&vec![0x5a; length], vip).unwrap();
        let (got, from) = server.recv_from(&mut buffer).unwrap();
        assert_eq!((got, from), (length, client.local_addr().unwrap()), "the client's own address");
        server.send_to(&buffer[..got], from).unwrap();
        assert_eq!(client.recv_from(&mut buffer).unwrap(), (length, vip));
    }
}

fn both_vips(bed: &Bed) -> Vec<String> {
    bed.vips().iter().map(ToString::to_string).collect()
}

fn set_up(bed: &Bed, options: &[&str]) -> serde_json::Value {
    let vips = both_vips(bed);
    let mut arguments = vec!["--vip"];
    arguments.extend(vips.iter().map(String::as_str));
    decap(bed, &[&arguments, options].concat())
}

#[test]
fn connections_through_every_tunnel() {
    let bed = Bed::builder().build().unwrap();
    let _server = HttpServer::start(bed.backend(0), 80, "backend-1").unwrap();
    // The driver counts for the native mode alone.
    bed.watch_decap(bed.backend(0), &bed.pin_dir()).unwrap();
    for (mode, gue_port) in [("native", 6080), ("generic", 6081)] {
        let answer = set_up(&bed, &["--mode", mode, "--gue-port", &gue_port.to_string()]);
        assert_eq!((&answer["mode"], &answer["gue_port"]), (&mode.into(), &gue_port.into()));
        assert_eq!(answer["notes"], serde_json::json!([]));
        for tunnel in Tunnel::all(gue_port) {
            let reason = if tunnel.gue.is_some() { "gue" } else { "ipip" };
            let before = counted(&bed, reason);
            through(&bed, tunnel, || {
                connections(&bed, tunnel.inner_v6, 50);
                echoes(&bed, tunnel.inner_v6);
            });
            // SYN, acknowledgement, request and the end at least, for each connection.
            let packets = counted(&bed, reason) - before;
            assert!(packets >= 50 * 4 + 4, "{mode} {tunnel:?}: {packets} packets");
        }
        let answer = decap(&bed, &[]);
        let rows = answer["verdicts"].as_array().unwrap();
        for row in rows.iter().filter(|row| row["action"] == "drop") {
            assert_eq!(row["packets"], 0, "{row}");
        }
        if mode == "native" {
            bed.require_every_packet_counted().unwrap();
        }
        decap(&bed, &["--off"]);
    }
}

/// What the test above shows is decap's work: without it the same tunnels end nowhere.
#[test]
fn without_decap_no_tunnel_is_answered() {
    let bed = Bed::builder().build().unwrap();
    let _server = HttpServer::start(bed.backend(0), 80, "backend-1").unwrap();
    for tunnel in Tunnel::all(6080) {
        let target = SocketAddr::new(bed.vip(tunnel.inner_v6).unwrap(), 80);
        let load = Load::new(target, 1).timeout(Duration::from_millis(300));
        let report = through(&bed, tunnel, || load.run(bed.client()).unwrap());
        assert_eq!((report.answered(), report.failed), (0, 1), "{tunnel:?}");
    }
}

/// A change of the VIPs is seen by no packet of the one that stays.
#[test]
fn changing_the_vips_leaves_no_gap() {
    let bed = Bed::builder().build().unwrap();
    let _server = HttpServer::start(bed.backend(0), 80, "backend-1").unwrap();
    let vip = bed.vip(false).unwrap().to_string();
    bed.watch_decap(bed.backend(0), &bed.pin_dir()).unwrap();
    decap(&bed, &["--vip", &vip, "--gue-port", "7000"]);
    let tunnel = Tunnel { gue: Some(7000), outer_v6: false, inner_v6: false };
    through(&bed, tunnel, || {
        thread::scope(|scope| {
            let changes = scope.spawn(|| {
                for round in 0..10 {
                    let other = format!("192.0.2.{}", 20 + round % 2);
                    // Without --gue-port it stays as it is.
                    let answer = decap(&bed, &["--vip", &vip, &other]);
                    assert_eq!(answer["gue_port"], 7000);
                    assert_eq!(answer["vips"], serde_json::json!([vip, other]));
                    assert_eq!(
                        answer["notes"].as_array().unwrap().len(),
                        1,
                        "{other} is not on this machine"
                    );
                }
            });
            while !changes.is_finished() {
                connections(&bed, false, 50);
            }
            changes.join().unwrap();
        });
    });
    assert_eq!(counted(&bed, "not-vip"), 0);
    assert_eq!(counted(&bed, "not-own"), 0);
    assert!(counted(&bed, "gue") >= 200);
}
