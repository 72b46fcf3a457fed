//! The namespace bed: a small network of its own in which the real balancer carries real connections.
//!
//! * [`bed`]: namespaces, veth pairs, processes and servers, all removed when their guard is dropped
//! * [`fixture`]: packet in, verdict, packet out and counters, through `BPF_PROG_TEST_RUN`
//! * [`certificate`]: certificates of an authority made for a test
//! * [`config`]: the balancer's configuration for a bed
//! * [`api`] and [`api_tls`]: the balancer's API on its socket, and over TLS
//! * [`ask`]: what the balancer and the kernel say about it
//! * [`iso8583_host`]: a host of ISO 8583 with a service time
//! * [`load`]: a bounded number of TCP connections from the client, counted by the backend that answered
//! * [`crowd`]: thousands of connections at a time, and [`soak`]: everything that may not break them
//! * [`workers`]: HTTP servers with a queue and a service time, and [`closed_loop`]: clients that load them
//! * [`echo`] and [`traffic`]: flows that go on beside a test, in numbered messages
//! * [`model`]: the data plane in plain Rust, which the program must agree with
//! * [`transfer`]: many bytes in one connection, with a checksum of what arrived
//! * [`tier`]: redis, memcached, haproxy and varnish on a backend
//! * [`trunk`]: a tagged port for the balancer, for kernels without VLANs
//! * [`wait`]: waiting for a condition, with a deadline

pub mod api;
pub mod api_tls;
pub mod ask;
pub mod bed;
pub mod certificate;
pub mod closed_loop;
pub mod config;
pub mod crowd;
pub mod echo;
pub mod fixture;
pub mod iso8583_host;
pub mod load;
pub mod model;
pub mod soak;
pub mod tier;
pub mod traffic;
pub mod transfer;
pub mod trunk;
pub mod wait;
pub mod workers;
