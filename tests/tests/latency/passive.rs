//! nat: the latency of the clients' own requests, without a single check.

use std::{net::SocketAddr, thread, time::Duration};

use lb_tests::{
    bed::{Bed, INTERFACE},
    closed_loop::ClosedLoop,
    config::Service,
    workers::Workers,
};

use crate::site::{HASTY, SERVICE, Site, force};

const PORT: u16 = 8080;
const CLIENTS: u32 = 12;
const FAST: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_millis(60);
/// Far longer than the cap: nobody gets an answer.
const HUNG: Duration = Duration::from_secs(4);
const THINK: Duration = Duration::from_millis(10);

/// Backends without VIPs, which reach the client by way of the balancer alone.
fn bed() -> Bed {
    let bed = Bed::builder().backends(3).build().unwrap();
    bed.balancer().namespace().set_sysctl("net/ipv4/ip_forward", 1).unwrap();
    let (client, balancer) = (bed.client().address(false), bed.balancer().address(false));
    let vip = bed.vip(false).unwrap();
    for backend in bed.backends() {
        let lines = [
            format!("addr del {vip}/32 dev lo"),
            format!("route add {client} via {balancer} dev {INTERFACE}"),
        ];
        backend.namespace().ip(&lines).unwrap();
    }
    bed
}

#[test]
fn requests_through_nat_tell_which_backend_is_slow_and_which_one_hangs() {
    let bed = bed();
    let target = SocketAddr::new(bed.vip(false).unwrap(), PORT);
    let workers = Workers::new().unwrap();
    let times: Vec<_> =
        bed.backends().iter().map(|host| workers.serve(host, PORT, 16, FAST).unwrap()).collect();
    let service =
        Service::tcp(SERVICE, target).forwarding("nat").hosts(bed.backends(), &[100; 3]).to_string();
    let keys = format!(
        "algorithm = \"hash\"\nslots = 1024\nslow_start = \"0s\"\nweights = {{ mode = \"latency\", sample = 1, {HASTY} }}"
    );
    let site = Site::start(bed, &service.replace("algorithm = \"hash\"", &keys)).unwrap();
    thread::scope(|scope| {
        let load = ClosedLoop::start(scope, site.bed.client(), target, CLIENTS, THINK);
        let row =
            site.wait_for("backend-2", "a latency", |row| row["latency"]["p50_seconds"].is_number()).unwrap();
        assert!(row["latency"]["p50_seconds"].as_f64() >= Some(0.004), "a request takes 5 ms: {row}");
        times[1].set(SLOW);
        let row = site.wait_for("backend-2", "less weight", |row| force(row) < 40.0).unwrap();
        assert!(row["latency"]["smoothed_seconds"].as_f64() > Some(0.03), "{row}");
        times[1].set(FAST);
        site.wait_for("backend-2", "its weight", |row| force(row) > 80.0).unwrap();
        // Nothing is answered, so no sample of an answer comes: the age of what waits has to tell.
        times[2].set(HUNG);
        let row = site.wait_for("backend-3", "less weight", |row| force(row) < 40.0).unwrap();
        assert!(row["latency"]["smoothed_seconds"].as_f64() > Some(0.1), "{row}");
        let requests = load.finish().unwrap();
        let failed = requests.iter().filter(|request| !request.answered).count();
        assert_eq!(failed, 0, "of {} requests", requests.len());
    });
}
