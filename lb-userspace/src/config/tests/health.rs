//! `[service.health]` and what belongs to it: the whole of it, the defaults, and each refusal.

use super::{SERVICE, accepted, check, with};
use crate::config::{Check, Choice, Health, Http, Iso8583, Start, Tls, Via};
use crate::health::iso8583::{Bitmap, Encoding, LengthEncoding, LengthHeader, Packing};
use std::time::Duration;

/// The service with these lines of `[service.health]`, of which the first is line 9.
fn lines(lines: &str) -> String {
    with(9, lines)
}

fn health(text: &str) -> Health {
    accepted(&lines(text)).services[0].health.clone().unwrap()
}

/// As [`lines`], in a service of this address, forwarding and backend.
fn service(address: &str, forwarding: &str, backend: &str, text: &str) -> String {
    lines(text)
        .replace("192.0.2.10:8583", address)
        .replace("l2-dsr", forwarding)
        .replace("198.18.0.11", backend)
}

#[test]
fn without_checks() {
    for text in [SERVICE.to_owned(), with(8, "").replace("type = \"none\"", "")] {
        let service = &accepted(&text).services[0];
        assert_eq!(service.health, None);
        assert_eq!(service.health_port_of(&service.backends[0]), None);
        assert_eq!((service.panic_threshold, service.slow_start), (50, Duration::from_secs(30)));
    }
}

#[test]
fn the_defaults() {
    let expected = Health {
        check: Check::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(500),
        rise: 2,
        fall: 3,
        grace: Duration::from_secs(10),
        start: Start::Up,
        source: None,
        via: Via::Direct,
        port: None,
    };
    assert_eq!(health("type = \"tcp\""), expected);
    let http = Http { path: "/".into(), host: None, status: (200, 399), body: None };
    assert_eq!(health("type = \"http\"").check, Check::Http(http));
    let tls = Tls { server_name: Some("pay.example".into()), verify: true, ca: None };
    assert_eq!(health("type = \"tls\"\nserver_name = \"pay.example\"").check, Check::Tls(tls));
    let header = LengthHeader::new(2, LengthEncoding::Binary).unwrap();
    let packing = Packing { encoding: Encoding::Ascii, bitmap: Bitmap::Hex };
    assert_eq!(health("type = \"iso8583\"").check, Check::Iso8583(Iso8583 { header, packing }));
}

#[test]
fn with_everything() {
    let text = r#"type = "https"
interval = "2s"
timeout = "1500ms"
rise = 1
fall = 5
grace = "1m"
start = "down"
source = "198.18.0.2"
via = "data-path"
port = 8443
path = "/health?deep=1"
host = "pay.example:8443"
status = "200"
body = "all good"
server_name = "auth.pay.example"
ca = "/etc/xdp-lb/ca.pem""#;
    let http = Http {
        path: "/health?deep=1".into(),
        host: Some("pay.example:8443".into()),
        status: (200, 200),
        body: Some("all good".into()),
    };
    let tls = Tls {
        server_name: Some("auth.pay.example".into()),
        verify: true,
        ca: Some("/etc/xdp-lb/ca.pem".into()),
    };
    let expected = Health {
        check: Check::Https(http, tls),
        interval: Duration::from_secs(2),
        timeout: Duration::from_millis(1500),
        rise: 1,
        fall: 5,
        grace: Duration::from_mins(1),
        start: Start::Down,
        source: Some("198.18.0.2".parse().unwrap()),
        via: Via::DataPath,
        port: Some(8443),
    };
    assert_eq!(health(text), expected);

    let keys = "type = \"iso8583\"\nheader_bytes = 4\nheader_encoding = \"ascii\"\nencoding = \"bcd\"\nbitmap = \"hex\"";
    let header = LengthHeader::new(4, LengthEncoding::Ascii).unwrap();
    let packing = Packing { encoding: Encoding::Bcd, bitmap: Bitmap::Hex };
    assert_eq!(health(keys).check, Check::Iso8583(Iso8583 { header, packing }));

    let service = &accepted(&with(7, "panic_threshold = 0\nslow_start = \"0s\"")).services[0];
    assert_eq!((service.panic_threshold, service.slow_start), (0, Duration::ZERO));
}

#[test]
fn what_one_key_says_of_another() {
    // Half the interval, and never long.
    assert_eq!(health("type = \"tcp\"\ninterval = \"100ms\"").timeout, Duration::from_millis(50));
    assert_eq!(health("type = \"tcp\"\ninterval = \"1h\"").timeout, Duration::from_secs(2));
    // A timeout of the whole interval.
    assert_eq!(health("type = \"tcp\"\ntimeout = \"1s\"").timeout, Duration::from_secs(1));
    // The name of the host is that of the certificate.
    let named = |text: &str| match health(text).check {
        Check::Https(_, tls) | Check::Tls(tls) => tls.server_name,
        other => panic!("{other:?}"),
    };
    let name = Some("pay.example".to_owned());
    assert_eq!(named("type = \"https\"\nhost = \"pay.example\""), name);
    assert_eq!(named("type = \"https\"\nhost = \"pay.example:8443\""), name);
    assert_eq!(named("type = \"https\"\nverify = false"), None);
    assert_eq!(named("type = \"tls\"\nserver_name = \"198.18.0.11\""), Some("198.18.0.11".to_owned()));
    // BCD has its bitmap in binary.
    let Check::Iso8583(iso8583) = health("type = \"iso8583\"\nencoding = \"bcd\"").check else { panic!() };
    assert_eq!(iso8583.packing, Packing { encoding: Encoding::Bcd, bitmap: Bitmap::Binary });
    let bytes = |text: &str| match health(text).check {
        Check::Iso8583(iso8583) => iso8583.header.bytes(),
        other => panic!("{other:?}"),
    };
    assert_eq!(bytes("type = \"iso8583\"\nheader_bytes = 0"), 0);
    assert_eq!(bytes("type = \"iso8583\"\nheader_bytes = 1\nheader_encoding = \"bcd\""), 1);
}

#[test]
fn the_port_that_is_checked() {
    let port = |text: &str| {
        let service = accepted(text).services.remove(0);
        service.health_port_of(&service.backends[0])
    };
    assert_eq!(port(&lines("type = \"tcp\"")), Some(8583));
    assert_eq!(port(&lines("type = \"tcp\"\nport = 9000")), Some(9000));
    let nat = |text| port(&service("192.0.2.10:443", "nat", "198.18.0.11:8443", text));
    assert_eq!(nat("type = \"tcp\""), Some(8443));
    assert_eq!(nat("type = \"tcp\"\nport = 9000"), Some(9000));
    let every = service("192.0.2.10:0", "l2-dsr", "198.18.0.11", "type = \"tcp\"\nport = 9000");
    assert_eq!(port(&every), Some(9000));
}

#[test]
fn words_go_both_ways() {
    for (word, value) in crate::config::CheckType::CHOICES {
        assert_eq!(value.word(), *word);
    }
    for word in ["tcp", "http", "iso8583"] {
        assert_eq!(health(&format!("type = \"{word}\"")).check.kind().word(), word);
    }
}

#[test]
fn types_and_keys() {
    check(&[
        (lines(""), r#"8:1: health has no type; add type = "tcp", or "none""#),
        (
            lines("type = \"icmp\""),
            r#"9:8: health type "icmp" is unknown; use "tcp", "http", "https", "tls", "iso8583" or "none""#,
        ),
        (lines("type = \"iso8853\""), r#"9:8: health type "iso8853" is unknown; did you mean "iso8583"?"#),
        (
            lines("type = \"none\"\nrise = 2"),
            r#"10:8: rise has no effect with health type "none"; remove it"#,
        ),
        (
            lines("type = \"tcp\"\npath = \"/\""),
            r#"10:8: path has no effect with health type "tcp"; remove it"#,
        ),
        (
            lines("type = \"http\"\nverify = false"),
            r#"10:10: verify has no effect with health type "http"; remove it"#,
        ),
        (
            lines("type = \"tls\"\nserver_name = \"a\"\nstatus = \"200\""),
            r#"11:10: status has no effect with health type "tls"; remove it"#,
        ),
        (
            lines("type = \"https\"\nverify = false\nheader_bytes = 2"),
            r#"11:16: header_bytes has no effect with health type "https"; remove it"#,
        ),
        (
            lines("type = \"tcp\"\nintervall = \"1s\""),
            r#"10:1: unknown key "intervall"; did you mean "interval"?"#,
        ),
        (
            lines("type = \"tcp\"\ninterval = 1"),
            "10:12: an integer cannot stand here; write a string, in quotes",
        ),
        (
            lines("type = \"tcp\"\nrise = \"2\""),
            "10:8: a string cannot stand here; write a whole number, without quotes",
        ),
        (
            lines("type = \"tls\"\nverify = \"no\""),
            "10:10: a string cannot stand here; write true or false, without quotes",
        ),
        (
            lines("type = \"http\"\nstatus = 200"),
            "10:10: an integer cannot stand here; write a string, in quotes",
        ),
    ]);
}

#[test]
fn times_and_counts() {
    let tcp = |line: &str| lines(&format!("type = \"tcp\"\n{line}"));
    check(&[
        (
            tcp("interval = \"1\""),
            r#"10:12: interval "1" is not a time span; write a whole number and ms, s, m or h, like "50ms""#,
        ),
        (
            tcp("timeout = \"0.5s\""),
            r#"10:11: timeout "0.5s" is not a time span; write a whole number and ms, s, m or h, like "10ms""#,
        ),
        (tcp("interval = \"49ms\""), r#"10:12: interval "49ms" is out of bounds; use 50ms to 1h"#),
        (tcp("interval = \"61m\""), r#"10:12: interval "61m" is out of bounds; use 50ms to 1h"#),
        (tcp("timeout = \"9ms\""), r#"10:11: timeout "9ms" is out of bounds; use 10ms to 1h"#),
        (
            tcp("timeout = \"1001ms\""),
            r#"10:11: timeout "1001ms" is longer than the interval; use at most "1s""#,
        ),
        (
            tcp("timeout = \"1m\"\ninterval = \"30s\""),
            r#"10:11: timeout "1m" is longer than the interval; use at most "30s""#,
        ),
        (tcp("grace = \"2h\""), r#"10:9: grace "2h" is out of bounds; use 0ms to 1h"#),
        (tcp("rise = 0"), "10:8: rise 0 is out of bounds; use 1 to 1000"),
        (tcp("fall = 1001"), "10:8: fall 1001 is out of bounds; use 1 to 1000"),
        (tcp("fall = -1"), "10:8: fall -1 is out of bounds; use 1 to 1000"),
        (tcp("start = \"on\""), r#"10:9: start "on" is unknown; use "up" or "down""#),
        (
            with(7, "panic_threshold = 101"),
            "7:19: panic_threshold 101 is out of bounds; use 0 (never) to 100, in percent",
        ),
        (with(7, "slow_start = \"90m\""), r#"7:14: slow_start "90m" is out of bounds; use 0ms to 1h"#),
    ]);
}

#[test]
fn addresses_and_ways() {
    let tcp = |line: &str| lines(&format!("type = \"tcp\"\n{line}"));
    check(&[
        (
            tcp("source = \"eth0\""),
            r#"10:10: source "eth0" is not an IP address; write one of this machine's, like "198.18.0.2" or "2001:db8::2""#,
        ),
        (
            tcp("source = \"127.0.0.1\""),
            "10:10: source 127.0.0.1 is a loopback address; use a unicast address",
        ),
        (
            tcp("source = \"2001:db8::2\""),
            "10:10: source 2001:db8::2 is IPv6, from which 198.18.0.11 cannot be checked; use an IPv4 address",
        ),
        (
            service("[2001:db8::10]:80", "ipip", "198.18.0.11", "type = \"tcp\"\nsource = \"2001:db8::2\""),
            "10:10: source 2001:db8::2 is IPv6, from which 198.18.0.11 cannot be checked; use an IPv4 address",
        ),
        (tcp("via = \"tunnel\""), r#"10:7: via "tunnel" is unknown; use "direct" or "data-path""#),
        (
            service("192.0.2.10:80", "gue", "198.18.0.11", "type = \"tcp\"\nvia = \"data-path\""),
            r#"10:7: via "data-path" with forwarding "gue" is not in this version; use "direct""#,
        ),
        (tcp("port = 0"), "10:8: port 0 is out of bounds; use 1 to 65535"),
        (tcp("port = 65536"), "10:8: port 65536 is out of bounds; use 1 to 65535"),
        (
            service("192.0.2.10:0", "l2-dsr", "198.18.0.11", "type = \"tcp\""),
            "8:1: the service has every port, and health has none to check; add port = ...",
        ),
    ]);
}

#[test]
fn requests_and_certificates() {
    let http = |line: &str| lines(&format!("type = \"http\"\n{line}"));
    let tls = |line: &str| lines(&format!("type = \"tls\"\n{line}"));
    check(&[
        (
            http("path = \"health\""),
            r#"10:8: path "health" does not start with a slash; write it like "/health""#,
        ),
        (
            http("path = \"/a b\""),
            r#"10:8: path "/a b" holds ' '; write that as % and two hexadecimal digits"#,
        ),
        (
            http("host = \"http://pay.example\""),
            r#"10:8: host "http://pay.example" is not a host name; write it like "pay.example" or "pay.example:8443""#,
        ),
        (
            http("host = \"\""),
            r#"10:8: host "" is not a host name; write it like "pay.example" or "pay.example:8443""#,
        ),
        (
            http("status = \"2xx\""),
            r#"10:10: status "2xx" is not a status of HTTP or a range of them; write it like "200" or "200-399""#,
        ),
        (
            http("status = \"399-200\""),
            r#"10:10: status "399-200" is not a status of HTTP or a range of them; write it like "200" or "200-399""#,
        ),
        (
            http("status = \"200-600\""),
            r#"10:10: status "200-600" is not a status of HTTP or a range of them; write it like "200" or "200-399""#,
        ),
        (http("body = \"\""), "10:8: body is 0 bytes long; use 1 to 1024"),
        (
            lines("type = \"tls\""),
            r#"8:1: health type "tls" verifies the certificate and has no name for it; add server_name = "...", or verify = false"#,
        ),
        (
            lines("type = \"https\"\nhost = \"[2001:db8::11]:443\""),
            r#"8:1: health type "https" verifies the certificate and has no name for it; add server_name = "...", or verify = false"#,
        ),
        (
            tls("server_name = \"pay example\""),
            r#"10:15: server_name "pay example" is neither a DNS name nor an IP address; write it like "pay.example""#,
        ),
        (
            tls("server_name = \"a\"\nca = \"ca.pem\""),
            r#"11:6: ca "ca.pem" is not absolute; start it with /"#,
        ),
        (
            tls("verify = false\nca = \"/etc/ca.pem\""),
            "11:6: ca has no effect with verify = false; remove one of the two",
        ),
    ]);
}

#[test]
fn messages_of_iso8583() {
    let iso8583 = |line: &str| lines(&format!("type = \"iso8583\"\n{line}"));
    check(&[
        (iso8583("header_bytes = 5"), "10:16: header_bytes 5 is out of bounds; use 0 (none) to 4"),
        (
            iso8583("header_bytes = 1\nheader_encoding = \"ascii\""),
            "10:16: header_bytes 1 of ASCII digits cannot tell the length of an 0800, 55 bytes; use 2 to 4, or another header_encoding",
        ),
        (
            iso8583("header_bytes = 0\nheader_encoding = \"ascii\""),
            "11:19: header_encoding has no effect with header_bytes 0; remove it",
        ),
        (
            iso8583("header_encoding = \"hex\""),
            r#"10:19: header_encoding "hex" is unknown; use "binary", "ascii" or "bcd""#,
        ),
        (iso8583("encoding = \"ebcdic\""), r#"10:12: encoding "ebcdic" is unknown; use "ascii" or "bcd""#),
        (iso8583("bitmap = \"ascii\""), r#"10:10: bitmap "ascii" is unknown; use "hex" or "binary""#),
    ]);
}
