//! The program and the model of it ([`lb_tests::model`]) agree on random packets: on what becomes of each, on every
//! byte of it, and on the counters.
//!
//! A run takes a fixed seed and a random one, which it prints; `XDP_LB_SEED=0x...` takes that one instead.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

mod agreement {
    pub mod errors;
    pub mod generate;
    pub mod ground;
    pub mod rng;
    pub mod shrink;
    pub mod site;
}

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    hash::{BuildHasher as _, RandomState},
    net::SocketAddr,
};

use agreement::{
    errors::{Counts, Kind},
    generate::{Input, Known, input},
    ground,
    shrink::shrink,
    site::{self, SITES, Site},
};
use lb_common::{
    counters::{DropReason, Verdict},
    service::{TCP, UDP},
};
use lb_tests::{
    fixture::{
        balancer::{Balancer, HASH_KEY, HEADROOM, Ran},
        frame::{Frame, IP, Packet},
    },
    model::{Answer, Arrival, Model, tally::Tally},
};

const SEED: u64 = 0x8583_1987;
/// Packets of a seed.
const PACKETS: u64 = 400_000;
/// Packets between two looks at the counters.
const CHUNK: u64 = 5_000;

/// Program and model of one balancer.
struct Pair {
    balancer: Balancer,
    model: Model,
    known: Known,
}

impl Pair {
    fn load(site: &Site) -> Self {
        let ingress = ingress();
        let balancer = site::load(site, ingress);
        let model = Model::new(balancer.installed(), HASH_KEY, ingress, ground::routes());
        // Also those that this balancer does not have: packets for them are nobody's.
        let all = site::load(&SITES[0], ingress);
        let services = all.installed().services.iter().map(|service| service.key).collect();
        let known = Known { services, returns: all.installed().returns.keys().copied().collect() };
        Self { balancer, model, known }
    }

    fn modelled(&self, input: &Input) -> Answer {
        self.model.run(Arrival { frame: &input.frame.0, headroom: HEADROOM - input.metadata })
    }

    /// Whether action and bytes agree; the reason is for the counters to tell.
    fn agrees(&self, input: &Input, answer: &Answer) -> bool {
        let ran = self.balancer.run_behind(&input.frame, input.metadata).unwrap();
        ran.action == answer.verdict.action() && same_bytes(&ran, answer)
    }

    /// Runs one packet between two looks at the counters: what each says, where they disagree.
    fn disagreement(&self, input: &Input) -> Option<String> {
        let answer = self.modelled(input);
        let before = self.balancer.counters().unwrap();
        let ran = self.balancer.run_behind(&input.frame, input.metadata).unwrap();
        let after = self.balancer.counters().unwrap();
        let counted = after.verdicts_since(&before);
        let mut tally = Tally::default();
        tally.count(&answer, input.frame.0.len());
        let right = tally.counters(self.balancer.installed(), &before);
        let same = counted == [answer.verdict]
            && ran.action == answer.verdict.action()
            && same_bytes(&ran, &answer)
            && after == before.plus(&right);
        (!same).then(|| {
            format!(
                "frame    {}\nmetadata {} bytes\nprogram  {} {counted:?}\n         {}\nmodel    {:?}, service {:?}, backend {:?}, opens {}\n         {}\n",
                hex(&input.frame.0), input.metadata, ran.action, hex(&ran.frame.0),
                answer.verdict, answer.service, answer.backend, answer.opens, hex(&answer.frame),
            )
        })
    }

    /// Runs packets of a seed; stops at the first chunk with a disagreement. Counts the errors that nat rewrote.
    fn compare(&self, seed: u64, packets: u64, errors: &mut Counts) -> Tally {
        let mut tally = Tally::default();
        let shape = self.balancer.counters().unwrap();
        for first in (0..packets).step_by(CHUNK as usize) {
            let chunk = first..(first + CHUNK).min(packets);
            let mut wrong = None;
            for index in chunk.clone() {
                let input = input(seed, index, &self.known);
                let answer = self.modelled(&input);
                tally.count(&answer, input.frame.0.len());
                if let Some(kind) = Kind::of(&input, &answer, self.balancer.installed()) {
                    *errors.entry(kind).or_default() += 1;
                }
                if !self.agrees(&input, &answer) && wrong.is_none() {
                    wrong = Some(index);
                }
            }
            let right = tally.counters(self.balancer.installed(), &shape);
            let counted = self.balancer.counters().unwrap();
            if wrong.is_some() || counted != right {
                // The counters tell that, but not where.
                let suspects = wrong.map_or(chunk, |index| index..index + 1);
                let report = self.report(seed, suspects);
                panic!("{report}counters of the program\n  {counted:?}\nof the model\n  {right:?}");
            }
        }
        tally
    }

    fn report(&self, seed: u64, suspects: std::ops::Range<u64>) -> String {
        for index in suspects {
            let found = input(seed, index, &self.known);
            if let Some(text) = self.disagreement(&found) {
                let verdict = self.modelled(&found).verdict;
                let small = shrink(found, |input| {
                    self.modelled(input).verdict == verdict && self.disagreement(input).is_some()
                });
                let shrunk = self.disagreement(&small).unwrap_or_default();
                return format!("packet {index} of seed {seed:#x}\n{text}shrunk\n{shrunk}");
            }
        }
        "no packet alone shows it\n".to_owned()
    }
}

/// What is dropped is looked at by nobody: the program may have begun to rewrite it.
fn same_bytes(ran: &Ran, answer: &Answer) -> bool {
    matches!(answer.verdict, Verdict::Drop(_)) || ran.frame.0 == answer.frame
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The seed that was asked for, else the fixed one and one that nobody knows.
fn seeds() -> Vec<u64> {
    match std::env::var("XDP_LB_SEED") {
        Ok(text) => {
            let digits = text.trim_start_matches("0x");
            let radix = if digits.len() < text.len() { 16 } else { 10 };
            vec![u64::from_str_radix(digits, radix).expect("XDP_LB_SEED is a number, 0x... in hexadecimal")]
        }
        Err(_) => vec![SEED, RandomState::new().hash_one(std::process::id())],
    }
}

#[test]
fn program_and_model_agree_on_random_packets() {
    in_namespace(compare_all_sites);
}

fn compare_all_sites() {
    let seeds = seeds();
    let list: Vec<_> = seeds.iter().map(|seed| format!("{seed:#x}")).collect();
    println!("XDP_LB_SEED={}", list.join(" and XDP_LB_SEED="));
    let (mut reached, mut errors) = (BTreeMap::<u32, u64>::new(), Counts::new());
    for site in SITES {
        let packets = PACKETS * site.share / 1000;
        let mut sum = Tally::default();
        for &seed in &seeds {
            sum.merge(&Pair::load(site).compare(seed, packets, &mut errors));
        }
        println!("{}: {packets} packets of each seed", site.name);
        every_backend_was_reached(site, &sum);
        for verdict in Verdict::all() {
            *reached.entry(verdict.counter()).or_default() += sum.packets(verdict);
        }
    }
    for verdict in Verdict::all() {
        let packets = reached[&verdict.counter()];
        println!("{packets:8} {} {}", verdict.action(), verdict.reason());
        let can_occur = !NOT_COMPARED.contains(&verdict);
        assert_eq!(
            packets > 0,
            can_occur,
            "packets that ended ended as {} {}",
            verdict.action(),
            verdict.reason()
        );
    }
    for kind in Kind::all() {
        let packets = errors.get(&kind).copied().unwrap_or_default();
        println!("{packets:8} {kind}");
        assert!(packets >= FEWEST, "{packets} {kind}");
    }
}

/// So many errors of each kind that nat rewrites at least, in a run of one seed.
const FEWEST: u64 = 100;

/// The fixtures' balancer answers without a limit.
const NOT_COMPARED: [Verdict; 1] = [Verdict::Drop(DropReason::RateLimited)];

/// The interface that packets come in by, in the namespace of [`ground::lay`].
fn ingress() -> u32 {
    nix::net::if_::if_nametoindex("eth0").unwrap()
}

/// Runs a test where the routes are known.
fn in_namespace(test: impl FnOnce() + Send) {
    let bed = ground::lay();
    bed.balancer()
        .namespace()
        .run_in(|| {
            test();
            Ok(())
        })
        .unwrap();
}

/// So that every forwarding mode, family and way was compared, and every way back.
fn every_backend_was_reached(site: &Site, sum: &Tally) {
    let balancer = site::load(site, ingress());
    let installed = balancer.installed();
    let slots = installed.services.iter().flat_map(|service| &service.slots);
    let in_use: BTreeSet<_> = slots.map(|slot| slot.backend).collect();
    for backend in installed.backends.iter().filter(|backend| in_use.contains(&backend.index)) {
        let reachable = backend.record.next_hop.is_resolved();
        let reached = sum.forwarded(backend.index) > 0;
        assert_eq!(reached, reachable, "{}: backend {} {:?}", site.name, backend.name, backend.record);
        let returned = sum.returned(backend.index) > 0;
        let returns = installed.returns.values().any(|end| end.backend == backend.index);
        assert_eq!(returned, returns, "{}: answers of {} {:?}", site.name, backend.name, backend.record);
    }
}

/// The rest of an answer that has no data, cut within its options: shorter than it says.
#[test]
fn an_answer_cut_within_its_headers_agrees() {
    in_namespace(|| {
        let pair = Pair::load(&SITES[0]);
        let [from, to] = ["198.18.0.11:8080", "198.18.0.1:40000"].map(|end| end.parse().unwrap());
        let part = |flags| Packet::of(TCP, from, to).ip_options(&[1; 40]).fragment(flags).frame();
        let first = Input { frame: part(0x2000), metadata: 0 };
        assert_eq!(pair.disagreement(&first), None);
        let rest = part(0xb9).with(IP + 2, &[0, 60]);
        for length in [IP + 60, IP + 59, IP + 20] {
            let rest = Input { frame: rest.clone().cut(length), metadata: 0 };
            assert_eq!(pair.disagreement(&rest), None, "{length} bytes");
        }
    });
}

/// Every UDP checksum, right or wrong: one of them comes to 0 and one is none, which random packets seldom have.
#[test]
fn every_udp_checksum_agrees() {
    in_namespace(|| {
        let pair = Pair::load(&SITES[0]);
        let there = ("198.18.0.1:40000", "192.0.2.50:53", IP + 20 + 6);
        let back = ("[2001:db8:18::11]:8080", "[2001:db8:18::1]:40000", IP + 40 + 6);
        for (from, to, at) in [there, back] {
            let frame = Packet::of(UDP, from.parse().unwrap(), to.parse().unwrap()).frame();
            for checksum in 0..=u16::MAX {
                let frame = frame.clone().with(at, &checksum.to_be_bytes());
                let input = Input { frame, metadata: 0 };
                let answer = pair.modelled(&input);
                assert!(answer.backend.is_some(), "{answer:?}");
                assert!(pair.agrees(&input, &answer), "{:?}", pair.disagreement(&input));
            }
        }
    });
}

/// Every checksum of an ICMP error that nat rewrites, right or wrong, in both directions.
#[test]
fn every_checksum_of_an_error_agrees() {
    in_namespace(|| {
        let pair = Pair::load(&SITES[0]);
        let v4 = ["198.18.0.1:40000", "192.0.2.50:53", "198.18.0.11:8080", "203.0.113.9:0"];
        let v6 =
            ["[2001:db8:18::1]:40000", "[2001:db8::50]:53", "[2001:db8:18::11]:8080", "[2001:db8:113::9]:0"];
        for ends in [v4, v6] {
            let [client, vip, backend, router] = ends.map(|end| end.parse::<SocketAddr>().unwrap());
            let (protocol, kind, ip) = if client.is_ipv4() { (1, 3, 20) } else { (58, 2, 40) };
            for (from, to, quoted) in [
                (router, vip, (vip, client)),
                (router, client, (client, backend)),
                (backend, client, (client, backend)),
            ] {
                let quoted = Packet::of(UDP, quoted.0, quoted.1).frame().0.split_off(IP);
                let message = [&[kind, 0, 0, 0, 0, 0, 5, 0], &quoted[..]].concat();
                let frame = Packet::of(protocol, from, to).payload(&message).frame();
                for checksum in 0..=u16::MAX {
                    let frame = frame.clone().with(IP + ip + 2, &checksum.to_be_bytes());
                    let input = Input { frame, metadata: 0 };
                    let answer = pair.modelled(&input);
                    assert!(answer.backend.is_some(), "{answer:?}");
                    assert!(pair.agrees(&input, &answer), "{:?}", pair.disagreement(&input));
                }
            }
        }
    });
}

/// A packet without a service finds the model as it finds the program.
#[test]
fn the_shortest_frame_agrees() {
    in_namespace(|| {
        let pair = Pair::load(&SITES[0]);
        for byte in [0, 1, 2, 8] {
            let input = Input { frame: Frame(vec![byte; 14]), metadata: 0 };
            assert_eq!(pair.disagreement(&input), None);
        }
    });
}
