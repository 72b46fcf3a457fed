//! What is judged how: one change of a good machine at a time.

use super::{
    Finding, Verdict,
    interface::{self, Facts, GRO_HW, LRO, Native, VLAN},
    machine::{self, Machine, Pinned},
};

fn good() -> Machine {
    Machine {
        release: "6.1.0-56-amd64".to_owned(),
        btf: true,
        bpffs: Some(true),
        jit: Some(1),
        bpf: Ok(()),
        lacking: Vec::new(),
        files: Some(524_288),
        neighbours: [Some(1024); 2],
        pinned: Pinned::Nothing,
    }
}

fn card() -> Facts {
    Facts {
        name: "eth0".to_owned(),
        up: true,
        driver: Some("ixgbe".to_owned()),
        mtu: 1500,
        native: Native::Whole,
        queues: Some(8),
        cpus: 8,
        offloads: vec!["rx-checksum".to_owned(), VLAN.to_owned()],
        vlans: false,
        program: None,
        rp_filter: Some(2),
    }
}

fn ours(backends: usize, nat: bool) -> Pinned {
    Pinned::Ours { backends, nat, build: "0.1.0 0123".to_owned() }
}

/// What is not `ok`; each says what to do.
fn bad(findings: Vec<Finding>) -> Vec<(String, Verdict)> {
    let bad = findings.into_iter().filter(|finding| {
        assert_eq!(finding.mend.is_none(), finding.verdict == Verdict::Ok, "{finding:?}");
        assert!(!finding.found.is_empty(), "{finding:?}");
        finding.verdict != Verdict::Ok
    });
    bad.map(|finding| (finding.check, finding.verdict)).collect()
}

#[test]
fn a_good_machine_is_found_good() {
    assert_eq!(bad(machine::judge(&good())), []);
    assert_eq!(bad(interface::judge(&card(), &Pinned::Nothing)), []);
    assert_eq!(bad(interface::judge(&card(), &ours(4, true))), []);
    for release in ["5.18.0", "6.18.44-fc-v595", "7.0.1"] {
        assert_eq!(bad(machine::judge(&Machine { release: release.to_owned(), ..good() })), [], "{release}");
    }
    assert_eq!(bad(machine::judge(&Machine { pinned: ours(512, true), ..good() })), []);
}

#[test]
fn each_fault_of_a_machine_is_told() {
    use Verdict::{Fail, Warn};
    let rows = [
        (Machine { release: "5.17.9".to_owned(), ..good() }, "kernel", Fail),
        (Machine { release: "4.19".to_owned(), ..good() }, "kernel", Fail),
        (Machine { release: "unknown".to_owned(), ..good() }, "kernel", Warn),
        (Machine { btf: false, ..good() }, "btf", Fail),
        (Machine { bpffs: Some(false), ..good() }, "bpffs", Fail),
        (Machine { bpffs: None, ..good() }, "bpffs", Warn),
        (Machine { jit: Some(0), ..good() }, "jit", Warn),
        (Machine { jit: None, ..good() }, "jit", Warn),
        (Machine { bpf: Err("no".to_owned()), ..good() }, "bpf", Fail),
        (Machine { lacking: vec!["CAP_BPF".to_owned()], ..good() }, "capabilities", Fail),
        (Machine { files: Some(1024), ..good() }, "open files", Warn),
        (Machine { files: None, ..good() }, "open files", Warn),
        (Machine { neighbours: [None, Some(1024)], ..good() }, "neighbours ipv4", Warn),
        (Machine { pinned: Pinned::Unusable("of version 3".to_owned()), ..good() }, "pinned", Fail),
    ];
    for (machine, check, verdict) in rows {
        assert_eq!(bad(machine::judge(&machine)), [(check.to_owned(), verdict)], "{machine:?}");
    }
    let crowded = Machine { pinned: ours(513, false), ..good() };
    let findings = machine::judge(&crowded);
    let mends: Vec<_> = findings.iter().filter_map(|finding| finding.mend.clone()).collect();
    assert_eq!(
        mends,
        ["ipv4", "ipv6"].map(|of| format!("sysctl -w net.{of}.neigh.default.gc_thresh3=4096")),
        "{findings:?}"
    );
}

#[test]
fn each_fault_of_an_interface_is_told() {
    use Verdict::{Fail, Warn};
    let offload = |name: &str| vec![name.to_owned()];
    let rows = [
        (Facts { up: false, ..card() }, "link", Fail),
        (Facts { native: Native::Not, ..card() }, "native xdp", Warn),
        (Facts { native: Native::Basic, ..card() }, "native xdp", Warn),
        (Facts { native: Native::Unknown, ..card() }, "native xdp", Warn),
        (Facts { program: Some((7, false)), ..card() }, "program", Fail),
        (Facts { mtu: 1000, ..card() }, "mtu", Warn),
        (Facts { queues: Some(1), ..card() }, "queues", Warn),
        (Facts { queues: None, ..card() }, "queues", Warn),
        (Facts { offloads: offload(LRO), ..card() }, "lro", Fail),
        (Facts { offloads: offload(GRO_HW), ..card() }, "gro-hw", Warn),
        (Facts { vlans: true, ..card() }, "vlan", Fail),
    ];
    for (facts, check, verdict) in rows {
        let found = bad(interface::judge(&facts, &Pinned::Nothing));
        assert_eq!(found, [(format!("eth0 {check}"), verdict)], "{facts:?}");
    }
    let strict = Facts { rp_filter: Some(1), ..card() };
    assert_eq!(bad(interface::judge(&strict, &Pinned::Nothing)), [], "it matters for nat alone");
    assert_eq!(bad(interface::judge(&strict, &ours(1, true))), [("eth0 rp_filter".to_owned(), Warn)]);
    let jumbo = Facts { mtu: 9000, program: Some((7, true)), ..card() };
    assert_eq!(bad(interface::judge(&jumbo, &Pinned::Nothing)), []);
}
