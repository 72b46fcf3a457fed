//! `xdp-lb doctor`: looks at the machine and its interfaces, changes nothing.

use super::output;
use crate::{
    daemon,
    doctor::{Finding, Verdict, interface, machine, read},
    neighbour::Resolver,
};
use anyhow::bail;
use std::path::Path;

/// Prints what was found; fails where something does not work.
pub fn run(pin_dir: &Path, name: Option<&str>, json: bool) -> anyhow::Result<()> {
    let seen = read::machine(pin_dir);
    let mut findings = machine::judge(&seen);
    if let Some(name) = name {
        let found = super::runtime()?.block_on(async { daemon::interface(&Resolver::new()?, name).await })?;
        findings.extend(interface::judge(&read::interface(pin_dir, &found), &seen.pinned));
    }
    if json {
        output::json(&findings)?;
    } else {
        print(&findings)?;
    }
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if failed > 0 {
        bail!("{} does not work; mend what is marked `fail`", output::count(failed, "thing"));
    }
    Ok(())
}

fn print(findings: &[Finding]) -> anyhow::Result<()> {
    for Finding { check, verdict, found, mend } in findings {
        let word = match verdict {
            Verdict::Ok => "ok",
            Verdict::Warn => "warn",
            Verdict::Fail => "fail",
        };
        output::line(&format!("{word:<5} {check}: {found}"))?;
        if let Some(mend) = mend {
            output::line(&format!("      {mend}"))?;
        }
    }
    Ok(())
}
