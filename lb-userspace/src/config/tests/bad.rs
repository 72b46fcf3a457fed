use super::{and, check, daemon, with};

#[test]
fn toml() {
    check(&[
        (
            daemon("interfaces = [\"eth0\""),
            "2:21: not valid TOML (unclosed array, expected `]`); mend the line",
        ),
        (
            daemon("xdp_mode = auto"),
            "2:12: not valid TOML (string values must be quoted, expected literal string); mend the line",
        ),
        (
            daemon("xdp_mode = \"auto"),
            r#"2:17: not valid TOML (invalid basic string, expected `"`); mend the line"#,
        ),
        (daemon("xdp_mode"), "2:9: not valid TOML (key with no value, expected `=`); mend the line"),
        (daemon("[daemon"), "2:8: not valid TOML (unclosed table, expected `]`); mend the line"),
        (daemon("[daemon]"), "2:2: this key or table is there already; remove one of the two"),
        (
            daemon("log = \"info\"\nlog = \"warn\""),
            "3:1: this key or table is there already; remove one of the two",
        ),
        (
            with(7, "slots = 99999999999999999999"),
            "7:9: this number has too many digits; write a smaller one",
        ),
        (
            with(7, "slots = 08"),
            "7:9: not valid TOML (unexpected leading zero, expected nothing); mend the line",
        ),
    ]);
}

#[test]
fn keys_and_types() {
    check(&[
        (daemon("interface = [\"eth0\"]"), r#"2:1: unknown key "interface"; did you mean "interfaces"?"#),
        ("[deamon]\n".into(), r#"1:2: unknown key "deamon"; did you mean "daemon"?"#),
        ("[[services]]\n".into(), r#"1:3: unknown key "services"; did you mean "service"?"#),
        (with(15, "wieght = 100"), r#"15:1: unknown key "wieght"; did you mean "weight"?"#),
        (
            with(2, "colour = \"red\""),
            r#"2:1: unknown key "colour"; the keys here are name, address, protocol, forwarding, algorithm, per_client, slots, hash_on, mss, panic_threshold, slow_start, health, weights, backend"#,
        ),
        (with(9, "typ = \"none\""), r#"9:1: unknown key "typ"; did you mean "type"?"#),
        (with(11, "mod = \"static\""), r#"11:1: unknown key "mod"; did you mean "mode"?"#),
        (
            with(2, "\"a`b\\nc\" = 1"),
            r#"2:1: unknown key "a`b\nc"; the keys here are name, address, protocol, forwarding, algorithm, per_client, slots, hash_on, mss, panic_threshold, slow_start, health, weights, backend"#,
        ),
        (
            "[service]\nname = \"a\"\n".into(),
            "1:1: a table or date cannot stand here; write an array, in square brackets (of tables: [[name]])",
        ),
        ("daemon = 1\n".into(), "1:10: an integer cannot stand here; write a table"),
        (
            daemon("interfaces = \"eth0\""),
            "2:14: a string cannot stand here; write an array, in square brackets (of tables: [[name]])",
        ),
        (daemon("interfaces = [1]"), "2:15: an integer cannot stand here; write a string, in quotes"),
        (
            daemon("hash_key = 12345678901234567"),
            "2:12: an integer cannot stand here; write a string, in quotes",
        ),
        (with(2, "name = true"), "2:8: a boolean cannot stand here; write a string, in quotes"),
        (with(7, "slots = \"64\""), "7:9: a string cannot stand here; write a whole number, without quotes"),
        (
            with(15, "weight = 1.5"),
            "15:10: a number with a fraction cannot stand here; write a whole number, without quotes",
        ),
        (
            with(4, "protocol = 1979-05-27"),
            "4:12: a table or date cannot stand here; write a string, in quotes",
        ),
    ]);
}

#[test]
fn daemon_values() {
    check(&[
        (daemon("interfaces = [\"\"]"), r#"2:15: interface "" is 0 bytes long; use 1 to 15"#),
        (
            daemon("interfaces = [\"eth0\", \"sixteen-bytes-16\"]"),
            r#"2:23: interface "sixteen-bytes-16" is 16 bytes long; use 1 to 15"#,
        ),
        (
            daemon("interfaces = [\"eth 0\"]"),
            r#"2:15: interface "eth 0" cannot be a name; write it as "ip link" shows it"#,
        ),
        (
            daemon("interfaces = [\"a/b\"]"),
            r#"2:15: interface "a/b" cannot be a name; write it as "ip link" shows it"#,
        ),
        (
            daemon("interfaces = [\"eth0\",\n  \"eth0\"]"),
            r#"3:3: interface "eth0" is taken by line 2; name it once"#,
        ),
        (daemon("xdp_mode = \"natve\""), r#"2:12: xdp_mode "natve" is unknown; did you mean "native"?"#),
        (
            daemon("xdp_mode = \"offload\""),
            r#"2:12: xdp_mode "offload" is unknown; use "auto", "native" or "generic""#,
        ),
        (
            daemon("log = \"verbose\""),
            r#"2:7: log "verbose" is unknown; use "error", "warn", "info", "debug" or "trace""#,
        ),
        (
            daemon("tunnel_source = [\"198.18.64.0\"]"),
            r#"2:18: tunnel_source "198.18.64.0" is not a prefix; write it like "198.18.64.0/18" or "2001:db8:1::/64""#,
        ),
        (
            daemon("tunnel_source = [\"198.18.64.1/18\"]"),
            r#"2:18: tunnel_source "198.18.64.1/18" has bits behind the prefix; set them to 0"#,
        ),
        (
            daemon("tunnel_source = [\"198.18.64.0/33\"]"),
            r#"2:18: tunnel_source "198.18.64.0/33" has a length out of bounds; use 1 to 32"#,
        ),
        (
            daemon("tunnel_source = [\"198.18.64.0/18\", \"198.19.0.0/24\"]"),
            "2:36: a second IPv4 prefix in tunnel_source; name one of a family",
        ),
        (
            daemon("api_tls = { certificate = \"/a\", key = \"/b\", client_ca = \"/c\" }"),
            r#"2:11: api_tls has no address; add one like address = "192.0.2.1:9478""#,
        ),
        (
            daemon("api_tls = { address = \"[::1]:1\", key = \"/b\", client_ca = \"/c\" }"),
            "2:11: api_tls has no certificate; name a PEM file with the daemon's certificate",
        ),
        (
            daemon("api_tls = { address = \"[::1]:1\", certificate = \"/a\", client_ca = \"/c\" }"),
            "2:11: api_tls has no key; name a PEM file with the key of its certificate",
        ),
        (
            daemon("api_tls = { address = \"[::1]:1\", certificate = \"/a\", key = \"/b\" }"),
            "2:11: api_tls has no client_ca; name a PEM file with the authority whose certificates may use the API; it is not served without",
        ),
        (
            daemon(
                "api_tls = { address = \"[::1]:1\", certificate = \"/a\", key = \"b\", client_ca = \"/c\" }",
            ),
            r#"2:60: key "b" is not absolute; start it with /"#,
        ),
        (daemon("answer_rate = -1"), "2:15: answer_rate -1 is out of bounds; use 0 to 1000000"),
        (daemon("gue_port = 0"), "2:12: gue_port 0 is out of bounds; use 1 to 65535"),
        (
            daemon("pin_dir = \"sys/fs/bpf\""),
            r#"2:11: pin_dir "sys/fs/bpf" is not absolute; start it with /"#,
        ),
        (daemon("pin_dir = \"/\""), "2:11: pin_dir is the root; name a path below it"),
        (
            daemon("state_dir = \"/var/../etc\""),
            r#"2:13: state_dir "/var/../etc" is not a plain path; write it without ".." and control characters"#,
        ),
        (daemon("state_dir = \"\""), r#"2:13: state_dir "" is not absolute; start it with /"#),
        (daemon("api = \"api.sock\""), r#"2:7: api "api.sock" is not absolute; start it with /"#),
        (daemon(&format!("api = \"/{}\"", "s".repeat(107))), "2:7: api is 108 bytes long; use at most 107"),
        (
            daemon("metrics = \":9477\""),
            r#"2:11: metrics ":9477" is not an IP address and port; write it like "127.0.0.1:9477""#,
        ),
        (
            daemon("hash_key = \"0011\""),
            r#"2:12: hash_key has 4 hexadecimal digits; write 32 of them, as "openssl rand -hex 16" makes"#,
        ),
        (
            daemon("hash_key = \"g0112233445566778899aabbccddeeff\""),
            r#"2:12: hash_key is not all hexadecimal digits; write 32 of them, as "openssl rand -hex 16" makes"#,
        ),
        (
            daemon("hash_key = \"\""),
            r#"2:12: hash_key has 0 hexadecimal digits; write 32 of them, as "openssl rand -hex 16" makes"#,
        ),
    ]);
}

#[test]
fn service_values() {
    check(&[
        (with(2, ""), r#"1:1: service has no name; add name = "...""#),
        (with(2, "name = \"\""), "2:8: name is empty; give it one"),
        (
            with(2, "name = \"card auth\""),
            r#"2:8: name "card auth" holds ' '; use only letters A-Z a-z, digits and . _ -"#,
        ),
        (
            with(2, "name = \"zahlstraße\""),
            r#"2:8: name "zahlstraße" holds 'ß'; use only letters A-Z a-z, digits and . _ -"#,
        ),
        (with(2, "name = \"-a\""), r#"2:8: name "-a" starts with a sign; start it with a letter or digit"#),
        (with(2, &format!("name = \"{}\"", "n".repeat(65))), "2:8: name is 65 bytes long; use at most 64"),
        (with(3, ""), r#"1:1: service has no address; add one like address = "192.0.2.10:8583""#),
        (
            with(3, "address = \"192.0.2.10\""),
            r#"3:11: address "192.0.2.10" has no port; write it as "192.0.2.10:PORT", with port 0 for every port"#,
        ),
        (
            with(3, "address = \"2001:db8::10\""),
            r#"3:11: address "2001:db8::10" has no port; write it as "[2001:db8::10]:PORT", with port 0 for every port"#,
        ),
        (
            with(3, "address = \"pay.example:443\""),
            r#"3:11: address "pay.example:443" is not an IP address and port; write it like "192.0.2.10:8583" or "[2001:db8::10]:8583""#,
        ),
        (
            with(3, "address = \"192.0.2.10:65536\""),
            r#"3:11: address "192.0.2.10:65536" is not an IP address and port; write it like "192.0.2.10:8583" or "[2001:db8::10]:8583""#,
        ),
        (
            with(3, "address = \"[fe80::1%2]:80\""),
            r#"3:11: address "[fe80::1%2]:80" has a scope; write it without the part from "%" on"#,
        ),
        (
            with(3, "address = \"[::ffff:192.0.2.10]:80\""),
            "3:11: address ::ffff:192.0.2.10 is IPv4 mapped into IPv6; write 192.0.2.10",
        ),
        (with(3, "address = \"0.0.0.0:80\""), "3:11: address 0.0.0.0 is unspecified; use a unicast address"),
        (
            with(3, "address = \"127.0.0.1:80\""),
            "3:11: address 127.0.0.1 is a loopback address; use a unicast address",
        ),
        (
            with(3, "address = \"224.0.0.1:80\""),
            "3:11: address 224.0.0.1 is a multicast address; use a unicast address",
        ),
        (
            with(3, "address = \"255.255.255.255:80\""),
            "3:11: address 255.255.255.255 is the broadcast address; use a unicast address",
        ),
        (
            with(3, "address = \"[ff02::1]:80\""),
            "3:11: address ff02::1 is a multicast address; use a unicast address",
        ),
        (with(4, ""), r#"1:1: service has no protocol; add protocol = "tcp" or "udp""#),
        (with(4, "protocol = \"tpc\""), r#"4:12: protocol "tpc" is unknown; did you mean "tcp"?"#),
        (with(4, "protocol = \"sctp\""), r#"4:12: protocol "sctp" is unknown; use "tcp" or "udp""#),
        (with(5, "forwarding = \"l2dsr\""), r#"5:14: forwarding "l2dsr" is unknown; did you mean "l2-dsr"?"#),
        (with(6, "algorithm = \"magelv\""), r#"6:13: algorithm "magelv" is unknown; did you mean "maglev"?"#),
        (
            with(6, "algorithm = \"random\""),
            r#"6:13: algorithm "random" is unknown; use "hash", "maglev", "round-robin" or "least-connections""#,
        ),
        (
            with(6, "algorithm = \"maglev\"\nper_client = true"),
            r#"7:14: per_client needs algorithm "round-robin", and here it is "maglev"; remove per_client, or choose that"#,
        ),
        (
            with(6, "per_client = true"),
            r#"6:14: per_client needs algorithm "round-robin", and here it is "hash"; remove per_client, or choose that"#,
        ),
        (
            with(6, "per_client = \"yes\""),
            "6:14: a string cannot stand here; write true or false, without quotes",
        ),
        (with(7, "slots = 0"), "7:9: slots 0 is out of bounds; use a power of two from 64 to 1048576"),
        (with(7, "slots = 32"), "7:9: slots 32 is out of bounds; use a power of two from 64 to 1048576"),
        (with(7, "slots = 1000"), "7:9: slots 1000 is not a power of two; use 512 or 1024"),
        (
            with(7, "slots = 2097152"),
            "7:9: slots 2097152 is out of bounds; use a power of two from 64 to 1048576",
        ),
        (with(7, "slots = -64"), "7:9: slots -64 is out of bounds; use a power of two from 64 to 1048576"),
        (
            and("[[service]]\nname = \"card-auth\"\naddress = \"192.0.2.11:1\"\nprotocol = \"tcp\""),
            r#"17:8: service name "card-auth" is taken by line 2; choose another"#,
        ),
        (
            and("[[service]]\nname = \"b\"\naddress = \"192.0.2.10:8583\"\nprotocol = \"tcp\""),
            r#"18:11: address "192.0.2.10:8583" with protocol "tcp" is taken by line 3; give one of the two another address, port or protocol"#,
        ),
    ]);
}

#[test]
fn weights_values() {
    check(&[
        (
            with(11, "mode = \"latency\""),
            r#"11:8: weights mode "latency" takes latencies from health checks, and there are none; add [service.health]"#,
        ),
        (with(11, ""), r#"10:1: weights has no mode; add mode = "static" or "latency""#),
    ]);
}

#[test]
fn backend_values() {
    let second = |name: &str, address: &str| {
        and(&format!("[[service.backend]]\nname = \"{name}\"\naddress = \"{address}\""))
    };
    check(&[
        (with(13, ""), r#"12:1: backend has no name; add name = "...""#),
        (
            with(13, "name = \"auth/1\""),
            r#"13:8: name "auth/1" holds '/'; use only letters A-Z a-z, digits and . _ -"#,
        ),
        (with(14, ""), r#"12:1: backend has no address; add one like address = "198.18.0.11""#),
        (
            with(14, "address = \"198.18.0.11:8443\""),
            r#"14:11: address "198.18.0.11:8443" has a port, which needs forwarding "nat"; write "198.18.0.11""#,
        ),
        (
            with(14, "address = \"auth-1.example\""),
            r#"14:11: address "auth-1.example" is not an IP address; write it like "198.18.0.11" or "2001:db8::11""#,
        ),
        (
            with(14, "address = \"2001:db8::11\""),
            "14:11: address 2001:db8::11 is IPv6, which l2-dsr cannot reach from a service of IPv4; use an IPv4 address",
        ),
        (
            with(14, "address = \"::ffff:198.18.0.11\""),
            "14:11: address ::ffff:198.18.0.11 is IPv4 mapped into IPv6; write 198.18.0.11",
        ),
        (
            with(14, "address = \"192.0.2.10\""),
            "14:11: address 192.0.2.10 is the service's own; write the real server's",
        ),
        (with(14, "address = \"0.0.0.0\""), "14:11: address 0.0.0.0 is unspecified; use a unicast address"),
        (
            with(14, "address = \"127.0.0.1\""),
            "14:11: address 127.0.0.1 is a loopback address; use a unicast address",
        ),
        (
            with(14, "address = \"239.0.0.1\""),
            "14:11: address 239.0.0.1 is a multicast address; use a unicast address",
        ),
        (with(15, "weight = -1"), "15:10: weight -1 is out of bounds; use 0 to 10000"),
        (with(15, "weight = 10001"), "15:10: weight 10001 is out of bounds; use 0 to 10000"),
        (
            with(3, "address = \"[2001:db8::10]:80\""),
            "14:11: address 198.18.0.11 is IPv4, which l2-dsr cannot reach from a service of IPv6; use an IPv6 address",
        ),
        (
            second("auth-1", "198.18.0.12"),
            r#"17:8: backend name "auth-1" is taken by line 13; choose another"#,
        ),
        (
            second("auth-2", "198.18.0.11"),
            "18:11: backend address 198.18.0.11 is taken by line 14; name each server once, with the weight it is to have",
        ),
    ]);
}

#[test]
fn service_options() {
    check(&[
        (with(7, "hash_on = \"ports\""), r#"7:11: hash_on "ports" is unknown; use "flow" or "addresses""#),
        (with(7, "mss = 535"), "7:7: mss 535 is out of bounds; use 536 to 65535"),
        (with(7, "mss = 70000"), "7:7: mss 70000 is out of bounds; use 536 to 65535"),
    ]);
}

#[test]
fn how_flows_are_remembered() {
    check(&[
        (daemon("flows = 1023"), "2:9: flows 1023 is out of bounds; use 1024 to 16777216"),
        (daemon("flows = 16777217"), "2:9: flows 16777217 is out of bounds; use 1024 to 16777216"),
        (
            daemon("learn = \"6\""),
            r#"2:9: learn "6" is not a time span; write a whole number and ms, s, m or h, like "1s""#,
        ),
        (
            daemon("learn = \"m\""),
            r#"2:9: learn "m" is not a time span; write a whole number and ms, s, m or h, like "1s""#,
        ),
        (
            daemon("idle = \"1.5h\""),
            r#"2:8: idle "1.5h" is not a time span; write a whole number and ms, s, m or h, like "1s""#,
        ),
        (daemon("learn = \"999ms\""), r#"2:9: learn "999ms" is out of bounds; use 1s to 24h"#),
        (daemon("learn = \"25h\""), r#"2:9: learn "25h" is out of bounds; use 1s to 24h"#),
        (daemon("learn_udp = \"61m\""), r#"2:13: learn_udp "61m" is out of bounds; use 1s to 1h"#),
        (
            daemon("idle = \"99999999999999999999h\""),
            r#"2:8: idle "99999999999999999999h" is out of bounds; use 1s to 168h"#,
        ),
    ]);
}
