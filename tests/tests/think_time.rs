//! An experiment: how well the echo of TCP timestamps (RFC 7323) tells a server's think time to someone who sees only what
//! its client sends, as the balancer does where backends answer directly. docs/latency-control.md has what came out.
//!
//! `cargo nextest run -p lb-tests --test think_time --run-ignored all --no-capture`

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{
    collections::{BTreeMap, HashMap},
    io::{IoSliceMut, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    sync::mpsc::{Sender, channel},
    thread,
    time::{Duration, Instant},
};

use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use lb_tests::{bed::Bed, echo::Echo, wait::wait_for};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns};
use socket2::{Domain, Protocol, Socket, Type};

const PORT: u16 = 7000;
const CONNECTIONS: u32 = 40;
const REQUESTS: u32 = 50;
const BYTES: usize = 64;
/// `ETH_P_ALL`, in network byte order, as packet(7) wants it.
const EVERY_PROTOCOL: i32 = 0x0300;
/// Think times that are tried, in microseconds.
const THINK: [u64; 6] = [200, 1_000, 3_000, 10_000, 30_000, 100_000];

/// What is seen of a segment of a client.
struct Seen {
    at: Duration,
    client: u16,
    syn: bool,
    data: usize,
    acknowledged: u32,
    echoed: u32,
}

/// A think time: by the server's own clock, and by the echoes.
type Pair = (Duration, f64);

#[test]
#[ignore = "a measurement: its result is a table"]
fn think_times_by_echoed_timestamps() {
    let bed = Bed::builder().build().unwrap();
    let vip = SocketAddr::new(bed.vip(false).unwrap(), PORT);
    let service = format!(
        "{}[[service]]\nname = \"think\"\naddress = \"{vip}\"\nprotocol = \"tcp\"\nslots = 64\n[[service.backend]]\nname = \"b1\"\naddress = \"{}\"\n",
        bed.daemon_table(),
        bed.backend(0).address(false),
    );
    let _balancer = bed.start_balancer(&service).unwrap();
    // A first connection, so that everything is resolved.
    let probe = Echo::start(&bed, bed.backend(0), PORT).unwrap();
    wait_for(Duration::from_secs(10), "the way through the balancer", || {
        let connect = || Ok(TcpStream::connect_timeout(&vip, Duration::from_millis(200)).ok());
        bed.client().run_in(connect)
    })
    .unwrap();
    drop(probe);
    println!(
        "| think time | seen | mean by the server | mean by echoes | error of the mean | error of one: median | 95 % |"
    );
    for think in THINK {
        let pairs = experiment(&bed, vip, Duration::from_micros(think));
        assert!(pairs.len() as u32 > CONNECTIONS * REQUESTS / 2, "{} answers were seen", pairs.len());
        report(think, &pairs);
    }
}

/// Requests one after the other on many connections, and what both sides say of them.
fn experiment(bed: &Bed, vip: SocketAddr, think: Duration) -> Vec<Pair> {
    let (told, truths) = channel();
    let listener = bed.backend(0).run_in(|| Ok(TcpListener::bind(vip)?)).unwrap();
    let capture = bed.client().run_in(|| Ok(capture()?)).unwrap();
    let (stop, stopped) = channel::<()>();
    let watching = thread::spawn(move || watch(&capture, vip, &stopped));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..CONNECTIONS {
                let (stream, client) = listener.accept().unwrap();
                let told = told.clone();
                scope.spawn(move || serve(stream, client.port(), think, &told));
            }
        });
        for _ in 0..CONNECTIONS {
            scope.spawn(|| bed.client().run_in(|| Ok(ask(vip)?)).unwrap());
        }
    });
    drop(told);
    drop(stop);
    let mut by_server: HashMap<u16, Vec<Duration>> = HashMap::new();
    for (client, think) in truths {
        by_server.entry(client).or_default().push(think);
    }
    let mut by_client: BTreeMap<u16, Vec<Seen>> = BTreeMap::new();
    for seen in watching.join().unwrap() {
        by_client.entry(seen.client).or_default().push(seen);
    }
    by_client
        .into_iter()
        .flat_map(|(client, seen)| {
            let truths = by_server.remove(&client).unwrap_or_default();
            truths.into_iter().zip(estimates(&seen))
        })
        .collect()
}

/// Answers each request after a while, and tells how long that was.
fn serve(mut stream: TcpStream, client: u16, think: Duration, told: &Sender<(u16, Duration)>) {
    stream.set_nodelay(true).unwrap();
    let mut request = [0; BYTES];
    while stream.read_exact(&mut request).is_ok() {
        let start = Instant::now();
        // Between half and one and a half of it.
        thread::sleep(think.mul_f64(0.5 + fastrand::f64()));
        let thought = start.elapsed();
        if stream.write_all(&request).is_err() {
            return;
        }
        told.send((client, thought)).unwrap();
    }
}

fn ask(vip: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(vip)?;
    stream.set_nodelay(true)?;
    let mut answer = [0; BYTES];
    for _ in 0..REQUESTS {
        stream.write_all(&[7; BYTES])?;
        stream.read_exact(&mut answer)?;
        thread::sleep(Duration::from_micros(fastrand::u64(0..3_000)));
    }
    Ok(())
}

/// A socket that gets every frame of the namespace, with the time when the kernel had it.
fn capture() -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(EVERY_PROTOCOL)))?;
    socket.set_recv_buffer_size(64 << 20)?;
    socket.set_read_timeout(Some(Duration::from_millis(50)))?;
    setsockopt(&socket, ReceiveTimestampns, &true)?;
    Ok(socket)
}

/// Collects what clients send to the VIP until told to stop.
fn watch(socket: &Socket, vip: SocketAddr, stopped: &std::sync::mpsc::Receiver<()>) -> Vec<Seen> {
    let mut all = Vec::new();
    let (mut frame, mut control) = (vec![0; 2048], nix::cmsg_space!(nix::sys::time::TimeSpec));
    loop {
        let mut parts = [IoSliceMut::new(&mut frame)];
        let got = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty());
        let Ok(message) = got else {
            if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
                return all;
            }
            continue;
        };
        let at = message.cmsgs().unwrap().find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        });
        let length = message.bytes;
        all.extend(at.and_then(|at| seen(&frame[..length], vip, at)));
    }
}

fn seen(frame: &[u8], vip: SocketAddr, at: Duration) -> Option<Seen> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let Some(NetSlice::Ipv4(ip)) = &packet.net else { return None };
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else { return None };
    if SocketAddr::from((ip.header().destination_addr(), tcp.destination_port())) != vip {
        return None;
    }
    let stamps = tcp.options_iterator().flatten().find_map(|option| match option {
        TcpOptionElement::Timestamp(_, echoed) => Some(echoed),
        _ => None,
    });
    Some(Seen {
        at,
        client: tcp.source_port(),
        syn: tcp.syn(),
        data: tcp.payload().len(),
        acknowledged: tcp.acknowledgment_number(),
        echoed: stamps?,
    })
}

/// The think time of each request of a connection, in milliseconds, from nothing but what its client sent: the SYN and the first
/// echo tell what the server's clock showed when, and the echo in the acknowledgement of an answer when that was sent.
fn estimates(seen: &[Seen]) -> Vec<f64> {
    let Some(start) = seen.iter().find(|segment| segment.syn) else { return Vec::new() };
    let Some(first) = seen.iter().find(|segment| !segment.syn && segment.echoed != 0) else {
        return Vec::new();
    };
    let mut asked: Option<&Seen> = None;
    let mut estimates = Vec::new();
    for segment in seen.iter().filter(|segment| !segment.syn) {
        if let Some(request) = asked
            && segment.acknowledged != request.acknowledged
        {
            let server = f64::from(segment.echoed.wrapping_sub(first.echoed));
            estimates.push(server - request.at.saturating_sub(start.at).as_secs_f64() * 1e3);
            asked = None;
        }
        if segment.data > 0 {
            asked = Some(segment);
        }
    }
    estimates
}

#[expect(clippy::print_stdout, reason = "what the measurement is for")]
fn report(think: u64, pairs: &[Pair]) {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap());
    let count = number(pairs.len());
    let truth = pairs.iter().map(|(truth, _)| truth.as_secs_f64() * 1e3).sum::<f64>() / count;
    let echoed = pairs.iter().map(|(_, echoed)| echoed).sum::<f64>() / count;
    let mut errors: Vec<f64> =
        pairs.iter().map(|(truth, echoed)| (echoed - truth.as_secs_f64() * 1e3).abs()).collect();
    errors.sort_by(f64::total_cmp);
    println!(
        "| {:?} | {count} | {truth:.2} ms | {echoed:.2} ms | {:+.2} ms | {:.2} ms | {:.2} ms |",
        Duration::from_micros(think),
        echoed - truth,
        errors[errors.len() / 2],
        errors[errors.len() * 95 / 100],
    );
}
