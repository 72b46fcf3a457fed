//! xdp-lb: the command line.

use clap::Parser as _;
use lb_userspace::cli::{Arguments, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    run(Arguments::parse())
}
