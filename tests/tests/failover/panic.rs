//! Most of a service fails at once: health is not believed, and that is said loudly.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use lb_tests::{
    api::Events,
    bed::{Bed, Nginx},
    wait::wait_for,
};
use serde_json::Value;

use crate::site::{QUICK, SOON, Site, servers};

/// What Prometheus would read.
fn scrape(site: &Site) -> String {
    let text = site.bed.balancer().run_in(|| {
        let mut stream = TcpStream::connect("127.0.0.1:9477")?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    text.unwrap()
}

/// Value of a series.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

#[test]
fn in_panic_all_get_connections_and_everybody_is_told() {
    let bed = Bed::builder().backends(3).build().unwrap();
    let mut servers = servers(&bed).unwrap();
    let health = format!("{QUICK}, grace = \"300ms\"");
    let site = Site::start(bed, 80, &health, "slow_start = \"0s\"\npanic_threshold = 50").unwrap();
    site.wait_until_all_pass().unwrap();
    let mut events = Events::listen(&site.bed).unwrap();
    servers[0] = None;
    site.wait_for("backend-1", "down").unwrap();
    assert_eq!(
        (site.slots("backend-1").unwrap(), &site.service().unwrap()["panic"]),
        (0, &Value::Bool(false))
    );
    let text = scrape(&site);
    let of = |name: &str, labels: &str| {
        format!("xdp_lb_backend_{name}{{service=\"web\",backend=\"backend-1\"{labels}}}")
    };
    assert!((value(&text, &of("health", ",state=\"down\"")) - 1.0).abs() < f64::EPSILON);
    assert!((value(&text, &of("health_transitions_total", ",to=\"failing\"")) - 1.0).abs() < f64::EPSILON);
    assert!(value(&text, &of("checks_total", ",result=\"failed\"")) >= 3.0);
    assert!(value(&text, "xdp_lb_service_slot_moves_total{service=\"web\",cause=\"health\"}") >= 85.0);
    assert!(value(&text, "xdp_lb_check_duration_seconds_count{service=\"web\"}") >= 3.0);

    servers[1] = None;
    let told = events.wait_for("panic").unwrap();
    assert_eq!((&told["target"], &told["now"]["panic"]), (&"web".into(), &Value::Bool(true)));
    wait_for(SOON, "all to have slots", || {
        let all = ["backend-1", "backend-2", "backend-3"].map(|name| site.slots(name));
        Ok(all.into_iter().all(|slots| slots.is_ok_and(|slots| slots >= 85)).then_some(()))
    })
    .unwrap();
    let row = site.row("backend-1").unwrap();
    assert_eq!((&row["state"], &row["health"]["state"]), (&"up".into(), &"down".into()), "{row}");
    assert_eq!(site.service().unwrap()["panic"], Value::Bool(true));
    assert!(
        site.balancer.log().contains("service web PANICS: 1 of 3 backends are up"),
        "{}",
        site.balancer.log()
    );
    assert!((value(&scrape(&site), "xdp_lb_service_panic{service=\"web\"}") - 1.0).abs() < f64::EPSILON);

    servers[0] = Some(Nginx::start(site.bed.backend(0), "back").unwrap());
    let told = events.wait_for("panic").unwrap();
    assert_eq!(told["now"]["panic"], Value::Bool(false));
    site.wait_for("backend-2", "down").unwrap();
    wait_for(SOON, "the dead to have no slots again", || Ok((site.slots("backend-2")? == 0).then_some(())))
        .unwrap();
}
