//! Machines and users that cannot run it.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::Result;
use lb_tests::bed::{Bed, INTERFACE, built};

use super::{Row, check, file, good, lb, row};

/// The command as a user who is nobody, from a place that nobody may read.
fn as_nobody(bed: &Bed, args: &[&str]) -> Result<Command> {
    let copy = bed.directory().join("xdp-lb");
    if !copy.exists() {
        fs::copy(built("xdp-lb")?, &copy)?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    }
    let mut command = bed.balancer().command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(copy).arg("--pin-dir").arg(bed.pin_dir()).args(args);
    Ok(command)
}

#[test]
fn machines_that_cannot() {
    let bed = Bed::builder().build().unwrap();
    let config = file(&bed, &good(&bed).unwrap()).unwrap();
    let path = config.to_str().unwrap();
    let secret = file(&bed, "[daemon]\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let uses: [&[&str]; 5] = [
        &["run", "-c", path],
        &["attach", INTERFACE],
        &["detach", "--all"],
        &["stats"],
        &["backend", "list"],
    ];
    let mut rows: Vec<Row<'_>> = uses
        .iter()
        .map(|args| row("not root", as_nobody(&bed, args).unwrap(), &["needs root", "with sudo, or as root"]))
        .collect();
    let unreadable = as_nobody(&bed, &["run", "-c", secret.to_str().unwrap()]).unwrap();
    rows.push(row("an unreadable file", unreadable, &["cannot be read", "run as a user who may read it"]));
    for args in &uses[..2] {
        let plain = lb(&bed, args).unwrap();
        let words: Vec<_> =
            plain.get_args().skip_while(|word| !Path::new(word).ends_with("xdp-lb")).collect();
        // The mount stays in a namespace of its own.
        let mut command = bed.balancer().command("unshare");
        command.args([
            "--mount",
            "--",
            "sh",
            "-c",
            "mount -t tmpfs none /sys/kernel/btf && exec \"$@\"",
            "sh",
        ]);
        let says = ["no BTF", "/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF=y", "Linux 5.18"];
        rows.push(row("no BTF", with(command, &words), &says));
        let command = bed.balancer().command(built("without_bpf").unwrap());
        rows.push(row(
            "no bpf()",
            with(command, &words),
            &["bpf()", "CONFIG_BPF_SYSCALL=y", "seccomp filter"],
        ));
    }
    check(&bed, rows);
}

fn with(mut command: Command, words: &[&std::ffi::OsStr]) -> Command {
    command.args(words);
    command
}
