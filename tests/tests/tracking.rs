//! What the program does with flows whose slot changed, packet by packet, and how the tracked algorithms share out
//! connections: the real program through `BPF_PROG_TEST_RUN` with a clock of the tests' own.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking; clippy only knows functions marked as tests"
)]

mod tracking {
    mod algorithms;
    mod crowd;
    mod moving;
    mod site;
}
