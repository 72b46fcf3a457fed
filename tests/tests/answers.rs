//! What the balancer answers itself: ping to a virtual address, within a rate.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::{net::SocketAddr, process::Command};

use anyhow::{Context as _, Result};
use lb_tests::{
    ask::{counted, start_resolved},
    bed::{Bed, Process},
    config::{Service, config_with},
    wait::wait_until,
};

const FAMILIES: [bool; 2] = [false, true];
/// Questions that are sent at once.
const BURST: u64 = 300;

/// A balancer with a service per family, of which ping is no part.
fn balancer(bed: &Bed, daemon: &str) -> Process {
    let service = |v6| {
        let vip = SocketAddr::new(bed.vip(v6).unwrap(), 80);
        Service::tcp(if v6 { "web6" } else { "web" }, vip).hosts(bed.backends(), &[1])
    };
    start_resolved(bed, &config_with(bed, daemon, &FAMILIES.map(service))).unwrap()
}

/// What ping came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answered {
    sent: u64,
    received: u64,
}

/// Pings from the client; an answer of another length or from another address is none to ping.
fn ping(bed: &Bed, to: &str, options: &[&str]) -> Result<Answered> {
    let mut ping: Command = bed.client().command("ping");
    // English, because the last lines are read.
    let output = ping.env("LC_ALL", "C").args(["-n", "-q"]).args(options).arg(to).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = said.lines().find(|line| line.contains(" packets transmitted, "));
    let line = line.with_context(|| format!("{said}{}", String::from_utf8_lossy(&output.stderr)))?;
    let number = |word: Option<&str>| Ok::<u64, anyhow::Error>(word.context("no number")?.parse()?);
    let mut words = line.split(' ');
    let sent = number(words.next())?;
    let received = number(words.nth(2))?;
    Ok(Answered { sent, received })
}

#[test]
fn ping_to_a_vip_is_answered_small_and_large() {
    let bed = Bed::builder().build().unwrap();
    let _balancer = balancer(&bed, "");
    for v6 in FAMILIES {
        let vip = bed.vip(v6).unwrap().to_string();
        // 1452 bytes fill an IPv6 packet of 1500.
        for size in ["0", "1", "56", "1400", "1452"] {
            let before = counted(&bed, "echo-reply").unwrap();
            let answered = ping(&bed, &vip, &["-c", "3", "-i", "0.05", "-W", "10", "-s", size]).unwrap();
            assert_eq!(answered, Answered { sent: 3, received: 3 }, "{vip} with {size} bytes");
            assert_eq!(counted(&bed, "echo-reply").unwrap() - before, 3);
        }
    }
    assert_eq!(counted(&bed, "rate-limited").unwrap(), 0);
}

/// A question in fragments is nobody's: passed to a kernel that does not have the address.
#[test]
fn a_ping_in_fragments_is_not_answered() {
    let bed = Bed::builder().build().unwrap();
    let _balancer = balancer(&bed, "");
    for v6 in FAMILIES {
        let vip = bed.vip(v6).unwrap().to_string();
        let [passed, answers] = ["other-protocol", "echo-reply"].map(|reason| counted(&bed, reason).unwrap());
        let answered = ping(&bed, &vip, &["-c", "2", "-i", "0.05", "-W", "1", "-s", "3000"]).unwrap();
        assert_eq!(answered, Answered { sent: 2, received: 0 }, "{vip}");
        assert_eq!(counted(&bed, "echo-reply").unwrap(), answers);
        // Two questions in three fragments each; neighbour discovery adds to it.
        assert!(counted(&bed, "other-protocol").unwrap() >= passed + 6, "{vip}");
        // The next whole one is answered as ever.
        let answered = ping(&bed, &vip, &["-c", "1", "-W", "10"]).unwrap();
        assert_eq!(answered, Answered { sent: 1, received: 1 });
    }
}

#[test]
fn a_burst_of_pings_is_answered_up_to_the_rate() {
    let bed = Bed::builder().build().unwrap();
    let _balancer = balancer(&bed, "answer_rate = 10");
    for v6 in FAMILIES {
        let vip = bed.vip(v6).unwrap().to_string();
        let before = ["echo-reply", "rate-limited"].map(|reason| counted(&bed, reason).unwrap());
        let number = BURST.to_string();
        let Answered { sent, received } =
            ping(&bed, &vip, &["-c", &number, "-l", &number, "-W", "1"]).unwrap();
        let now = ["echo-reply", "rate-limited"].map(|reason| counted(&bed, reason).unwrap());
        let [answers, limited] = [now[0] - before[0], now[1] - before[1]];
        assert_eq!((sent, answers + limited), (BURST, BURST), "each was answered or counted");
        assert_eq!(received, answers, "{vip}");
        assert!(answers > 0 && limited > 0, "{vip}: {answers} answered, {limited} not");
        // A second later at the latest there is budget again.
        wait_until(std::time::Duration::from_secs(20), "an answer after the burst", || {
            ping(&bed, &vip, &["-c", "1", "-W", "1"]).unwrap().received == 1
        })
        .unwrap();
    }
}

#[test]
fn a_rate_of_0_answers_nobody() {
    let bed = Bed::builder().build().unwrap();
    let _balancer = balancer(&bed, "answer_rate = 0");
    for v6 in FAMILIES {
        let vip = bed.vip(v6).unwrap().to_string();
        let answered = ping(&bed, &vip, &["-c", "3", "-i", "0.05", "-W", "1"]).unwrap();
        assert_eq!(answered, Answered { sent: 3, received: 0 }, "{vip}");
    }
    assert_eq!(counted(&bed, "echo-reply").unwrap(), 0);
    assert_eq!(counted(&bed, "rate-limited").unwrap(), 6);
}
