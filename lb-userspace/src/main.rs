//! xdp-lb: the command line.

fn main() {}
