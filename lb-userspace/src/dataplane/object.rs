//! The compiled programs, embedded at build time.

/// The balancer: program `balancer` and its maps.
pub static BALANCER: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/balancer"));

/// A program `pass` that passes everything, for the far ends of veth pairs.
pub static PASS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/pass"));

/// The decapsulator of a backend: program `decap` and its maps.
pub static DECAP: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/decap"));

/// The bench's harness: programs `harness`, `zero` and `sink`, and the maps HARNESS and PROGRAMS.
pub static HARNESS: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/harness"));
