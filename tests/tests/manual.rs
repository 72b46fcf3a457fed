//! Completions, manual pages, and `--watch`: for a shell, for man, and for somebody who looks on.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{
    ask::{start_resolved, text},
    bed::{Bed, Process, built},
    config::{Service, config},
    wait::wait_until,
};

fn xdp_lb(args: &[&str]) -> Result<String> {
    text(Command::new(built("xdp-lb")?).args(args))
}

/// Has a command judge a text.
fn judge(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "{said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn completions_are_scripts_that_know_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = xdp_lb(&["completions", shell]).unwrap();
        for word in ["backend", "lookup", "completions", "dry-run"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
    }
    let bash = xdp_lb(&["completions", "bash"]).unwrap();
    judge(Command::new("bash").arg("-n"), &bash).unwrap();
    // And what bash makes of it: the subcommands that begin with what was typed.
    let typed = "\nCOMP_WORDS=(xdp-lb lo); COMP_CWORD=1; $(complete -p xdp-lb | sed 's/.*-F \\([^ ]*\\).*/\\1/') xdp-lb lo xdp-lb; echo \"${COMPREPLY[@]}\"\n";
    let offered = judge(Command::new("bash").args(["--norc", "-s"]), &(bash + typed)).unwrap();
    assert_eq!(offered.trim(), "lookup");
    let refused = Command::new(built("xdp-lb").unwrap()).args(["completions", "csh"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn manual_pages_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("man1");
    xdp_lb(&["man", directory.to_str().unwrap()]).unwrap();
    let mut pages: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.sort();
    let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    for name in ["xdp-lb.1", "xdp-lb-backend-set.1", "xdp-lb-lookup.1"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(fs::read_to_string(directory.join("xdp-lb.1")).unwrap(), xdp_lb(&["man"]).unwrap());
    for page in &pages {
        let page = fs::read_to_string(page).unwrap();
        // Every warning counts. Without overstriking: as plain text.
        let shown = judge(Command::new("groff").args(["-man", "-Tutf8", "-P-cbou", "-ww"]), &page).unwrap();
        assert!(shown.contains("NAME") && shown.contains("SYNOPSIS"), "{shown}");
    }
}

#[test]
fn watched_counters_come_again_and_again() {
    let bed = Bed::builder().backends(1).build().unwrap();
    let vip = SocketAddr::new(bed.vip(false).unwrap(), 80);
    let _balancer =
        start_resolved(&bed, &config(&bed, &[Service::tcp("web", vip).hosts(bed.backends(), &[1])])).unwrap();
    let mut command = bed.xdp_lb().unwrap();
    command.args(["stats", "web", "--watch", "--interval", "100ms"]);
    let mut watch = Process::spawn(&mut command, &bed.directory().join("watch.log")).unwrap();
    let times = |watch: &Process| watch.log().matches("CONNECTIONS").count();
    wait_until(Duration::from_secs(20), "three looks", || times(&watch) >= 3).unwrap();
    assert!(!watch.log().contains('\x1b'), "a file is no terminal");
    watch.must_run().unwrap();
    // A reader that goes away ends it, without an error.
    let mut command = bed.xdp_lb().unwrap();
    let mut child = command
        .args(["--json", "stats", "--watch", "--interval", "100ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let refused = bed.xdp_lb().unwrap().args(["stats", "--interval", "2s"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "--interval is for --watch");
}
