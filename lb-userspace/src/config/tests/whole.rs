//! What is refused for the file as a whole, and how refusals are told.

use super::{SERVICE, check, daemon, refusal, with};
use crate::config::{load, parse};

#[test]
fn limits() {
    let backends = |count: usize| {
        (0..count).fold(String::new(), |text, i| {
            let address = std::net::Ipv4Addr::from(0xc612_0000 + i as u32);
            text + &format!("[[service.backend]]\nname = \"b{i}\"\naddress = \"{address}\"\n")
        })
    };
    let services = |count: usize, slots: u32, backends: &str| {
        (0..count).fold(String::new(), |text, i| {
            let address = std::net::Ipv4Addr::from(0xc000_0200 + i as u32);
            text + &format!(
                "[[service]]\nname = \"s{i}\"\naddress = \"{address}:1\"\nprotocol = \"tcp\"\nslots = {slots}\n{backends}"
            )
        })
    };
    check(&[
        (services(1, 64, &backends(65)), "5:9: slots 64 are fewer than the 65 backends with weight; use 128"),
        (services(4_097, 64, ""), "20481:1: more than 4096 services; move some to another balancer"),
        (services(257, 1 << 20, ""), "1281:1: more than 268435456 slots in all; give the services fewer"),
        (
            services(16, 4_096, &backends(4_096)),
            "196686:1: more than 65535 backends in all; move some to another balancer",
        ),
    ]);
    assert!(parse(&services(4_096, 64, ""), "lb.toml").is_ok());
    assert!(parse(&services(256, 1 << 20, ""), "lb.toml").is_ok());
    assert!(parse(&services(1, 64, &backends(64)), "lb.toml").is_ok());
    assert!(parse(&services(15, 4_096, &backends(4_096)), "lb.toml").is_ok());
}

#[test]
fn a_service_does_not_take_the_daemons_own_packets() {
    let tls = |service: &str| {
        format!(
            "[daemon]\nmetrics = \"192.0.2.1:9477\"\napi_tls = {{ address = \"192.0.2.1:9478\", certificate = \"/a\", key = \"/b\", client_ca = \"/c\" }}\n\
             [[service]]\nname = \"web\"\n{service}\n"
        )
    };
    check(&[
        (
            tls("address = \"192.0.2.1:9478\"\nprotocol = \"tcp\""),
            "6:11: service web would take the packets of 192.0.2.1:9478, where the daemon itself listens (api_tls); give one of the two another address or port",
        ),
        (
            tls("address = \"192.0.2.1:0\"\nprotocol = \"tcp\""),
            "6:11: service web would take the packets of 192.0.2.1:9477, where the daemon itself listens (metrics); give one of the two another address or port",
        ),
    ]);
    for other in [
        "192.0.2.1:9479\"\nprotocol = \"tcp\"",
        "192.0.2.1:0\"\nprotocol = \"udp\"",
        "192.0.2.2:9478\"\nprotocol = \"tcp\"",
    ] {
        assert!(parse(&tls(&format!("address = \"{other}")), "lb.toml").is_ok());
    }
}

#[test]
fn every_problem_is_told_in_the_order_of_the_file() {
    let text = with(7, "slots = 100").replace("weight = 100", "weight = 20000").replace("\"tcp\"", "\"tpc\"");
    assert_eq!(
        refusal(&text).lines().collect::<Vec<_>>(),
        [
            r#"lb.toml:4:12: protocol "tpc" is unknown; did you mean "tcp"?"#,
            "lb.toml:7:9: slots 100 is not a power of two; use 64 or 128",
            "lb.toml:15:10: weight 20000 is out of bounds; use 0 to 10000",
        ]
    );
}

#[test]
fn the_column_counts_characters() {
    check(&[(
        daemon("interfaces = [\"äöü\", \"a b\"]"),
        r#"2:22: interface "a b" cannot be a name; write it as "ip link" shows it"#,
    )]);
}

#[test]
fn the_secret_is_not_shown() {
    for line in [
        "hash_key = \"secretsecret\"",
        "hash_key = 5550123",
        "hash_key = [5550123]",
        "hash_key = \"5550123\"",
    ] {
        let told = refusal(&daemon(line));
        assert!(!told.contains("5550123") && !told.contains("secretsecret"), "{told}");
    }
}

#[test]
fn files_that_cannot_be_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("lb.toml");
    let told = |path: &std::path::Path| load(path).unwrap_err().to_string();
    let shown = path.display();
    assert_eq!(
        told(&path),
        format!(
            "{shown}: cannot be read (No such file or directory (os error 2)); create it or name another with -c FILE"
        )
    );
    assert_eq!(
        told(directory.path()),
        format!(
            "{}: cannot be read (Is a directory (os error 21)); name a file in it",
            directory.path().display()
        )
    );
    std::fs::write(&path, b"[daemon]\n# \xff").unwrap();
    assert_eq!(told(&path), format!("{shown}:2:3: not UTF-8; save the file as UTF-8"));
}

/// Whatever is damaged, each problem is one line with a place and a remedy.
#[test]
fn every_line_has_a_place_and_a_remedy() {
    for cut in (0..SERVICE.len()).filter(|&at| SERVICE.is_char_boundary(at)) {
        for text in [SERVICE[..cut].to_owned(), format!("{}?{}", &SERVICE[..cut], &SERVICE[cut..])] {
            let Err(error) = parse(&text, "lb.toml") else { continue };
            for line in error.to_string().lines() {
                assert!(
                    line.starts_with("lb.toml:") && (line.contains("; ") || line.ends_with('?')),
                    "{line}"
                );
            }
        }
    }
}
