//! The bed itself, without a balancer: what it connects, what it keeps apart, and that nothing of it stays.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, SocketAddr},
    panic,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use lb_tests::{
    bed::{Bed, BedName, HttpServer, INTERFACE, Nginx, existing, run, sweep},
    load::Load,
    wait::wait_until,
};

const FAMILIES: [bool; 2] = [false, true];
/// Set for [`helper_holds_a_bed_until_it_is_killed`], which is a process of its own.
const HELPER: &str = "LB_TESTS_HOLD_A_BED";

fn namespaces_of(bed: &BedName) -> usize {
    ["switch", "client", "balancer", "backend-1"]
        .into_iter()
        .filter(|role| Path::new("/var/run/netns").join(bed.namespace(role)).exists())
        .count()
}

fn process_exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn the_client_reaches_every_node_and_nginx_on_each_backend() {
    let bed = Bed::builder().backends(3).build().unwrap();
    for node in [bed.balancer()].into_iter().chain(bed.backends()) {
        for v6 in FAMILIES {
            let ping = ["-n", "-c", "1", "-W", "5", &node.address(v6).to_string()];
            run(bed.client().command("ping").args(ping)).unwrap();
        }
    }
    let servers: Vec<Nginx> =
        bed.backends().iter().map(|backend| Nginx::start(backend, backend.role()).unwrap()).collect();
    for backend in bed.backends() {
        for v6 in FAMILIES {
            let url = format!("http://{}/", SocketAddr::new(backend.address(v6), 80));
            let output = bed.client().command("curl").args(["-gsS", "-m", "5", &url]).output().unwrap();
            assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
            assert_eq!(String::from_utf8_lossy(&output.stdout), backend.role(), "{url}");
        }
    }
    drop(servers);
}

#[test]
fn nobody_answers_for_a_vip_on_the_wire() {
    let bed = Bed::builder().backends(2).build().unwrap();
    for vip in bed.vips() {
        let address = vip.to_string();
        let prefix = if vip.is_ipv6() { 128 } else { 32 };
        bed.client().namespace().ip(&[format!("route replace {vip}/{prefix} dev {INTERFACE}")]).unwrap();
        let ping =
            bed.client().command("ping").args(["-n", "-c", "2", "-W", "1", &address]).output().unwrap();
        assert!(!ping.status.success(), "{}", String::from_utf8_lossy(&ping.stdout));
        let neighbours = bed.client().command("ip").args(["neigh", "show", &address]).output().unwrap();
        let neighbours = String::from_utf8_lossy(&neighbours.stdout).into_owned();
        assert!(!neighbours.contains("lladdr"), "someone answered: {neighbours}");
        assert!(
            neighbours.contains("FAILED") || neighbours.contains("INCOMPLETE"),
            "never asked: {neighbours}"
        );
    }
}

#[test]
fn without_a_balancer_a_vip_answers_nobody() {
    let bed = Bed::builder().build().unwrap();
    let _server = HttpServer::start(bed.backend(0), 80, "backend-1").unwrap();
    for v6 in FAMILIES {
        let target = SocketAddr::new(bed.vip(v6).unwrap(), 80);
        let report = Load::new(target, 1).timeout(Duration::from_millis(500)).run(bed.client()).unwrap();
        assert_eq!((report.answered(), report.failed), (0, 1), "{report:?}");
    }
}

/// The kernel's routing in the balancer's place: the bed carries layer-2 direct server return.
#[test]
fn a_frame_for_the_vip_sent_to_a_backend_is_answered_straight_to_the_client() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let servers: Vec<HttpServer> =
        bed.backends().iter().map(|b| HttpServer::start(b, 8080, b.role()).unwrap()).collect();
    let router = bed.balancer().namespace();
    router.set_sysctl("net/ipv4/ip_forward", 1).unwrap();
    router.set_sysctl("net/ipv6/conf/all/forwarding", 1).unwrap();
    for v6 in FAMILIES {
        let vip = bed.vip(v6).unwrap();
        for (backend, server) in bed.backends().iter().zip(&servers) {
            let route = format!("route replace {vip} via {} dev {INTERFACE}", backend.address(v6));
            router.ip(&[route]).unwrap();
            let before = server.accepted();
            let report = Load::new(SocketAddr::new(vip, 8080), 200).run(bed.client()).unwrap();
            report.require_all().unwrap();
            assert_eq!(report.of(backend.role()), 200, "{report:?}");
            assert_eq!(server.accepted() - before, 200);
        }
    }
}

#[test]
fn a_load_comes_from_the_ports_and_addresses_it_was_given() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let _server = HttpServer::start(backend, 80, "backend-1").unwrap();
    let extra: IpAddr = "198.18.0.5".parse().unwrap();
    bed.client().add_address(extra, 24).unwrap();
    let target = SocketAddr::new(backend.address(false), 80);
    let sources: Vec<SocketAddr> = (0..50).map(|i| SocketAddr::new(extra, 40_000 + i)).collect();
    let report = Load::new(target, 50).answers(["backend-1"]).sources(sources).run(bed.client()).unwrap();
    report.require_all().unwrap();
    // The server closes first: its end of each connection stays in TIME_WAIT and names the client's.
    let output =
        backend.command("ss").args(["-Htan", "state", "time-wait", "dst", "198.18.0.5"]).output().unwrap();
    let ends = String::from_utf8_lossy(&output.stdout).into_owned();
    for port in 40_000..40_050 {
        assert!(ends.contains(&format!("198.18.0.5]:{port}")), "no connection from port {port}: {ends}");
    }

    let wrong = Load::new(target, 3).answers(["backend-2"]).run(bed.client()).unwrap();
    assert_eq!(wrong.failed, 3);
    assert!(wrong.require_all().unwrap_err().to_string().contains("unexpected answer"));
}

#[test]
fn nothing_stays_after_a_drop() {
    let bed = Bed::builder().build().unwrap();
    let mut nginx = Nginx::start(bed.backend(0), "backend-1").unwrap();
    let pid = nginx.process().pid();
    let name = bed.name().clone();
    let pins = name.pins();
    std::fs::create_dir_all(bed.pin_dir()).unwrap();
    assert_eq!(namespaces_of(&name), 4);
    // The other order than that of most tests: the bed must cope with a process that still runs.
    drop(bed);
    drop(nginx);
    assert_eq!(namespaces_of(&name), 0);
    assert!(!name.directory().exists() && !pins.exists() && !process_exists(pid));
    assert!(!existing().contains(&name));
}

#[test]
fn nothing_stays_after_a_panic() {
    let mut seen = None;
    let panicked = panic::catch_unwind(panic::AssertUnwindSafe(|| {
        let bed = Bed::builder().build().unwrap();
        let mut sleeper = bed.backend(0).spawn("sleep", ["600"]).unwrap();
        sleeper.must_run().unwrap();
        seen = Some((bed.name().clone(), sleeper.pid()));
        panic!("on purpose");
    }));
    let (name, pid) = seen.unwrap();
    assert!(panicked.is_err());
    assert!(!process_exists(pid), "the process outlived the panic");
    assert_eq!(namespaces_of(&name), 0);
    assert!(!existing().contains(&name));
}

#[test]
fn what_a_killed_process_left_is_swept() {
    let mut helper = Command::new(env::current_exe().unwrap())
        .args(["--exact", "helper_holds_a_bed_until_it_is_killed", "--nocapture", "--include-ignored"])
        .env(HELPER, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(helper.stdout.take().unwrap()).lines().map_while(Result::ok);
    let words: Vec<String> = lines
        .into_iter()
        .find_map(|line| line.split_once("holding ").map(|(_, rest)| rest.to_owned()))
        .expect("the helper says what it holds")
        .split(' ')
        .map(str::to_owned)
        .collect();
    let name = BedName::of(&words[0]).unwrap();
    let pid: u32 = words[1].parse().unwrap();

    assert!(!sweep().unwrap().contains(&name), "a living process lost its bed");
    assert_eq!(namespaces_of(&name), 4);
    helper.kill().unwrap();
    helper.wait().unwrap();
    assert_eq!(namespaces_of(&name), 4, "kill -9 lets nobody clean up");
    wait_until(Duration::from_secs(5), "the death of the helper's child", || !process_exists(pid)).unwrap();

    // Another test's first bed may have been quicker.
    sweep().unwrap();
    assert_eq!(namespaces_of(&name), 0);
    assert!(!name.pins().exists() && !name.directory().exists());
    Bed::builder().build().unwrap();
}

#[test]
#[ignore = "a helper, run by what_a_killed_process_left_is_swept"]
fn helper_holds_a_bed_until_it_is_killed() {
    if env::var_os(HELPER).is_none() {
        return;
    }
    let bed = Bed::builder().build().unwrap();
    let sleeper = bed.backend(0).spawn("sleep", ["600"]).unwrap();
    std::fs::create_dir_all(bed.pin_dir()).unwrap();
    // Only then has it been told to die with its parent.
    let comm = format!("/proc/{}/comm", sleeper.pid());
    let sleeps = || std::fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep");
    wait_until(Duration::from_secs(5), "the start of sleep", sleeps).unwrap();
    println!("holding {} {}", bed.name(), sleeper.pid());
    std::io::stdout().flush().unwrap();
    // Ends with the parent too, when that goes without killing this.
    let _ = std::io::stdin().lines().next();
}
