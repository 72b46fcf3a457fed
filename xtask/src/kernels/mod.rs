//! Tests on other kernels: Debian's, each booted under QEMU's software emulation with a root file system in memory
//! that holds busybox, the test programs and the few commands that they start.
//!
//! Nothing is installed but what the tests need here too: kernels, QEMU and busybox are packages that are downloaded and
//! unpacked below target/kernels. Removing that folder fetches newer ones.

mod guest;
mod packages;
mod programs;
mod report;

use std::{env, fs, time::Instant};

use anyhow::{Context as _, Result, bail};
use comfy_table::{CellAlignment, Table, TableStyle};

use self::{
    guest::Machine,
    packages::{Emulator, Kernel},
    report::Report,
};
use crate::{
    progress::Progress,
    setup::{self, Need},
    workspace::Workspace,
};

/// The kernels, by their first two numbers: those of Debian 12 and 13.
pub const SERIES: [&str; 2] = ["6.1", "6.12"];

/// Boots every kernel, or the one that is named, and runs the tests on it.
pub fn run(workspace: &Workspace, only: Option<&str>) -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        bail!("the kernels are for x86_64, and the tests are built for the machine that we are on");
    }
    setup::ensure(workspace, Need::Run)?;
    let folder = workspace.root().join("target/kernels");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let series = || SERIES.into_iter().filter(|series| only.is_none_or(|only| only == *series));
    let emulator = Emulator::get(workspace, &folder)?;
    let busybox = packages::busybox(&folder)?;
    let kernels = series().map(|series| Kernel::get(&folder, series)).collect::<Result<Vec<_>>>()?;
    Progress::heading("building the tests, statically linked");
    let tests = programs::tests(workspace)?;
    Progress::heading("tests on other kernels");
    let machine = Machine::new(workspace, &folder, &emulator, &busybox, &tests)?;
    let reports = kernels.iter().map(|kernel| boot(&machine, kernel)).collect::<Result<Vec<_>>>()?;
    print(&reports);
    let failed: Vec<_> =
        reports.iter().filter(|report| !report.is_good()).map(|report| report.series).collect();
    if !failed.is_empty() {
        bail!("Linux {}: the tests fail", failed.join(" and "));
    }
    Ok(())
}

fn boot(machine: &Machine<'_>, kernel: &Kernel) -> Result<Report> {
    let name = format!("Linux {}", kernel.series);
    let progress = Progress::begin(&name, "booting");
    let started = Instant::now();
    let console = machine.boot(kernel, &progress)?;
    let report = Report::of(kernel.series, &console, machine.token(), started.elapsed());
    progress.done(&report.summary());
    if !report.is_good() {
        for line in &report.complaints {
            Progress::detail(line);
        }
        Progress::detail(&format!("all that it said: {}", machine.log(kernel).display()));
    }
    Ok(report)
}

#[expect(clippy::print_stdout, reason = "what the command was asked for")]
fn print(reports: &[Report]) {
    let mut table = Table::new();
    table.load_style(TableStyle::new());
    table.set_header([
        "KERNEL",
        "BUILD",
        "SPECIALISATIONS",
        "INSTRUCTIONS",
        "FIXTURE ROWS",
        "TESTS",
        "SECONDS",
        "RESULT",
    ]);
    for report in reports {
        table.add_row(report.row());
    }
    for column in table.column_iter_mut().skip(2).take(5) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{}", table.trim_fmt());
}
