//! The library of xdp-lb: everything that the daemon and the command line do. The modules stand in the order
//! in which a change flows; docs/config-path.md draws it.

pub mod api;
pub mod audit;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod dataplane;
pub mod distinct;
pub mod doctor;
pub mod hash_key;
pub mod health;
pub mod hex;
pub mod lookup;
pub mod metrics;
pub mod mtu;
pub mod neighbour;
pub mod plan;
pub mod routing;
pub mod state;
pub mod state_dir;
pub mod table;
pub mod tracking;
pub mod view;
pub mod weight;
