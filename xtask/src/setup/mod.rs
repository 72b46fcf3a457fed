//! Finds or installs what the other commands need: one step a tool, each of which first looks.

pub mod apt;
mod bpffs;
pub mod cargo_tools;
mod commands;
mod compiler;
mod linker;
mod record;
mod schemathesis;

use anyhow::{Context as _, Result, bail};

use crate::{progress::Progress, workspace::Workspace};

/// How much of the setup a command needs; each includes the one before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// Compiling, the eBPF half included.
    Build,
    /// Network namespaces with a balancer, clients and servers.
    Run,
    /// The tests.
    Test,
}

struct Step {
    name: &'static str,
    need: Need,
    /// What there is, in a few words; nothing when it is missing.
    find: fn(&Workspace) -> Result<Option<String>>,
    /// What the user reads while it is being installed.
    doing: &'static str,
    install: fn(&Workspace, &Progress) -> Result<()>,
}

/// In this order: the linker follows the compiler's LLVM, the record names both.
const STEPS: &[Step] = &[
    Step {
        name: "eBPF compiler",
        need: Need::Build,
        find: compiler::describe,
        doing: "installing a Rust compiler with a core library for BPF",
        install: compiler::install,
    },
    Step {
        name: "eBPF linker",
        need: Need::Build,
        find: linker::describe,
        doing: "building bpf-linker for the compiler's LLVM (a minute or two)",
        install: linker::install,
    },
    Step {
        name: "eBPF toolchain",
        need: Need::Build,
        find: record::describe,
        doing: "recording it for the builds",
        install: record::install,
    },
    Step {
        name: "network tools",
        need: Need::Run,
        find: |workspace| Ok(commands::describe(workspace)),
        doing: "installing what makes and serves the test networks",
        install: commands::install,
    },
    Step {
        name: "bpf file system",
        need: Need::Run,
        find: bpffs::describe,
        doing: "mounting it",
        install: bpffs::install,
    },
    Step {
        name: "test runner",
        need: Need::Test,
        find: |workspace| Ok(cargo_tools::describe_nextest(workspace)),
        doing: "building cargo-nextest (some minutes)",
        install: cargo_tools::install_nextest,
    },
    Step {
        name: "API tester",
        need: Need::Test,
        find: schemathesis::describe,
        doing: "installing schemathesis",
        install: schemathesis::install,
    },
];

/// `cargo xtask setup`: everything, with a line for each step.
pub fn all(workspace: &Workspace) -> Result<()> {
    for step in STEPS {
        match (step.find)(workspace)? {
            Some(found) => Progress::present(step.name, &found),
            None => install(step, workspace)?,
        }
    }
    Ok(())
}

/// For the other commands: what `need` asks for, silent when nothing is missing.
pub fn ensure(workspace: &Workspace, need: Need) -> Result<()> {
    for step in STEPS.iter().filter(|step| step.need <= need) {
        if (step.find)(workspace)?.is_none() {
            install(step, workspace)?;
        }
    }
    Ok(())
}

fn install(step: &Step, workspace: &Workspace) -> Result<()> {
    let progress = Progress::begin(step.name, step.doing);
    (step.install)(workspace, &progress).with_context(|| format!("setup, {}", step.name))?;
    let Some(found) = (step.find)(workspace)? else {
        bail!("setup, {}: installed, and still not found", step.name);
    };
    progress.end(&found);
    Ok(())
}
