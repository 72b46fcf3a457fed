//! The API over TLS: who gets in, who does not, and whose name the audit log has.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Output,
    time::Duration,
};

use anyhow::Result;
use lb_tests::{
    api_tls::ApiTls,
    ask::{shares, start, start_resolved},
    bed::{Bed, Process},
    config::{Service, config_with},
    wait::wait_until,
};
use serde_json::Value;

fn site() -> Result<(Bed, ApiTls, Process)> {
    let bed = Bed::builder().backends(2).build()?;
    let tls = ApiTls::new(&bed)?;
    let balancer = start_resolved(&bed, &text(&bed, &tls.key())?)?;
    Ok((bed, tls, balancer))
}

fn text(bed: &Bed, key: &str) -> Result<String> {
    let vip = SocketAddr::new(bed.vip(false)?, 80);
    let text = config_with(bed, key, &[Service::tcp("web", vip).hosts(bed.backends(), &[1, 1])]);
    Ok(text.replace("algorithm = \"hash\"", "algorithm = \"hash\"\nslots = 256"))
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_certificate_of_the_authority_opens_and_its_subject_is_in_the_audit_log() {
    let (bed, tls, _balancer) = site().unwrap();
    tls.client("ops-anna").unwrap();
    let change = |client| {
        let mut curl = tls.curl(bed.client(), client);
        curl.args(["-X", "PATCH", "-H", "Content-Type: application/json", "-d", "{\"weight\":3}"]);
        curl.arg(tls.url("/v1/services/web/backends/backend-1")).output().unwrap()
    };
    let none = change(None);
    assert!(!none.status.success() && error(&none).contains("certificate required"), "{}", error(&none));
    tls.stranger("mallory").unwrap();
    let stranger = change(Some("mallory"));
    assert!(!stranger.status.success() && error(&stranger).contains("alert"), "{}", error(&stranger));
    assert_eq!(shares(&bed, "web").unwrap(), [128, 128]);

    let done = change(Some("ops-anna"));
    assert!(done.status.success(), "{}", error(&done));
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&answer["dry_run"], &answer["moved"]), (&Value::Bool(false), &64.into()), "{answer}");
    assert_eq!(shares(&bed, "web").unwrap(), [192, 64]);
    let log = fs::read_to_string(bed.directory().join("state/audit.jsonl")).unwrap();
    let who = format!(r#""who":{{"certificate":"CN=ops-anna","address":"{}"}}"#, bed.client().address(false));
    assert_eq!(log.lines().count(), 1, "those who were refused changed nothing: {log}");
    assert!(log.contains(&who), "{log}");
}

#[test]
fn nothing_is_said_without_tls() {
    let (bed, tls, _balancer) = site().unwrap();
    let address: SocketAddr = tls.url("").trim_start_matches("https://").parse().unwrap();
    let said = bed.client().run_in(|| {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(b"GET /v1/services HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
        let mut said = Vec::new();
        // It may be reset before all is read.
        let _ = stream.read_to_end(&mut said);
        Ok(said)
    });
    let said = said.unwrap();
    // At most an alert (RFC 8446, section 6), whose record begins so.
    assert!(said.is_empty() || said[0] == 21, "{}", String::from_utf8_lossy(&said));
}

#[test]
fn renewed_files_hold_for_the_next_client() {
    let (bed, tls, balancer) = site().unwrap();
    tls.client("ops").unwrap();
    let serial = || {
        let mut curl = tls.curl(bed.client(), Some("ops"));
        curl.args(["--output", "/dev/null", "--write-out", "%{certs}"]).arg(tls.url("/v1/config"));
        let output = curl.output().unwrap();
        assert!(output.status.success(), "{}", error(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let before = serial();
    assert!(before.contains("BEGIN CERTIFICATE"), "{before}");
    tls.renew().unwrap();
    wait_until(Duration::from_secs(20), "the renewed certificate", || serial() != before).unwrap();
    // A broken one is not taken, and the old one stays.
    let renewed = serial();
    fs::write(tls.file("api.pem"), "no certificate").unwrap();
    assert_eq!(serial(), renewed);
    assert!(
        balancer.log().contains("holds no certificate; name a PEM file; the API goes on"),
        "{}",
        balancer.log()
    );
}

#[test]
fn files_that_are_no_certificates_stop_the_start() {
    let bed = Bed::builder().backends(2).build().unwrap();
    let tls = ApiTls::new(&bed).unwrap();
    let good = text(&bed, &tls.key()).unwrap();
    tls.client("ops").unwrap();
    for (from, to, says) in [
        ("api.pem", "missing.pem", "api_tls: certificate"),
        ("client-ca.pem", "api.key", "holds no certificate; name a PEM file"),
        ("api.key", "ops.key", "do not go together"),
        ("api.key", "api.pem", "api_tls: key"),
    ] {
        let bad = start(&bed, &good.replace(&format!("/{from}\""), &format!("/{to}\"")));
        let told = format!("{:#}", bad.unwrap_err());
        assert!(told.contains(says), "{from} {to}: {told}");
    }
    let incomplete = start(&bed, &good.replace(", client_ca = ", " } # "));
    let told = format!("{:#}", incomplete.unwrap_err());
    assert!(told.contains("api_tls has no client_ca") && told.contains("not served without"), "{told}");
}
