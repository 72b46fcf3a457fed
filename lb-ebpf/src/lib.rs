//! The pure half of the data plane.
#![cfg_attr(target_arch = "bpf", no_std)]
