//! The bench: what a packet costs in the balancer, over a program that does nothing but return `XDP_TX`.
//!
//! A harness program (`lb-ebpf/src/harness.rs`) runs under `BPF_PROG_TEST_RUN`: one system call sends some hundred thousand
//! packets of a million flows through the real program on its real maps, filled by the real control path. Each row is
//! measured in rounds, each next to the zero line, because other work on the machine slows both down.

#![forbid(unsafe_code)]
#![expect(clippy::cast_precision_loss, reason = "counts of packets and nanoseconds, far below 2^52")]

pub mod compare;
pub mod harness;
pub mod machine;
pub mod measure;
pub mod record;
pub mod report;
pub mod scenario;
pub mod site;
pub mod size;
