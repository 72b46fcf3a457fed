//! A backend becomes slow and fast again, under connections that do not notice but for their share.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use lb_tests::{
    ask::{json, slots, start},
    bed::Bed,
    crowd::{Crowd, Habit, Servers},
    iso8583_host::{Iso8583Host, Options},
    wait::wait_for,
    workers::Workers,
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::site::{HASTY, SERVICE, SOON, Site, config, force, service};

const PORT: u16 = 8080;
/// The port that is checked, and whose answers are slow.
const CHECKED: u16 = 81;
const FAST: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_millis(60);
const CHECK: &str = "port = 81, interval = \"50ms\", timeout = \"50ms\", fall = 1000";
const HABIT: Habit = Habit { connections: 200, pause: Duration::from_millis(200), messages: 15 };

fn steered() -> String {
    format!("mode = \"latency\", {HASTY}")
}

/// Value of a series that Prometheus would read.
fn scraped(site: &Site, series: &str) -> f64 {
    let text = site.bed.balancer().run_in(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9477")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    let text = text.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

#[test]
fn weights_leave_a_slow_backend_keep_a_floor_and_come_back_and_break_nothing() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let workers = Workers::new().unwrap();
    let times: Vec<_> =
        bed.backends().iter().map(|host| workers.serve(host, CHECKED, 8, FAST).unwrap()).collect();
    let talk = Servers::new().unwrap();
    bed.backends().iter().for_each(|host| talk.serve(host, PORT).unwrap());
    // A check may take as long as a slow answer.
    let check =
        CHECK.replace("50ms\", fall", "400ms\", fall").replace("interval = \"50ms\"", "interval = \"400ms\"");
    let law = steered().replace("min_samples = 3", "min_samples = 1");
    let services = service(&bed, SERVICE, PORT, &check, &law).unwrap();
    let site = Site::start(bed, &services).unwrap();
    let target = SocketAddr::new(site.bed.vip(false).unwrap(), PORT);
    thread::scope(|scope| {
        let crowd = Crowd::start(scope, site.bed.client(), target, HABIT);
        site.wait_for("backend-2", "a latency", |row| row["latency"]["smoothed_seconds"].is_number())
            .unwrap();
        times[1].set(SLOW);
        let row = site.wait_for("backend-2", "the floor", |row| force(row) < 20.0).unwrap();
        // A probe share stays: a tenth of the weight, before the sum is brought back to 300.
        assert!(force(&row) >= 10.0 && row["slots"].as_u64() > Some(20), "{row}");
        assert_eq!((&row["weight"], &row["state"]), (&100.into(), &"up".into()), "{row}");
        let others = force(&site.row("backend-1").unwrap()) + force(&site.row("backend-3").unwrap());
        assert!(others > 250.0, "{others}: what one loses the others get");
        let weights = &site.service().unwrap()["weights"];
        assert_eq!(weights["mode"], "steering", "{weights}");
        assert!(weights["mean_backend_latency_seconds"].as_f64() > Some(0.01), "{weights}");
        let latency = &row["latency"];
        assert!(latency["smoothed_seconds"].as_f64() > Some(0.04), "{latency}");
        assert!(latency["p50_seconds"].is_number() && latency["reason"].is_string(), "{latency}");
        let of = |name: &str| format!("xdp_lb_backend_{name}{{service=\"web\",backend=\"backend-2\"}}");
        assert!(scraped(&site, &of("weight_factor")) < 0.3);
        assert!(scraped(&site, &of("latency_smoothed_seconds")) > 0.04);
        assert!(scraped(&site, "xdp_lb_service_slot_moves_total{service=\"web\",cause=\"latency\"}") > 100.0);
        let told = json(&site.bed, &["service", "explain", "web"]).unwrap().to_string();
        for words in [
            "weights follow the latencies",
            "backend-2: weight 100 -> ",
            "of the mean",
            " s ago: backend-2: factor",
        ] {
            assert!(told.contains(words), "no {words:?} in {told}");
        }
        times[1].set(FAST);
        site.wait_for("backend-2", "most of its weight", |row| force(row) > 80.0).unwrap();
        wait_for(SOON, "connections of all", || {
            let seen = crowd.seen();
            let all = site.bed.backends().iter().all(|host| seen.open.get(host.role()) > Some(&0));
            Ok(all.then_some(()))
        })
        .unwrap();
        let seen = crowd.finish().unwrap();
        assert!(seen.broken.is_empty() && seen.refused == 0, "{seen:#?}");
        assert!(seen.closed > 0, "{seen:?}");
    });
}

#[test]
fn a_restart_keeps_the_weights_and_a_reload_to_static_ends_them() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let workers = Workers::new().unwrap();
    workers.serve(bed.backend(0), CHECKED, 8, FAST).unwrap();
    let slow = workers.serve(bed.backend(1), CHECKED, 8, FAST).unwrap();
    slow.set(Duration::from_millis(25));
    // No pull and no drift: what was learnt stays as it is while nothing new is.
    let services = service(&bed, SERVICE, PORT, CHECK, &steered()).unwrap();
    let mut site = Site::start(bed, &services).unwrap();
    site.wait_for("backend-2", "a small weight", |row| force(row) < 60.0).unwrap();
    site.balancer.kill().unwrap();
    let left = slots(&site.bed, SERVICE).unwrap();
    let share = |slots: &[u16]| slots.iter().filter(|slot| **slot == slots[0]).count();
    // The law that this daemon begins with does not step at once.
    let calm = services.replace("min_samples = 3", "min_samples = 10000");
    site.balancer = start(&site.bed, &config(&site.bed, &calm)).unwrap().0;
    let found = slots(&site.bed, SERVICE).unwrap();
    assert_eq!(lb_tests::ask::moved(&left, &found), 0, "{} and {}", share(&left), share(&found));
    assert!(force(&site.row("backend-2").unwrap()) < 60.0);

    let text = service(&site.bed, SERVICE, PORT, CHECK, "mode = \"static\"").unwrap();
    site.bed.write_config(&config(&site.bed, &text)).unwrap();
    site.balancer.signal(Signal::SIGHUP).unwrap();
    let row = site.wait_for("backend-2", "its configured weight", |row| force(row) >= 100.0).unwrap();
    assert_eq!((&row["latency"], &site.service().unwrap()["weights"]), (&Value::Null, &Value::Null));
    let told = json(&site.bed, &["service", "explain", "web"]).unwrap();
    assert!(told["lines"][0].as_str().unwrap().starts_with("weights are static"), "{told}");
    wait_for(SOON, "half of the slots", || Ok((site.slots("backend-2")? == 512).then_some(()))).unwrap();
}

#[test]
fn a_slow_host_of_iso_8583_gets_less_and_one_that_fails_gets_nothing() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let start = |host: usize, milliseconds: u64, response: &str| {
        let service_time = Duration::from_millis(milliseconds);
        let options = Options { service_time, response: Some(response.to_owned()), ..Options::default() };
        Iso8583Host::start_on(bed.backend(host), PORT, options).unwrap()
    };
    let (_first, _slow) = (start(0, 5, "00"), start(1, 60, "00"));
    let fails = start(2, 5, "91");
    let check = "interval = \"200ms\", timeout = \"200ms\", rise = 1, fall = 3";
    let services = service(&bed, SERVICE, PORT, check, &steered()).unwrap();
    let services = services.replace("type = \"http\", grace = \"1m\"", "type = \"iso8583\", grace = \"0s\"");
    let services = services.replace("algorithm = \"hash\"", "algorithm = \"round-robin\"");
    let site = Site { balancer: lb_tests::ask::start(&bed, &config(&bed, &services)).unwrap().0, bed };
    site.wait_for("backend-2", "less", |row| force(row) < 40.0 && force(row) >= 10.0).unwrap();
    let row = site.wait_for("backend-3", "nothing", |row| row["state"] == "down").unwrap();
    assert_eq!((&row["slots"], &row["latency"]["state"]), (&0.into(), &"frozen".into()), "{row}");
    // Well again, it is measured again.
    drop(fails);
    let _well = Iso8583Host::start_on(site.bed.backend(2), PORT, Options::default()).unwrap();
    site.wait_for("backend-3", "its weight", |row| force(row) > 80.0).unwrap();
}
