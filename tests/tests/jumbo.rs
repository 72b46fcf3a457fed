//! Jumbo frames: an MTU of 9000 on every link, so that frames lie in more than one buffer.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    ask::{json, number, row},
    bed::{Bed, run},
    config::{Service, config},
    echo::Echo,
};

const PORT: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(10);
/// A datagram that fills a frame of 9000 bytes, but for a few.
const DATAGRAM: usize = 8_900;

fn bed() -> Result<(Bed, Vec<Service>)> {
    let bed = Bed::builder().backends(2).mtu(9000).build()?;
    let mut services = Vec::new();
    for (name, v6) in [("echo", false), ("echo6", true)] {
        let vip = SocketAddr::new(bed.vip(v6)?, PORT);
        services.push(Service::tcp(&format!("{name}-tcp"), vip).hosts(bed.backends(), &[1, 1]));
        services.push(Service::udp(&format!("{name}-udp"), vip).hosts(bed.backends(), &[1, 1]));
    }
    Ok((bed, services))
}

/// Sends a datagram of [`DATAGRAM`] bytes, unfragmented; the answer names the backend and repeats it.
fn datagram(to: SocketAddr) -> Result<()> {
    let any: SocketAddr = if to.is_ipv6() { "[::]:0".parse()? } else { "0.0.0.0:0".parse()? };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    let sent = vec![b'x'; DATAGRAM];
    socket.send(&sent)?;
    let mut answer = vec![0; 2 * DATAGRAM];
    let length = socket.recv(&mut answer).context("no answer to a jumbo datagram")?;
    ensure!(answer[..length].ends_with(&sent), "another datagram came back");
    Ok(())
}

/// Sends a megabyte over one connection, whose segments fill jumbo frames, while reading what comes back.
fn megabyte(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let line = [&[b'y'; 8_191][..], b"\n"].concat();
    let reader = BufReader::new(stream.try_clone()?);
    let expected = 128;
    let reading = std::thread::spawn(move || reader.lines().take(expected).flatten().count());
    for _ in 0..expected {
        stream.write_all(&line)?;
    }
    let read = reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
    ensure!(read == expected, "the connection ended after {read} lines");
    Ok(())
}

#[test]
fn jumbo_frames_reach_their_backend_and_are_counted_whole() {
    let (bed, services) = bed().unwrap();
    let _servers = Echo::on_all(&bed, PORT).unwrap();
    let _balancer = bed.start_balancer(&config(&bed, &services)).unwrap();
    for v6 in [false, true] {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), PORT);
        bed.client().run_in(|| datagram(vip)).unwrap();
        bed.client().run_in(|| megabyte(vip)).unwrap();
    }
    let said = json(&bed, &["stats"]).unwrap();
    let headers = [("echo-udp", 14 + 20 + 8), ("echo6-udp", 14 + 40 + 8)];
    for (name, headers) in headers {
        let stats = row(&said["services"], &[("service", name)]).unwrap();
        assert_eq!(number(stats, "packets").unwrap(), 1);
        assert_eq!(number(stats, "bytes").unwrap(), DATAGRAM as u64 + headers, "{name}");
    }
    // A megabyte in a hundred and twenty segments or so, not in seven hundred.
    let stats = row(&said["services"], &[("service", "echo-tcp")]).unwrap();
    assert!(number(stats, "bytes").unwrap() > 1 << 20, "{stats}");
}

#[test]
fn a_jumbo_ping_is_answered() {
    let (bed, services) = bed().unwrap();
    let _balancer = bed.start_balancer(&config(&bed, &services)).unwrap();
    for v6 in [false, true] {
        let vip = bed.vip(v6).unwrap().to_string();
        let size = if v6 { "8952" } else { "8972" };
        run(bed
            .client()
            .command("ping")
            .args(["-c", "3", "-i", "0.2", "-W", "5", "-M", "do", "-s", size, &vip]))
        .unwrap();
    }
}

/// A program that was made for smaller frames is not put on an interface with larger ones.
#[test]
fn attach_refuses_an_interface_that_the_running_program_does_not_fit() {
    let bed = Bed::builder().build().unwrap();
    let _balancer = bed.start_balancer(&bed.daemon_table()).unwrap();
    bed.balancer()
        .namespace()
        .ip(&["link add wide mtu 9000 type veth peer name wide-peer mtu 9000"])
        .unwrap();
    let output = bed.xdp_lb().unwrap().args(["attach", "wide"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("interface wide has an MTU of 9000"), "{said}");
}
