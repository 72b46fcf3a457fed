//! The pure half of the data plane: parsing, choosing and rewriting, without a map or a helper call, so that
//! all of it is tested on the host. The entry and the maps live in `main.rs` and the modules beside it.

#![cfg_attr(target_arch = "bpf", no_std)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

pub mod cursor;
pub mod forward;
pub mod parse;
pub mod select;
pub mod tunnel;
