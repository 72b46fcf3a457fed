//! nat end to end: real clients and servers, the backends behind the balancer as their router.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    thread,
    time::Duration,
};

use lb_tests::{
    bed::{Bed, Host, HttpServer, INTERFACE},
    load::Load,
};
use serde_json::Value;

const FAMILIES: [bool; 2] = [false, true];
/// Port of the services; their backends listen on [`BACKEND_PORT`].
const PORT: u16 = 80;
const BACKEND_PORT: u16 = 8080;
const PATIENCE: Duration = Duration::from_secs(10);
const MEGABYTES: usize = 100;

/// Backends without VIPs, which reach the client by way of the balancer alone.
fn bed(backends: u8) -> Bed {
    let bed = Bed::builder().backends(backends).build().unwrap();
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        bed.balancer().namespace().set_sysctl(key, 1).unwrap();
    }
    for backend in bed.backends() {
        let mut lines: Vec<String> = bed
            .vips()
            .iter()
            .map(|vip| format!("addr del {vip}/{} dev lo", if vip.is_ipv6() { 128 } else { 32 }))
            .collect();
        for v6 in FAMILIES {
            let (client, balancer) = (bed.client().address(v6), bed.balancer().address(v6));
            lines.push(format!("route add {client} via {balancer} dev {INTERFACE}"));
        }
        backend.namespace().ip(&lines).unwrap();
    }
    bed
}

fn configuration(bed: &Bed) -> String {
    let mut text = bed.daemon_table();
    for (v6, protocol) in FAMILIES.into_iter().flat_map(|v6| [(v6, "tcp"), (v6, "udp")]) {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), PORT);
        let family = if v6 { "6" } else { "4" };
        writeln!(
            text,
            "[[service]]\nname = \"{protocol}{family}\"\naddress = \"{vip}\"\nprotocol = \"{protocol}\"\nforwarding = \"nat\"\nslots = 64"
        )
        .unwrap();
        for backend in bed.backends() {
            let end = SocketAddr::new(backend.address(v6), BACKEND_PORT);
            writeln!(text, "[[service.backend]]\nname = \"{}\"\naddress = \"{end}\"", backend.role())
                .unwrap();
        }
    }
    text
}

fn vip(bed: &Bed, v6: bool) -> SocketAddr {
    SocketAddr::new(bed.vip(v6).unwrap(), PORT)
}

/// What `xdp-lb stats` tells.
fn stats(bed: &Bed) -> Value {
    let output = bed.xdp_lb().unwrap().args(["--json", "stats"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Packets by verdict, those that are not 0.
fn verdicts(stats: &Value) -> BTreeMap<String, u64> {
    let rows = stats["verdicts"].as_array().unwrap().iter();
    let rows = rows.map(|row| {
        let words = [&row["action"], &row["reason"]].map(|word| word.as_str().unwrap());
        (words.join(" "), row["packets"].as_u64().unwrap())
    });
    rows.filter(|(_, packets)| *packets > 0).collect()
}

fn curl(client: &Host, target: SocketAddr) -> String {
    let mut command: Command = client.command("curl");
    let output = command
        .args(["-gsS", "-m", "5", "--local-port", "20000-60000"])
        .arg(format!("http://{target}/"))
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{target}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn clients_reach_backends_on_another_port_and_hear_from_the_service() {
    let bed = bed(3);
    let servers: Vec<_> = bed
        .backends()
        .iter()
        .map(|host| HttpServer::start(host, BACKEND_PORT, host.role()).unwrap())
        .collect();
    let mut balancer = bed.start_balancer(&configuration(&bed)).unwrap();
    for v6 in FAMILIES {
        let target = vip(&bed, v6);
        let answer = curl(bed.client(), target);
        assert!(bed.backends().iter().any(|host| host.role() == answer), "{answer}");
        let names = bed.backends().iter().map(Host::role);
        let report = Load::new(target, 300).answers(names).run(bed.client()).unwrap();
        report.require_all().unwrap();
        assert_eq!(report.by_backend.len(), 3, "{report:?}");
    }
    assert_eq!(servers.iter().map(HttpServer::accepted).sum::<u64>(), 602);
    let stats = stats(&bed);
    let verdicts = verdicts(&stats);
    assert!(verdicts["tx returned"] > 1800, "{verdicts:?}");
    assert!(!verdicts.keys().any(|verdict| verdict.starts_with("drop")), "{verdicts:?}");
    for row in stats["backends"].as_array().unwrap() {
        let port = row["address"].as_str().unwrap().ends_with(":8080");
        let answers = row["return_packets"].as_u64().unwrap();
        assert_eq!((port, answers > 0), (true, row["service"].as_str().unwrap().starts_with("tcp")), "{row}");
    }
    balancer.must_run().unwrap();
}

/// A server that tells who its client is, then answers each block with its sum, then sends as many bytes itself.
fn transfer_server(host: &Host) -> thread::JoinHandle<SocketAddr> {
    let listener = host.run_in(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, BACKEND_PORT))?)).unwrap();
    thread::spawn(move || {
        let (mut stream, peer) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut sum = 0;
        let mut left = MEGABYTES << 20;
        let mut block = vec![0; 1 << 16];
        while left > 0 {
            let read = stream.read(&mut block).unwrap();
            assert!(read > 0, "the client ended with {left} bytes to come");
            sum = checksum(sum, &block[..read]);
            left -= read;
        }
        stream.write_all(&sum.to_be_bytes()).unwrap();
        stream.write_all(&bytes(2)).unwrap();
        peer
    })
}

/// FNV-1a, 64 bits, of the bytes behind those that gave `sum`.
fn checksum(sum: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(sum, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// As many bytes as are transferred, other ones for another seed.
fn bytes(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let words = (0..(MEGABYTES << 20) / 8).map(|_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state
    });
    words.flat_map(u64::to_be_bytes).collect()
}

#[test]
fn a_hundred_megabytes_arrive_whole_both_ways_and_the_ends_know_each_other() {
    let bed = bed(1);
    let _balancer = bed.start_balancer(&configuration(&bed)).unwrap();
    for v6 in FAMILIES {
        let server = transfer_server(bed.backend(0));
        let target = vip(&bed, v6);
        let (sent, answer, got, from) = bed
            .client()
            .run_in(|| {
                let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                let sent = bytes(1);
                stream.write_all(&sent)?;
                let mut answer = [0; 8];
                stream.read_exact(&mut answer)?;
                let mut got = Vec::new();
                stream.read_to_end(&mut got)?;
                Ok((checksum(0, &sent), u64::from_be_bytes(answer), got, stream.peer_addr()?))
            })
            .unwrap();
        assert_eq!(sent, answer, "what the client sent, at the server");
        assert!(got == bytes(2), "{} bytes arrived at the client, or not the right ones", got.len());
        assert_eq!(from, target);
        assert_eq!(server.join().unwrap().ip().to_canonical(), bed.client().address(v6));
    }
}

#[test]
fn datagrams_go_there_and_come_back_from_the_service() {
    let bed = bed(2);
    let _balancer = bed.start_balancer(&configuration(&bed)).unwrap();
    let echoes: Vec<_> = bed.backends().iter().map(echo_server).collect();
    for v6 in FAMILIES {
        let target = vip(&bed, v6);
        for number in 0..40u16 {
            let from = SocketAddr::new(bed.client().address(v6), 30_000 + number);
            let sent = vec![number as u8; usize::from(number) * 30];
            let (got, sender) = bed
                .client()
                .run_in(|| {
                    let socket = UdpSocket::bind(from)?;
                    socket.set_read_timeout(Some(PATIENCE))?;
                    socket.send_to(&sent, target)?;
                    let mut buffer = [0; 2048];
                    let (length, sender) = socket.recv_from(&mut buffer)?;
                    Ok((buffer[..length].to_vec(), sender))
                })
                .unwrap();
            assert_eq!(sender, target, "the client hears from the service");
            let (peer, payload) = got.split_at(18);
            assert_eq!(payload, sent);
            let ip = IpAddr::from(<[u8; 16]>::try_from(&peer[..16]).unwrap()).to_canonical();
            let port = u16::from_be_bytes([peer[16], peer[17]]);
            assert_eq!(SocketAddr::new(ip, port), from, "the backend hears from the client");
        }
    }
    let stats = stats(&bed);
    assert_eq!(verdicts(&stats)["tx returned"], 80, "{stats}");
    assert_eq!(
        stats["backends"].as_array().unwrap().iter().filter(|row| row["return_packets"] != 0).count(),
        4
    );
    drop(echoes);
}

/// Sends each datagram back, behind the address and port that it came from. It ends with the test's process.
fn echo_server(host: &Host) -> thread::JoinHandle<()> {
    let socket = host.run_in(|| Ok(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, BACKEND_PORT))?)).unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let ip = match from.ip() {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            let answer = [&ip.octets()[..], &from.port().to_be_bytes(), &buffer[..length]].concat();
            let _ = socket.send_to(&answer, from);
        }
    })
}

/// Without the program's shortcut: the client is a neighbour that the kernel has to ask for.
#[test]
fn the_kernel_brings_answers_to_a_client_that_it_must_ask_for() {
    let bed = bed(1);
    let _server = HttpServer::start(bed.backend(0), BACKEND_PORT, "backend-1").unwrap();
    let _balancer = bed.start_balancer(&configuration(&bed)).unwrap();
    for v6 in FAMILIES {
        let neighbour = format!("neigh del {} dev {INTERFACE}", bed.client().address(v6));
        // It may not be there yet.
        let _ = bed.balancer().namespace().ip(&[neighbour]);
        assert_eq!(curl(bed.client(), vip(&bed, v6)), "backend-1");
    }
}
