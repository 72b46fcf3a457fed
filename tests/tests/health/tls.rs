//! Handshakes and certificates, with nginx.

use std::{fs, time::SystemTime};

use lb_tests::{
    bed::{Bed, Nginx},
    certificate::Authority,
    tier,
};
use lb_userspace::{config, health::target::targets};
use time::{Duration, OffsetDateTime};

use crate::checked::{assert_passed, check, configuration, failure};

/// A time of whole seconds, as a certificate has it.
fn in_days(days: i64) -> OffsetDateTime {
    (OffsetDateTime::now_utc() + Duration::days(days)).replace_nanosecond(0).unwrap()
}

#[test]
fn a_valid_certificate_passes_and_its_end_is_told() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let authority = Authority::new().unwrap();
    let end = in_days(30);
    let identity = authority.issue(&["pay.example", "198.18.0.11"], end).unwrap();
    let ca = bed.directory().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let trusted = format!("ca = \"{}\"", ca.display());
    let _nginx = Nginx::start_tls(
        backend,
        "over $ssl_protocol for $ssl_server_name\n",
        &identity.certificate,
        &identity.key,
    )
    .unwrap();
    for v6 in [false, true] {
        for (kind, asks) in [("tls", false), ("https", true)] {
            for keys in ["server_name = \"pay.example\"", "server_name = \"198.18.0.11\""] {
                let report = check(&bed, backend, v6, 443, kind, &format!("{keys}\n{trusted}"));
                assert_passed(&report, asks);
                assert_eq!(report.certificate.unwrap().not_after, SystemTime::from(end));
            }
            assert_passed(&check(&bed, backend, v6, 443, kind, "verify = false"), asks);
        }
        let body =
            format!("server_name = \"pay.example\"\n{trusted}\nbody = \"over TLSv1.3 for pay.example\"");
        assert_passed(&check(&bed, backend, v6, 443, "https", &body), true);
    }
}

#[test]
fn a_certificate_that_has_expired_is_not_valid() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let authority = Authority::new().unwrap();
    let end = in_days(-3);
    let identity = authority.issue(&["pay.example"], end).unwrap();
    let ca = bed.directory().join("ca.pem");
    fs::write(&ca, authority.pem()).unwrap();
    let _nginx = Nginx::start_tls(backend, "ok", &identity.certificate, &identity.key).unwrap();
    let keys = format!("server_name = \"pay.example\"\nca = \"{}\"", ca.display());
    let report = check(&bed, backend, false, 443, "https", &keys);
    let told = failure(&report);
    assert!(told.starts_with("TLS: invalid peer certificate: certificate expired"), "{told}");
    // It did not pass, and its end is known.
    assert_eq!(report.certificate.unwrap().not_after, SystemTime::from(end));
    let report = check(&bed, backend, false, 443, "https", "verify = false");
    assert_passed(&report, true);
    assert_eq!(report.certificate.unwrap().not_after, SystemTime::from(end));
}

#[test]
fn a_certificate_of_another_name_or_authority_is_not_valid() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let (authority, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let identity = authority.issue(&["pay.example"], in_days(30)).unwrap();
    let [own, foreign] = [("ca.pem", &authority), ("other.pem", &stranger)].map(|(name, authority)| {
        let file = bed.directory().join(name);
        fs::write(&file, authority.pem()).unwrap();
        format!("ca = \"{}\"", file.display())
    });
    let _nginx = Nginx::start_tls(backend, "ok", &identity.certificate, &identity.key).unwrap();
    for (name, ca, expected) in [
        ("shop.example", own.as_str(), "shop.example"),
        ("198.18.0.11", own.as_str(), "198.18.0.11"),
        ("pay.example", foreign.as_str(), "UnknownIssuer"),
        // Nothing that this system trusts has signed it.
        ("pay.example", "", "UnknownIssuer"),
    ] {
        let keys = format!("server_name = \"{name}\"\n{ca}");
        let told = failure(&check(&bed, backend, false, 443, "tls", &keys));
        assert!(told.starts_with("TLS: invalid peer certificate") && told.contains(expected), "{told}");
    }
}

#[test]
fn what_speaks_no_tls_does_not_pass() {
    let bed = Bed::builder().build().unwrap();
    let backend = bed.backend(0);
    let _redis = tier::redis(backend, 6379).unwrap();
    let _nginx = Nginx::start(backend, "ok").unwrap();
    let _mute = lb_tests::bed::Silent::start(backend, 9000).unwrap();
    let fails = |port, keys: &str| failure(&check(&bed, backend, false, port, "tls", keys));
    let told = fails(80, "verify = false");
    assert!(told.starts_with("TLS: "), "{told}");
    assert_eq!(fails(9000, "verify = false\ntimeout = \"200ms\""), "no TLS handshake within 200 ms");
}

#[test]
fn an_authority_that_cannot_be_read_is_told_of_before_any_check() {
    let directory = tempfile::tempdir().unwrap();
    let prepare = |name: &str| {
        let file = directory.path().join(name);
        let keys = format!("server_name = \"pay.example\"\nca = \"{}\"", file.display());
        let address = "198.18.0.11".parse().unwrap();
        let text = configuration("192.0.2.10".parse().unwrap(), 443, "tls", &keys, &[("b", address)]);
        targets(&config::parse(&text, "lb.toml").unwrap().services).unwrap_err().to_string()
    };
    let told = prepare("missing.pem");
    assert!(told.starts_with("health of service s: ") && told.contains("No such file"), "{told}");
    fs::write(directory.path().join("empty.pem"), "not a certificate\n").unwrap();
    let told = prepare("empty.pem");
    assert!(told.contains("empty.pem: no certificates to be read from it (it holds none)"), "{told}");
}
