//! The life of backends as the runner tells it: up, failing, down, up again, over both families.

use std::collections::{BTreeMap, BTreeSet};

use lb_tests::{
    bed::{Bed, Nginx},
    tier,
};
use lb_userspace::health::{
    event::Event,
    machine::State::{Down, Failing, Up},
    report::Outcome,
    runner::{self, Options},
};

use crate::{
    checked::{configuration, targets_of},
    watched::{QUICK, Watched, in_balancer},
};

#[test]
fn backends_fail_die_and_come_back() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let _stays = Nginx::start(bed.backend(0), "ok").unwrap();
    in_balancer(&bed, async || {
        for v6 in [false, true] {
            let hosts: Vec<_> = bed.backends().iter().map(|host| (host.role(), host.address(v6))).collect();
            let text = configuration(bed.vip(v6)?, 80, "http", QUICK, &hosts);
            let mut watched = Watched::new();
            let dies = Nginx::start(bed.backend(1), "ok")?;
            watched.handle.replace(targets_of(&text));
            watched.expect(&["backend-1", "backend-2"], None, Up).await?;
            // That it is checked at all before it dies.
            let passed = |event| match event {
                Event::Checked(checked) if &*checked.id.backend == "backend-2" => {
                    (checked.report.outcome == Outcome::Passed && checked.state == Up).then_some(())
                }
                _ => None,
            };
            watched.next("a check that passes", passed).await?;
            drop(dies);
            watched.expect(&["backend-2"], Some(Up), Failing).await?;
            watched.expect(&["backend-2"], Some(Failing), Down).await?;
            let _back = Nginx::start(bed.backend(1), "ok")?;
            watched.expect(&["backend-2"], Some(Down), Up).await?;
        }
        Ok(())
    });
}

#[test]
fn what_starts_down_rises_first() {
    let bed = Bed::builder().build().unwrap();
    let _redis = tier::redis(bed.backend(0), 6379).unwrap();
    in_balancer(&bed, async || {
        let hosts = [("live", bed.backend(0).address(false)), ("dead", bed.client().address(false))];
        let keys = format!("{QUICK}\nstart = \"down\"");
        let mut watched = Watched::new();
        watched.handle.replace(targets_of(&configuration(bed.vip(false)?, 6379, "tcp", &keys, &hosts)));
        watched.expect(&["live", "dead"], None, Down).await?;
        watched.expect(&["live"], Some(Down), Up).await?;
        let failed = |event| match event {
            Event::Checked(checked) if &*checked.id.backend == "dead" => Some(checked.state),
            _ => None,
        };
        assert_eq!(watched.next("a check of the dead one", failed).await?, Down);
        Ok(())
    });
}

#[test]
fn targets_are_replaced_while_checks_run() {
    let bed = Bed::builder().build().unwrap();
    let _redis = tier::redis(bed.backend(0), 6379).unwrap();
    let other = "198.18.0.99".parse().unwrap();
    bed.backend(0).add_address(other, 24).unwrap();
    in_balancer(&bed, async || {
        let (live, dead) = (bed.backend(0).address(false), bed.client().address(false));
        let vip = bed.vip(false)?;
        let of = |hosts: &[_]| targets_of(&configuration(vip, 6379, "tcp", QUICK, hosts));
        let mut watched = Watched::new();
        watched.handle.replace(of(&[("a", live), ("b", dead)]));
        watched.expect(&["a", "b"], None, Up).await?;
        watched.expect(&["b"], Some(Up), Failing).await?;
        watched.expect(&["b"], Some(Failing), Down).await?;
        // "b" is told of no more than "a" is: both are as they were.
        watched.handle.replace(of(&[("a", live), ("b", dead), ("c", other)]));
        watched.expect(&["c"], None, Up).await?;
        // Another address under the same name is another backend, which begins as configured.
        watched.handle.replace(of(&[("b", live), ("c", other)]));
        watched.expect(&["b"], None, Up).await?;
        let mut seen = BTreeSet::new();
        let both = |event| {
            if let Event::Checked(checked) = event {
                assert_eq!(checked.report.outcome, Outcome::Passed, "{checked:?}");
                seen.insert(checked.id.backend.to_string());
            }
            (seen.len() == 2).then_some(())
        };
        watched.next("checks of both", both).await?;
        assert_eq!(seen, BTreeSet::from(["b".to_owned(), "c".to_owned()]));
        Ok(())
    });
}

/// More checks than there is room for all get their turn, and none is lost.
#[test]
fn few_sockets_serve_many_backends() {
    let bed = Bed::builder().build().unwrap();
    let _redis = tier::redis(bed.backend(0), 6379).unwrap();
    bed.backend(0).namespace().ip(&["route add local 198.19.0.0/24 dev lo"]).unwrap();
    bed.balancer()
        .namespace()
        .ip(&[format!("route add 198.19.0.0/24 via {}", bed.backend(0).address_v4())])
        .unwrap();
    in_balancer(&bed, async || {
        let names: Vec<String> = (1..=100).map(|number| format!("b{number}")).collect();
        let hosts: Vec<_> = names
            .iter()
            .zip(1_u8..)
            .map(|(name, number)| (name.as_str(), std::net::Ipv4Addr::new(198, 19, 0, number).into()))
            .collect();
        let (handle, events) = runner::spawn(Options { concurrency: 3, seed: 1 });
        let mut watched = Watched { handle, events };
        watched.handle.replace(targets_of(&configuration(bed.vip(false)?, 6379, "tcp", "", &hosts)));
        let mut left: BTreeMap<&str, u32> = names.iter().map(|name| (name.as_str(), 2)).collect();
        let twice_each = |event| {
            if let Event::Checked(checked) = event {
                assert_eq!(checked.report.outcome, Outcome::Passed, "{checked:?}");
                if let Some(count) = left.get_mut(&*checked.id.backend) {
                    *count = count.saturating_sub(1);
                }
            }
            left.values().all(|count| *count == 0).then_some(())
        };
        watched.next("two checks of each", twice_each).await
    });
}
