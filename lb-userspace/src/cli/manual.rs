//! `xdp-lb completions` and `xdp-lb man`: made from the definition of the command line.

use super::{Arguments, output};
use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

/// Prints the completions for a shell.
pub fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "xdp-lb", &mut script);
    print(&script)
}

/// Prints the manual page of the whole, or writes one for each command into a directory.
pub fn pages(directory: Option<&Path>) -> anyhow::Result<()> {
    // As `generate_to` has it: a page of `help` would say nothing.
    let command = Arguments::command().disable_help_subcommand(true);
    let Some(directory) = directory else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return print(&page);
    };
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("cannot write manual pages into {}", directory.display()))?;
    output::line(&format!(
        "manual pages are in {}; `man -l {0}/xdp-lb.1` shows the first",
        directory.display()
    ))
}

/// A reader that went away is no error.
fn print(text: &[u8]) -> anyhow::Result<()> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}
