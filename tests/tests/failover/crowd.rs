//! A crowd of connections while a machine dies, and while a check is wrong.

use std::{collections::BTreeSet, net::SocketAddr, thread, time::Duration};

use lb_tests::{
    api::Events,
    ask,
    bed::{Bed, INTERFACE, Nginx},
    crowd::{Crowd, Habit, Servers},
    wait::wait_for,
};

use crate::site::{QUICK, SOON, Site, servers};

const PORT: u16 = 8583;
const HABIT: Habit = Habit { connections: 200, pause: Duration::from_millis(200), messages: 15 };

/// Waits until connections of a backend are open.
fn until_has(crowd: &Crowd<'_>, backend: &str) {
    wait_for(SOON, &format!("connections of {backend}"), || {
        Ok(crowd.seen().open.get(backend).is_some_and(|open| *open > 0).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_machine_that_dies_loses_its_own_connections_and_comes_back_slowly() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let _checked = servers(&bed).unwrap();
    let talk = Servers::new().unwrap();
    bed.backends().iter().for_each(|host| talk.serve(host, PORT).unwrap());
    let health = format!("{QUICK}, grace = \"1s\"");
    let site = Site::start(bed, PORT, &health, "slow_start = \"8s\"").unwrap();
    site.wait_until_all_pass().unwrap();
    let dies = site.bed.backend(1);
    let link = |up: &str| {
        ask::output(dies.command("ip").args(["link", "set", "dev", INTERFACE, up])).unwrap();
    };
    let mut events = Events::listen(&site.bed).unwrap();
    let target: SocketAddr = site.vip().unwrap();
    thread::scope(|scope| {
        let crowd = Crowd::start(scope, site.bed.client(), target, HABIT);
        site.bed.backends().iter().for_each(|host| until_has(&crowd, host.role()));
        link("down");
        let told = events.wait_for("health").unwrap();
        assert_eq!((&told["target"], &told["now"]["state"]), (&"web/backend-2".into(), &"failing".into()));
        let told = events.wait_for("health").unwrap();
        assert_eq!((&told["target"], &told["now"]["state"]), (&"web/backend-2".into(), &"down".into()));
        assert!(told["now"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{told}");
        let row = site.wait_for("backend-2", "down").unwrap();
        assert_eq!(
            (&row["slots"], &row["effective_weight"], &row["weight"]),
            (&0.into(), &0.into(), &100.into())
        );
        // Clients of the dead one learn of it, and are served elsewhere.
        wait_for(SOON, "no connection to wait for the dead", || {
            let open: u64 = crowd.seen().open.values().sum();
            let dead = crowd.seen().open.get("backend-2").copied().unwrap_or_default();
            Ok((dead == 0 && open >= u64::from(HABIT.connections) * 9 / 10).then_some(()))
        })
        .unwrap();
        link("up");
        let told = events.wait_for("health").unwrap();
        assert_eq!((&told["target"], &told["now"]["state"]), (&"web/backend-2".into(), &"up".into()));
        // It rises: some of its weight first, then all.
        let part = |row: &serde_json::Value| row["effective_weight"].as_f64().unwrap();
        let mut seen = BTreeSet::new();
        wait_for(SOON, "the whole weight", || {
            let row = site.row("backend-2")?;
            seen.insert(part(&row) as u64);
            Ok((part(&row) >= 100.0).then_some(()))
        })
        .unwrap();
        assert!(seen.range(1..60).next().is_some() && seen.len() >= 4, "weights in force: {seen:?}");
        until_has(&crowd, "backend-2");
        let seen = crowd.finish().unwrap();
        let broken: Vec<_> = seen.broken.keys().filter(|name| *name != "backend-2").collect();
        assert!(broken.is_empty() && seen.refused == 0, "{seen:#?}");
        assert!(seen.broken.contains_key("backend-2"), "the dead one had connections: {seen:#?}");
    });
}

#[test]
fn a_false_alarm_breaks_nothing() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let mut checked = servers(&bed).unwrap();
    let talk = Servers::new().unwrap();
    bed.backends().iter().for_each(|host| talk.serve(host, PORT).unwrap());
    let health = format!("{QUICK}, grace = \"1m\"");
    let site = Site::start(bed, PORT, &health, "slow_start = \"0s\"").unwrap();
    site.wait_until_all_pass().unwrap();
    let target = site.vip().unwrap();
    thread::scope(|scope| {
        let crowd = Crowd::start(scope, site.bed.client(), target, HABIT);
        site.bed.backends().iter().for_each(|host| until_has(&crowd, host.role()));
        for _ in 0..2 {
            checked[1] = None;
            let row = site.wait_for("backend-2", "failing").unwrap();
            assert_eq!((&row["slots"], &row["health"]["state"]), (&0.into(), &"failing".into()));
            // New connections go elsewhere; its own end when they end.
            wait_for(SOON, "its last connection to end", || {
                Ok((crowd.seen().open.get("backend-2") == Some(&0)).then_some(()))
            })
            .unwrap();
            checked[1] = Some(Nginx::start(site.bed.backend(1), "back").unwrap());
            site.wait_for("backend-2", "up").unwrap();
            until_has(&crowd, "backend-2");
        }
        let seen = crowd.finish().unwrap();
        assert!(seen.broken.is_empty() && seen.refused == 0, "{seen:#?}");
    });
}
