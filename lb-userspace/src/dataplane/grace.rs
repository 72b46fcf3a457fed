//! Waiting until no packet holds any more what it found in the maps before.

#![expect(unsafe_code, reason = "a system call that nix does not have")]

use std::{thread, time::Duration};

/// `MEMBARRIER_CMD_GLOBAL` of enum `membarrier_cmd` (linux/membarrier.h).
const GLOBAL: libc::c_int = 1;
/// Far longer than a packet is under way in the program.
const LONG: Duration = Duration::from_millis(100);

/// Returns when every packet has left the program that entered it before the call. `MEMBARRIER_CMD_GLOBAL` waits for a grace
/// period of RCU, which a running program holds off. Kernels with `nohz_full` processors refuse it: then time has to do.
pub fn wait() {
    // SAFETY: a system call without pointers.
    let done = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if done != 0 {
        thread::sleep(LONG);
    }
}
