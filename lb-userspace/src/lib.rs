//! The library of xdp-lb: everything that the daemon and the command line do.
