//! nat: a backend's port, and configurations in which an answer would not tell its service.

use super::{accepted, check};
use std::fmt::Write;

/// A service of nat (`!`) or l2-dsr: name, address and protocol, then the addresses of its backends; six lines and three for
/// each backend.
fn service(words: &str) -> String {
    let words: Vec<_> = words.split(' ').collect();
    let [name, address, protocol, backends @ ..] = &words[..] else { panic!("{words:?}") };
    let (name, mode) = name.strip_prefix('!').map_or((*name, "l2-dsr"), |name| (name, "nat"));
    let mut text = format!(
        "[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nprotocol = \"{protocol}\"\nforwarding = \"{mode}\"\nslots = 64\n"
    );
    for (number, backend) in backends.iter().enumerate() {
        write!(text, "[[service.backend]]\nname = \"b{number}\"\naddress = \"{backend}\"\n").unwrap();
    }
    text
}

fn services(all: &[&str]) -> String {
    all.iter().map(|words| service(words)).collect()
}

#[test]
fn a_backend_of_nat_may_have_a_port() {
    let config = accepted(&services(&[
        "!a 192.0.2.10:80 tcp 198.18.0.11:8080 198.18.0.11:8081 198.18.0.12",
        "!b [2001:db8::10]:80 udp [2001:db8:18::11]:8080 2001:db8:18::11",
    ]));
    let service = &config.services[0];
    assert_eq!(service.backends.iter().map(|b| service.port_of(b)).collect::<Vec<_>>(), [8080, 8081, 80]);
    assert_eq!(config.services[1].backends[0].port, 8080);
}

#[test]
fn answers_that_tell_their_service_are_accepted() {
    let rows: &[&[&str]] = &[
        // Another port, another protocol, another address.
        &["!a 192.0.2.10:80 tcp 198.18.0.11:8080", "!b 192.0.2.11:80 tcp 198.18.0.11"],
        &["!a 192.0.2.10:53 tcp 198.18.0.11", "!b 192.0.2.11:53 udp 198.18.0.11"],
        &["!a 192.0.2.10:80 tcp 198.18.0.11", "!b 192.0.2.11:80 tcp 198.18.0.12"],
        // Backends of other modes answer from the virtual address.
        &["!a 192.0.2.10:80 tcp 198.18.0.11", "b 192.0.2.11:80 tcp 198.18.0.11"],
        &["!a 192.0.2.10:0 tcp 198.18.0.11", "b 192.0.2.11:80 tcp 198.18.0.11"],
        // Every port but one, which the same address and port of the same backend take.
        &["!a 192.0.2.10:0 tcp 198.18.0.11", "!b 192.0.2.10:80 tcp 198.18.0.11"],
        &["!a 192.0.2.10:0 tcp 198.18.0.11", "!b 192.0.2.11:80 udp 198.18.0.11"],
    ];
    for row in rows {
        accepted(&services(row));
    }
}

#[test]
fn answers_that_do_not_are_refused() {
    check(&[
        (
            services(&["!a 192.0.2.10:80 tcp 198.18.0.11:8080", "!b 192.0.2.11:80 tcp 198.18.0.11:8080"]),
            "18:11: backend b/b0 answers from 198.18.0.11:8080, and so does a/b0 on line 9: nat could not tell of which service an answer is; give the backend another port or address, or one of the services another forwarding",
        ),
        (
            services(&["!a 192.0.2.10:80 tcp 198.18.0.11:8080", "!b 192.0.2.10:8080 tcp 198.18.0.11"]),
            "18:11: backend b/b0 answers from 198.18.0.11:8080, and so does a/b0 on line 9: nat could not tell of which service an answer is; give the backend another port or address, or one of the services another forwarding",
        ),
        (
            services(&["!a 192.0.2.10:80 tcp 198.18.0.11:80 198.18.0.11"]),
            "12:11: backend a/b1 answers from 198.18.0.11:80, and so does a/b0 on line 9: nat could not tell of which service an answer is; give the backend another port or address, or one of the services another forwarding",
        ),
        (
            services(&["!a 192.0.2.10:0 tcp 198.18.0.11", "!b 192.0.2.11:0 tcp 198.18.0.11"]),
            "18:11: backend b/b0 answers from every port of 198.18.0.11, and so does a/b0 on line 9: nat could not tell of which service an answer is; give the backend another port or address, or one of the services another forwarding",
        ),
        (
            services(&["!a 192.0.2.10:0 tcp 198.18.0.11", "!b 192.0.2.11:80 tcp 198.18.0.11"]),
            "18:11: backend b/b0 answers from 198.18.0.11:80, and so does a/b0, from every port: nat could not tell of which service an answer is; give the backend another address, or one of the services another forwarding",
        ),
        (
            services(&["!a 192.0.2.10:80 tcp 198.18.0.11:8080", "!b 192.0.2.10:0 tcp 198.18.0.11"]),
            "9:11: backend a/b0 answers from 198.18.0.11:8080, and so does b/b0, from every port: nat could not tell of which service an answer is; give the backend another address, or one of the services another forwarding",
        ),
        (
            services(&["!a 192.0.2.10:80 tcp 192.0.2.11:8080", "b 192.0.2.11:80 tcp"]),
            r#"9:11: backend a/b0: address 192.0.2.11 is that of service "b", which nat would send on again; write the real server's"#,
        ),
        (
            services(&["!a 192.0.2.10:80 tcp 192.0.2.10:8080"]),
            "9:11: address 192.0.2.10 is the service's own; write the real server's",
        ),
        (
            services(&["!a 192.0.2.10:0 tcp 198.18.0.11:8080"]),
            r#"9:11: address "198.18.0.11:8080" has a port, but the service has every port and could not tell to which an answer belongs; write "198.18.0.11""#,
        ),
        (
            services(&["!a 192.0.2.10:80 tcp [2001:db8::11]:8080"]),
            "9:11: address 2001:db8::11 is IPv6, which nat cannot reach from a service of IPv4; use an IPv4 address",
        ),
        (
            services(&["!a 192.0.2.10:80 tcp 198.18.0.11:0"]),
            r#"9:11: address "198.18.0.11:0" has port 0; write "198.18.0.11""#,
        ),
        (
            services(&["a 192.0.2.10:80 tcp 198.18.0.11:8080"]),
            r#"9:11: address "198.18.0.11:8080" has a port, which needs forwarding "nat"; write "198.18.0.11""#,
        ),
        (
            services(&["!a 192.0.2.10:80 tcp 198.18.0.11:8080 198.18.0.11:8080"]),
            "12:11: backend address 198.18.0.11:8080 is taken by line 9; name each server once, with the weight it is to have",
        ),
    ]);
}
