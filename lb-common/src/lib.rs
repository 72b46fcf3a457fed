//! What the XDP program and the daemon agree on: one file per noun, each record `#[repr(C)]` and
//! [`bytemuck::Pod`] (no padding, checked by the compiler), with its size asserted.
//!
//! Any change of a record's meaning or layout raises [`ABI_VERSION`]; `tests/abi.rs` holds a
//! fingerprint of the layout and fails when the one changes without the other.

#![no_std]
#![forbid(unsafe_code)]

pub mod answer;
pub mod backend;
pub mod bench;
pub mod counters;
pub mod decap;
pub mod flow;
pub mod fragment;
pub mod hash;
pub mod label;
pub mod latency;
pub mod limits;
pub mod meta;
pub mod nat;
pub mod service;
pub mod slot;

/// Version of the layout and meaning of every map. The daemon adopts pinned maps only of its own version.
pub const ABI_VERSION: u32 = 3;
