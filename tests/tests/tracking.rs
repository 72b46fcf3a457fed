//! What the program does with flows whose slot changed, packet by packet, and how the tracked algorithms share out
//! connections: the real program through `BPF_PROG_TEST_RUN` with a clock of the tests' own.

#[path = "tracking/algorithms.rs"]
mod algorithms;
#[path = "tracking/crowd.rs"]
mod crowd;
#[path = "tracking/moving.rs"]
mod moving;
#[path = "tracking/site.rs"]
mod site;
