//! What the program sees of the latency of nat's backends, packet by packet: the real program through `BPF_PROG_TEST_RUN`
//! with a clock of the tests' own.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::net::{IpAddr, SocketAddr};

use lb_common::{
    flow::{TICK_SHIFT, Tick},
    latency::{Awaits, LatencyStats, Sampling, bucket},
    meta::features,
    service::{TCP, UDP},
};
use lb_tests::fixture::{
    balancer::{Balancer, LOOPBACK, way},
    frame::{Frame, Packet, tcp_flags},
};
use lb_userspace::dataplane::LatencyTable as _;

const START: Tick = 1_000_000;
const SERVICE: &str = "pool";
/// Port of the backend, which is not the service's.
const BACKEND_PORT: u16 = 8080;
const ACK: u8 = tcp_flags::ACK;

/// A nat service with one backend, whose flows are sampled.
struct Site {
    balancer: Balancer,
    vip: SocketAddr,
    backend: SocketAddr,
    protocol: u8,
    now: Tick,
}

impl Site {
    fn new(vip: &str, protocol: u8, keys: &str, sampling: Sampling) -> Self {
        let vip: SocketAddr = vip.parse().unwrap();
        let address: IpAddr =
            if vip.is_ipv6() { "2001:db8:18::1".parse().unwrap() } else { "198.18.1.1".parse().unwrap() };
        let backend = SocketAddr::new(address, BACKEND_PORT);
        let name = if protocol == TCP { "tcp" } else { "udp" };
        let text = format!(
            "[[service]]\nname = \"{SERVICE}\"\naddress = \"{vip}\"\nprotocol = \"{name}\"\nforwarding = \"nat\"\nslots = 64\n{keys}\n\
             [[service.backend]]\nname = \"b1\"\naddress = \"{backend}\"\n"
        );
        let ways = [way(address, [2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 0, 1], LOOPBACK)];
        let mut balancer = Balancer::load_with_features(&text, &ways, START, features::SAMPLING).unwrap();
        let id = balancer.service(SERVICE).unwrap().record.id;
        balancer.kernel().set_sampling(id, sampling).unwrap();
        Self { balancer, vip, backend, protocol, now: START }
    }

    fn tcp(vip: &str) -> Self {
        Self::new(vip, TCP, "", Sampling::one_of(1, false))
    }

    fn wait(&mut self, ticks: Tick) {
        self.now += ticks;
        self.balancer.set_clock(self.now).unwrap();
    }

    fn client(&self, number: u16) -> SocketAddr {
        let address = if self.vip.is_ipv6() { "2001:db8:99::7" } else { "203.0.113.7" };
        SocketAddr::new(address.parse().unwrap(), 20_000 + number)
    }

    /// A client's packet with a sequence number, flags and data.
    fn ask(&self, client: SocketAddr, sequence: u32, flags: u8, data: &[u8]) {
        self.run(&Packet::of(self.protocol, client, self.vip), sequence, flags, data);
    }

    /// A backend's.
    fn answer(&self, client: SocketAddr, flags: u8, data: &[u8]) {
        self.run(&Packet::of(self.protocol, self.backend, client), 1, flags, data);
    }

    fn run(&self, packet: &Packet, sequence: u32, flags: u8, data: &[u8]) {
        let packet = packet.clone().payload(data);
        let frame: Frame = if self.protocol == TCP {
            let at = 14 + if self.vip.is_ipv6() { 40 } else { 20 } + 4;
            packet.flags(flags).frame().with(at, &sequence.to_be_bytes())
        } else {
            packet.frame()
        };
        assert_ne!(self.balancer.run(&frame).unwrap().action, "drop");
    }

    fn latency(&mut self) -> LatencyStats {
        let index = self.balancer.backend(SERVICE, "b1").unwrap().index;
        self.balancer.kernel().latency(index).unwrap()
    }

    /// Requests that were answered, their number and the sum of their times in ticks.
    fn answered(&mut self) -> (u32, u64) {
        let stats = self.latency();
        (stats.buckets.iter().sum(), stats.total_ns >> TICK_SHIFT)
    }

    /// What the sampled flows wait for.
    fn awaited(&mut self) -> Vec<u16> {
        self.balancer.kernel().sampled().unwrap().into_iter().map(|(_, flow)| flow.awaits).collect()
    }
}

const VIPS: [&str; 2] = ["192.0.2.1:80", "[2001:db8:2::1]:80"];

#[test]
fn a_request_lasts_from_its_last_byte_to_the_first_of_its_answer() {
    for vip in VIPS {
        let mut site = Site::tcp(vip);
        let client = site.client(1);
        site.ask(client, 100, ACK, &[1; 300]);
        site.wait(50);
        site.ask(client, 400, ACK, &[1; 100]);
        site.wait(20);
        // An acknowledgement is no answer.
        site.answer(client, ACK, b"");
        site.wait(10);
        site.answer(client, ACK, &[2; 1000]);
        site.wait(5);
        site.answer(client, ACK, &[2; 1000]);
        assert_eq!(site.answered(), (1, 30), "{vip}");
        let time = 30u64 << TICK_SHIFT;
        let stats = site.latency();
        assert_eq!((stats.buckets[bucket(time)], stats.connects, stats.errors), (1, 0, 0));
        assert_eq!(site.awaited(), [Awaits::Nothing as u16]);
        // The next request of the same connection.
        site.wait(100);
        site.ask(client, 500, ACK, &[1; 10]);
        site.wait(7);
        site.answer(client, ACK, &[2; 10]);
        assert_eq!(site.answered(), (2, 37));
    }
}

#[test]
fn a_connection_lasts_from_syn_to_syn_ack() {
    for vip in VIPS {
        let mut site = Site::tcp(vip);
        let client = site.client(1);
        site.ask(client, 99, tcp_flags::SYN, b"");
        site.wait(1000);
        // Sent again: the backend has been asked for as long as the first one.
        site.ask(client, 99, tcp_flags::SYN, b"");
        site.wait(3);
        site.answer(client, tcp_flags::SYN | ACK, b"");
        let stats = site.latency();
        assert_eq!((stats.connects, stats.connect_ns >> TICK_SHIFT), (1, 1003), "{vip}");
        assert_eq!(site.answered(), (0, 0));
        // The port serves another connection soon after.
        site.ask(client, 5_000_000, tcp_flags::SYN, b"");
        site.wait(2);
        site.answer(client, tcp_flags::SYN | ACK, b"");
        assert_eq!((site.latency().connects, site.latency().connect_ns >> TICK_SHIFT), (2, 1005));
    }
}

#[test]
fn a_segment_that_is_sent_again_does_not_begin_anew() {
    let mut site = Site::tcp(VIPS[0]);
    let client = site.client(1);
    // Sequence numbers wrap within the request.
    site.ask(client, u32::MAX - 50, ACK, &[1; 100]);
    site.wait(200);
    site.ask(client, u32::MAX - 50, ACK, &[1; 100]);
    site.wait(1);
    site.answer(client, ACK, b"answer");
    assert_eq!(site.answered(), (1, 201));
    // Nor does one after the answer, or a keep-alive's byte, ask for anything.
    site.ask(client, u32::MAX - 50, ACK, &[1; 100]);
    site.ask(client, 48, ACK, &[0; 1]);
    site.wait(1);
    site.answer(client, ACK, b"more");
    assert_eq!(site.answered(), (1, 201));
}

#[test]
fn what_is_refused_or_closed_without_an_answer_is_an_error() {
    let mut site = Site::tcp(VIPS[0]);
    let [refused, reset, closed, fine] = [1, 2, 3, 4].map(|number| site.client(number));
    site.ask(refused, 9, tcp_flags::SYN, b"");
    site.answer(refused, tcp_flags::RST | ACK, b"");
    for client in [reset, closed, fine] {
        site.ask(client, 10, ACK, b"request");
    }
    site.answer(reset, tcp_flags::RST, b"");
    site.answer(closed, tcp_flags::FIN | ACK, b"");
    assert_eq!(site.latency().errors, 3);
    // The last bytes of an answer may close.
    site.wait(4);
    site.answer(fine, tcp_flags::FIN | ACK, b"answer");
    assert_eq!((site.latency().errors, site.answered()), (3, (1, 4)));
    assert!(site.awaited().is_empty());
}

#[test]
fn what_waits_is_seen_until_the_client_gives_up() {
    let mut site = Site::tcp(VIPS[0]);
    let client = site.client(1);
    site.ask(client, 10, ACK, b"first");
    let first = u64::from(site.now) << TICK_SHIFT;
    site.wait(9);
    site.ask(client, 15, ACK, b"second");
    let second = u64::from(site.now) << TICK_SHIFT;
    let flows = site.balancer.kernel().sampled().unwrap();
    assert_eq!(flows.len(), 1);
    let (_, flow) = flows[0];
    assert_eq!((flow.since, flow.asked, flow.awaits), (first, second, Awaits::Answer as u16));
    site.ask(client, 21, tcp_flags::RST, b"");
    assert!(site.awaited().is_empty());
}

#[test]
fn datagrams_are_answered_by_datagrams() {
    for vip in VIPS {
        let mut site = Site::new(vip, UDP, "", Sampling::one_of(1, false));
        let client = site.client(1);
        site.ask(client, 0, 0, b"query");
        site.wait(6);
        site.answer(client, 0, b"answer");
        site.wait(6);
        site.answer(client, 0, b"more of it");
        assert_eq!(site.answered(), (1, 6), "{vip}");
    }
}

#[test]
fn one_flow_in_so_many_is_sampled_and_both_ways_agree_which() {
    for (keys, addresses_only) in [("", false), ("hash_on = \"addresses\"", true)] {
        let mut site = Site::new(VIPS[0], TCP, keys, Sampling::one_of(8, addresses_only));
        let flows = 800;
        let clients = (0..flows).map(|number| {
            let [high, low] = u16::to_be_bytes(number);
            SocketAddr::from(([10, 0, high, low], 30_000))
        });
        for client in clients {
            site.ask(client, 1, ACK, b"request");
            site.wait(1);
            site.answer(client, ACK, b"answer");
        }
        let (answered, time) = site.answered();
        // Binomial with mean 100 and deviation 9.4: further than seven of them from it never happens.
        assert!((35..=165).contains(&answered), "{answered} of {flows} with {keys:?}");
        assert_eq!((time, site.awaited().len()), (answered.into(), answered as usize));
    }
}

#[test]
fn a_service_that_is_not_sampled_leaves_no_trace() {
    let mut site = Site::new(VIPS[0], TCP, "", Sampling::NONE);
    let client = site.client(1);
    site.ask(client, 1, ACK, b"request");
    site.answer(client, ACK, b"answer");
    assert_eq!(site.latency(), LatencyStats::default());
    assert!(site.awaited().is_empty());
}
