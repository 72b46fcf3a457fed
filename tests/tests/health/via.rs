//! Checks by way of the data path: the backend must answer as the virtual address.

use std::{net::IpAddr, time::Duration};

use lb_tests::{
    ask::start_resolved,
    bed::{Bed, INTERFACE, Nginx},
    config::{Service, config},
};
use lb_userspace::health::{
    event::Event,
    machine::State::{Down, Failing, Up},
    report::{Obstacle, Outcome},
    target::Target,
};

use crate::{
    checked::{check, configuration, targets_of},
    watched::{QUICK, Watched, in_balancer},
};

const SOON: Duration = Duration::from_secs(30);

/// Targets on all backends of the bed: http on port 80 of a VIP, by way of the data path, with more keys.
fn as_vip(bed: &Bed, v6: bool, keys: &str) -> Vec<Target> {
    let hosts: Vec<_> = bed.backends().iter().map(|host| (host.role(), host.address(v6))).collect();
    let keys = format!("{QUICK}\nvia = \"data-path\"\n{keys}");
    targets_of(&configuration(bed.vip(v6).unwrap(), 80, "http", &keys, &hosts))
}

/// How a VIP is written in a line of ip-address(8), on a backend's lo.
fn on_lo(vip: IpAddr) -> String {
    if vip.is_ipv6() { format!("{vip}/128 dev lo nodad") } else { format!("{vip}/32 dev lo") }
}

/// With the balancer's program on the interface that answers come back by. nginx tells which address it was asked at.
#[test]
fn each_backend_is_asked_as_the_vip() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers = [0, 1].map(|index| Nginx::start(bed.backend(index), "at $server_addr.\n").unwrap());
    let services = [false, true].map(|v6| {
        let vip = std::net::SocketAddr::new(bed.vip(v6).unwrap(), 80);
        Service::tcp(if v6 { "six" } else { "four" }, vip).hosts(bed.backends(), &[1, 1])
    });
    let _balancer = start_resolved(&bed, &config(&bed, &services)).unwrap();
    in_balancer(&bed, async || {
        for v6 in [false, true] {
            let vip = bed.vip(v6)?;
            // nginx writes an IPv4 address as ::ffff:192.0.2.10.
            let mut watched = Watched::new();
            watched.handle.replace(as_vip(&bed, v6, &format!("body = \"{vip}.\"\nstart = \"down\"")));
            watched.expect(&["backend-1", "backend-2"], None, Down).await?;
            watched.expect(&["backend-1", "backend-2"], Some(Down), Up).await?;
            // Without the VIP the server on it serves nobody, though it answers at its own address.
            bed.backend(1).namespace().ip(&[format!("addr del {}", on_lo(vip).replace(" nodad", ""))])?;
            watched.expect(&["backend-2"], Some(Up), Failing).await?;
            watched.expect(&["backend-2"], Some(Failing), Down).await?;
            assert_eq!(check(&bed, bed.backend(1), v6, 80, "http", "").success(), Some(true));
            // The other way around.
            bed.backend(1).namespace().ip(&[format!("addr add {}", on_lo(vip))])?;
            watched.expect(&["backend-2"], Some(Down), Up).await?;
            bed.backend(0).namespace().ip(&[format!("addr del {}", on_lo(vip).replace(" nodad", ""))])?;
            watched.expect(&["backend-1"], Some(Up), Failing).await?;
            watched.expect(&["backend-1"], Some(Failing), Down).await?;
        }
        Ok(())
    });
}

/// The rules of a family that are not the kernel's own, as ip-rule(8) shows them.
fn rules(bed: &Bed, family: &str) -> Vec<String> {
    let said = lb_tests::ask::text(bed.balancer().command("ip").args([family, "rule", "show"])).unwrap();
    let own = |line: &&str| ["0:", "32766:", "32767:"].iter().all(|priority| !line.starts_with(priority));
    said.lines().filter(own).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn rules_come_and_go_with_the_checks_and_with_what_a_killed_daemon_left() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _servers = [0, 1].map(|index| Nginx::start(bed.backend(index), "ok").unwrap());
    // Of a daemon that was killed: a way that is not wanted, and one that leads elsewhere.
    bed.balancer()
        .namespace()
        .ip(&[
            "route add 192.0.2.10 via 198.18.0.1 dev eth0 table 1481375745",
            "rule add pref 5841 fwmark 0x584c0001 lookup 1481375745",
            "rule add pref 5841 fwmark 0x584c0063 lookup 1481375843",
        ])
        .unwrap();
    in_balancer(&bed, async || {
        let mut watched = Watched::new();
        watched.handle.replace(as_vip(&bed, false, "start = \"down\""));
        watched.expect(&["backend-1", "backend-2"], None, Down).await?;
        watched.expect(&["backend-1", "backend-2"], Some(Down), Up).await?;
        assert_eq!(
            rules(&bed, "-4"),
            [
                "5840: not from all fwmark 0x584c0000/0xffff0000 goto 5843",
                "5841: from all fwmark 0x584c0001 lookup 1481375745",
                "5841: from all fwmark 0x584c0002 lookup 1481375746",
                "5842: from all fwmark 0x584c0000/0xffff0000 unreachable",
                "5843: from all nop",
            ]
        );
        assert!(rules(&bed, "-6").is_empty());
        // The routes go with the interface and come back with it.
        bed.balancer().namespace().ip(&[format!("link set {INTERFACE} down")])?;
        watched.expect(&["backend-1", "backend-2"], Some(Up), Failing).await?;
        watched.expect(&["backend-1", "backend-2"], Some(Failing), Down).await?;
        bed.balancer().namespace().ip(&[format!("link set {INTERFACE} up")])?;
        watched.expect(&["backend-1", "backend-2"], Some(Down), Up).await?;
        // One backend less is a rule less.
        watched.handle.replace(as_vip(&bed, false, "").split_off(1));
        let gone = || rules(&bed, "-4").len() == 4;
        wait_in_time(gone).await;
        drop(watched);
        wait_in_time(|| rules(&bed, "-4").is_empty()).await;
        Ok(())
    });
}

/// As `wait_until`, while the runtime of this thread goes on.
async fn wait_in_time(mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited {SOON:?} in vain for the rules");
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_vip_of_the_balancers_own_cannot_be_checked_so() {
    let bed = Bed::builder().build().unwrap();
    let _server = Nginx::start(bed.backend(0), "ok").unwrap();
    bed.balancer().namespace().ip(&["addr add 192.0.2.10/32 dev lo"]).unwrap();
    in_balancer(&bed, async || {
        let mut watched = Watched::new();
        watched.handle.replace(as_vip(&bed, false, ""));
        watched.expect(&["backend-1"], None, Up).await?;
        let own = |event| match event {
            Event::Checked(checked) => match checked.report.outcome {
                Outcome::NotMade(Obstacle::Way(told)) if told.contains("an address of this machine") => {
                    Some(())
                }
                Outcome::NotMade(_) => None,
                other => panic!("{other:?}"),
            },
            Event::Changed(change) => panic!("{change}"),
        };
        watched.next("a check that could not be made", own).await?;
        // As soon as it is another's, it can.
        bed.balancer().namespace().ip(&["addr del 192.0.2.10/32 dev lo"])?;
        let passes = |event| match event {
            Event::Checked(checked) => (checked.report.outcome == Outcome::Passed).then_some(()),
            Event::Changed(_) => None,
        };
        watched.next("a check that passes", passes).await
    });
}
