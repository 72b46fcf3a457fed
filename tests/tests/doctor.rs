//! `xdp-lb doctor` on a bed: what it finds, and that mending what it says mends it.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

use std::net::SocketAddr;

use anyhow::Result;
use lb_tests::{
    ask::{row, start_resolved},
    bed::{Bed, INTERFACE, built},
    config::{Service, config},
};
use serde_json::Value;

/// The answer of `xdp-lb doctor eth0`, and whether it was content.
fn doctor(bed: &Bed) -> Result<(Value, bool)> {
    let output = bed.xdp_lb()?.args(["doctor", INTERFACE, "--json"]).output()?;
    Ok((serde_json::from_slice(&output.stdout)?, output.status.success()))
}

fn verdict(findings: &Value, check: &str) -> String {
    let row = row(findings, &[("check", check)]).unwrap();
    assert_eq!(row["mend"].is_null(), row["verdict"] == "ok", "{row}");
    row["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn it_finds_what_is_there_and_what_is_wrong() {
    let bed = Bed::builder().backends(1).build().unwrap();
    let (fresh, content) = doctor(&bed).unwrap();
    assert!(content, "{fresh}");
    for check in [
        "kernel",
        "bpf",
        "btf",
        "bpffs",
        "capabilities",
        "pinned",
        "eth0 link",
        "eth0 native xdp",
        "eth0 lro",
    ] {
        assert_eq!(verdict(&fresh, check), "ok", "{fresh}");
    }
    let link = row(&fresh, &[("check", "eth0 link")]).unwrap();
    assert_eq!(link["found"], "up, veth");
    let vip = SocketAddr::new(bed.vip(false).unwrap(), 80);
    let balancer =
        start_resolved(&bed, &config(&bed, &[Service::tcp("web", vip).hosts(bed.backends(), &[1])]));
    let _balancer = balancer.unwrap();
    let (running, content) = doctor(&bed).unwrap();
    assert!(content, "{running}");
    let text = |check| row(&running, &[("check", check)]).unwrap()["found"].as_str().unwrap().to_owned();
    assert!(text("pinned").contains("with 1 backends"), "{running}");
    assert!(text("eth0 program").contains("carries the balancer's"), "{running}");
    // The same interface, looked at for another balancer: it carries a program which is not that one's.
    let mut other = bed.balancer().command(built("xdp-lb").unwrap());
    other.arg("--pin-dir").arg(bed.pin_dir().with_file_name("other")).args(["doctor", INTERFACE]);
    let output = other.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("fail  eth0 program: carries another XDP program, id "), "{said}");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("1 thing does not work; mend what is marked `fail`"), "{error}");
}

#[test]
fn faults_are_told_and_their_mending_is_seen() {
    let bed = Bed::builder().backends(1).build().unwrap();
    let namespace = bed.balancer().namespace();
    let ip = |command: String| namespace.ip(&[command]).unwrap();
    // A kernel without VLANs has none to be confused.
    let vlans =
        namespace.ip(&[format!("link add link {INTERFACE} name {INTERFACE}.5 type vlan id 5")]).is_ok();
    ip(format!("link set {INTERFACE} mtu 1000"));
    let set = |on: &str| {
        let mut ethtool = bed.balancer().command("ethtool");
        assert!(ethtool.args(["-K", INTERFACE, "rxvlan", on]).status().unwrap().success());
    };
    set("on");
    let (faulty, content) = doctor(&bed).unwrap();
    assert_eq!(verdict(&faulty, "eth0 mtu"), "warn");
    assert_eq!(content, !vlans, "{faulty}");
    if vlans {
        assert_eq!(verdict(&faulty, "eth0 vlan"), "fail");
    }
    set("off");
    ip(format!("link set {INTERFACE} mtu 1500"));
    let (mended, content) = doctor(&bed).unwrap();
    assert!(content, "{mended}");
    assert_eq!(verdict(&mended, "eth0 mtu"), "ok");
    ip(format!("link set {INTERFACE} down"));
    let (down, content) = doctor(&bed).unwrap();
    assert!(!content, "{down}");
    assert_eq!(verdict(&down, "eth0 link"), "fail");
    let missing = bed.xdp_lb().unwrap().args(["doctor", "eth9"]).output().unwrap();
    let error = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.status.code() == Some(1) && error.contains("there is no interface \"eth9\""), "{error}");
}
