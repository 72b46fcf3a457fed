use super::{SERVICE, accepted, and, daemon, with};
use crate::config::{
    Algorithm, Backend, Choice, HashKey, LogLevel, Protocol, Tracking, XdpMode, load, rules::span,
};
use lb_common::backend::Forwarding;
use std::path::Path;

#[test]
fn an_empty_file_is_an_empty_balancer_with_the_defaults() {
    let config = accepted("");
    assert_eq!(config, accepted("[daemon]\n"));
    assert!(config.services.is_empty() && config.daemon.interfaces.is_empty());
    assert_eq!(config.daemon.xdp_mode, XdpMode::Auto);
    assert_eq!(config.daemon.state_dir, Path::new("/var/lib/xdp-lb"));
    assert_eq!(config.daemon.pin_dir, Path::new("/sys/fs/bpf/xdp-lb"));
    assert_eq!(config.daemon.api, Path::new("/run/xdp-lb/api.sock"));
    assert_eq!((config.daemon.hash_key, config.daemon.metrics), (None, None));
    assert_eq!(config.daemon.log, LogLevel::Info);
}

#[test]
fn a_daemon_with_everything() {
    let config = accepted(
        r#"
        [daemon]
        interfaces = ["eth0", "enp1s0f0.100"]
        xdp_mode = "generic"
        state_dir = "/srv/lb/state"
        pin_dir = "/sys/fs/bpf/second"
        hash_key = "000102030405060708090a0b0c0d0eFF"
        api = "/run/second.sock"
        metrics = "[::1]:9478"
        log = "debug"
        "#,
    );
    let daemon = config.daemon;
    assert_eq!(daemon.interfaces, ["eth0", "enp1s0f0.100"]);
    assert_eq!((daemon.xdp_mode, daemon.log), (XdpMode::Generic, LogLevel::Debug));
    assert_eq!(daemon.state_dir, Path::new("/srv/lb/state"));
    assert_eq!(daemon.pin_dir, Path::new("/sys/fs/bpf/second"));
    assert_eq!(daemon.api, Path::new("/run/second.sock"));
    assert_eq!(daemon.metrics, Some("[::1]:9478".parse().unwrap()));
    let key = HashKey([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
    assert_eq!(daemon.hash_key, Some(key));
    assert_eq!(format!("{key:?}"), "HashKey(secret)");
}

#[test]
fn a_service_with_everything() {
    let config = accepted(SERVICE);
    let service = &config.services[0];
    assert_eq!(service.name, "card-auth");
    assert_eq!((service.address.to_string(), service.port), ("192.0.2.10".to_owned(), 8583));
    assert_eq!((service.protocol, service.protocol.number()), (Protocol::Tcp, 6));
    assert_eq!((service.forwarding, service.algorithm), (Forwarding::L2Dsr, Algorithm::Hash));
    assert_eq!(service.slots, 64);
    let address = "198.18.0.11".parse().unwrap();
    assert_eq!(service.backends, [Backend { name: "auth-1".into(), address, port: 0, weight: 100 }]);
    assert_eq!(service.key().ip(), service.address);
    assert_eq!(service.key().port(), 8583);
}

#[test]
fn a_service_with_the_least() {
    let config = accepted("[[service]]\nname = \"a\"\naddress = \"[2001:db8::10]:0\"\nprotocol = \"udp\"\n");
    let service = &config.services[0];
    assert_eq!((service.port, service.slots), (0, 16_384));
    assert_eq!((service.protocol, service.protocol.number()), (Protocol::Udp, 17));
    assert_eq!((service.forwarding, service.algorithm), (Forwarding::L2Dsr, Algorithm::Hash));
    assert!(service.backends.is_empty());
}

#[test]
fn each_of_these_is_accepted() {
    let rows = [
        with(2, &format!("name = \"{}\"", "n".repeat(64))),
        with(2, "name = \"0.A_z-9\""),
        with(3, "address = \"192.0.2.10:0\""),
        with(3, "address = \"192.0.2.10:65535\""),
        with(5, ""),
        with(6, ""),
        with(6, "algorithm = \"round-robin\"\nper_client = true"),
        with(6, "algorithm = \"least-connections\"\nper_client = false"),
        with(7, "slots = 1048576"),
        with(7, "slots = 0x4000"),
        with(7, ""),
        with(15, "weight = 0"),
        with(15, "weight = 10_000"),
        with(15, ""),
        and("[[service.backend]]\nname = \"auth-2\"\naddress = \"198.18.0.12\""),
        // The same address and port with another protocol, the same address with another port, and every
        // port.
        and("[[service]]\nname = \"b\"\naddress = \"192.0.2.10:8583\"\nprotocol = \"udp\""),
        and("[[service]]\nname = \"b\"\naddress = \"192.0.2.10:8584\"\nprotocol = \"tcp\""),
        and("[[service]]\nname = \"b\"\naddress = \"192.0.2.10:0\"\nprotocol = \"tcp\""),
        // One server in two services, under one name.
        and("[[service]]\nname = \"b\"\naddress = \"192.0.2.11:1\"\nprotocol = \"tcp\"\n\
             [[service.backend]]\nname = \"auth-1\"\naddress = \"198.18.0.11\""),
        daemon("interfaces = [\"fifteen-bytes15\"]"),
        daemon(
            "api_tls = { address = \"[::]:9478\", certificate = \"/c.pem\", key = \"/k.pem\", client_ca = \"/a.pem\" }",
        ),
        daemon("interfaces = []"),
        SERVICE.replace('\n', "\r\n"),
        format!("\u{feff}{SERVICE}"),
    ];
    for row in &rows {
        accepted(row);
    }
}

#[test]
fn words_go_both_ways() {
    for (word, value) in XdpMode::CHOICES {
        assert_eq!(value.word(), *word);
    }
    assert_eq!((Forwarding::L2Dsr.word(), Algorithm::Hash.word()), ("l2-dsr", "hash"));
}

#[test]
fn a_file_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("lb.toml");
    std::fs::write(&file, SERVICE).unwrap();
    assert_eq!(load(&file).unwrap(), accepted(SERVICE));
}

#[test]
fn algorithms_and_how_flows_are_remembered() {
    for (word, value) in Algorithm::CHOICES {
        let config = accepted(&with(6, &format!("algorithm = \"{word}\"")));
        assert_eq!((config.services[0].algorithm, value.word()), (*value, *word));
        assert_eq!(config.daemon.tracking, Tracking::default());
    }
    let config = accepted(&with(6, "algorithm = \"round-robin\"\nper_client = true"));
    let algorithm = config.services[0].algorithm;
    assert_eq!((algorithm, algorithm.word()), (Algorithm::RoundRobin { per_client: true }, "round-robin"));
    assert_eq!(algorithm.places(64), 128);
    let text = "flows = 1_000_000\nlearn = \"90s\"\nlearn_udp = \"1500ms\"\nidle = \"2h\"";
    let tracking = accepted(&daemon(text)).daemon.tracking;
    assert_eq!((tracking.flows, tracking.learn.as_secs()), (1_000_000, 90));
    assert_eq!((tracking.learn_udp.as_millis(), tracking.idle.as_secs()), (1500, 7200));
    assert_eq!(
        span(tracking.learn_udp) + " " + &span(tracking.idle) + " " + &span(tracking.learn),
        "1500ms 2h 90s"
    );
}
