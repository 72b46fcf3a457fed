//! Datagrams that the client's kernel sends in fragments: all of them reach the backend of the first one.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lb_tests::{
    ask::{attach_decap, counted, decapsulated, start_resolved},
    bed::{Bed, INTERFACE},
    config::{Service, config},
    echo::Echo,
};

const PORT: u16 = 5060;
/// Bytes of a datagram; three fragments at 1500 or 1400 bytes each.
const LENGTH: usize = 4000;
const FRAGMENTS: u64 = 3;
/// Flows, each from a port of its own, and datagrams of each.
const FLOWS: usize = 40;
const DATAGRAMS: usize = 5;
/// How long a datagram is waited for before it is called lost.
const ANSWER: Duration = Duration::from_secs(2);
/// Lost datagrams of a whole test before it gives up.
const MOST_LOST: u64 = 10;

fn services(bed: &Bed, forwarding: &'static str) -> Vec<Service> {
    let service = |v6| {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), PORT);
        let weights = vec![1; bed.backends().len()];
        Service::udp(if v6 { "udp6" } else { "udp" }, vip)
            .forwarding(forwarding)
            .hosts(bed.backends(), &weights)
    };
    [false, true].map(service).into()
}

/// Sends a datagram until it is answered whole, and gives the server's name and how often it was lost.
fn ask(socket: &UdpSocket, datagram: &str) -> Result<(String, u64)> {
    let mut buffer = vec![0; 2 * LENGTH];
    for lost in 0..=MOST_LOST {
        socket.send(datagram.as_bytes()).context("cannot send")?;
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
                let (name, repeated) = answer.split_once(' ').context("no name")?;
                anyhow::ensure!(repeated == datagram, "{} bytes came back changed", repeated.len());
                return Ok((name.to_owned(), lost));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("no answer"),
        }
    }
    bail!("lost each of {MOST_LOST} times")
}

/// The servers that the flows reach; each flow one, however many datagrams it has.
fn flows(bed: &Bed, v6: bool) -> Result<(BTreeSet<String>, u64)> {
    let vip = SocketAddr::new(bed.vip(v6)?, PORT);
    let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
    bed.client().run_in(|| {
        let (mut names, mut lost) = (BTreeSet::new(), 0);
        for flow in 0..FLOWS {
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(vip)?;
            socket.set_read_timeout(Some(ANSWER))?;
            let mut of_flow = BTreeSet::new();
            for datagram in 0..DATAGRAMS {
                // Every eight bytes differ, so that no fragment can stand for another.
                let words: Vec<_> =
                    (0..LENGTH / 8).map(|word| format!("{flow:02}{datagram}{word:05}")).collect();
                let (name, again) = ask(&socket, &words.concat())?;
                of_flow.insert(name);
                lost += again;
            }
            // A short one of the same flow, not in fragments, goes the same way.
            let (name, again) = ask(&socket, "whole")?;
            of_flow.insert(name);
            lost += again;
            anyhow::ensure!(of_flow.len() == 1, "one flow reached {of_flow:?}");
            names.extend(of_flow);
        }
        Ok((names, lost))
    })
}

/// Through a running balancer: all whole, and what was lost was lost for a reason that is counted.
fn all_arrive(bed: &Bed, v6: bool) {
    let before = ["forwarded", "unknown-fragment"].map(|reason| counted(bed, reason).unwrap());
    let (names, lost) = flows(bed, v6).unwrap();
    let expected: BTreeSet<_> = bed.backends().iter().map(|host| host.role().to_owned()).collect();
    assert_eq!(names, expected, "forty flows miss one of three backends once in three million runs");
    let [sent, unknown] = ["forwarded", "unknown-fragment"].map(|reason| counted(bed, reason).unwrap());
    // On two cores a later fragment can overtake the first one; the client then sends again.
    assert!(lost <= unknown - before[1], "{lost} lost, {} unknown", unknown - before[1]);
    assert!(lost < MOST_LOST, "{lost} lost");
    let least = FLOWS as u64 * (DATAGRAMS as u64 * FRAGMENTS + 1);
    assert!(sent - before[0] >= least, "{} fragments", sent - before[0]);
}

#[test]
fn fragments_reach_one_backend_through_l2_dsr() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let _balancer = start_resolved(&bed, &config(&bed, &services(&bed, "l2-dsr"))).unwrap();
    for v6 in [false, true] {
        all_arrive(&bed, v6);
    }
}

/// The client knows what fits: fragments of 1400 bytes go into tunnels on a link of 1500.
#[test]
fn fragments_reach_one_backend_through_ipip() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    bed.backends().iter().for_each(|host| attach_decap(&bed, host).unwrap());
    let routes = [false, true].map(|v6| {
        let (vip, via) = (bed.vip(v6).unwrap(), bed.balancer().address(v6));
        format!("route replace {vip} via {via} dev {INTERFACE} mtu 1400")
    });
    bed.client().namespace().ip(&routes).unwrap();
    let _balancer = start_resolved(&bed, &config(&bed, &services(&bed, "ipip"))).unwrap();
    for v6 in [false, true] {
        all_arrive(&bed, v6);
    }
    for reason in ["packet-too-big", "too-big"] {
        assert_eq!(counted(&bed, reason).unwrap(), 0, "{reason}");
    }
    let taken_out: u64 = bed.backends().iter().map(|host| decapsulated(&bed, host, "ipip").unwrap()).sum();
    assert_eq!(taken_out, counted(&bed, "forwarded").unwrap());
}
