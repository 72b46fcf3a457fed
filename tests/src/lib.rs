//! The namespace bed: a small network of its own in which the real balancer carries real connections.
//!
//! * [`bed`]: namespaces, veth pairs, processes and servers, all removed when their guard is dropped
//! * [`fixture`]: packet in, verdict, packet out and counters, through `BPF_PROG_TEST_RUN`
//! * [`load`]: a bounded number of TCP connections from the client, counted by the backend that answered
//! * [`wait`]: waiting for a condition, with a deadline

pub mod bed;
pub mod fixture;
pub mod load;
pub mod wait;
