//! `--watch`: the same again and again.

use std::{
    io::{self, IsTerminal as _, Write as _},
    thread,
    time::Duration,
};

/// Clears a terminal and goes to its top (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";

/// Shows something once, or each `interval` until it fails or nobody reads.
pub fn shown(interval: Option<Duration>, show: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let Some(interval) = interval else { return show() };
    loop {
        let mut out = io::stdout();
        if out.is_terminal() {
            write!(out, "{CLEAR}")?;
        }
        show()?;
        // A reader that went away shows here, where there is more to come.
        match writeln!(out).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            other => other?,
        }
        thread::sleep(interval);
    }
}
