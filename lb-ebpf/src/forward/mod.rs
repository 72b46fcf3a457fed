//! How a packet reaches its backend: one file a forwarding mode.

pub mod l2_dsr;
