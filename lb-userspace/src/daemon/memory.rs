//! What the start needed and the daemon does not.

#![expect(unsafe_code, reason = "a function of the C library that nobody wraps")]

/// Gives memory that is free back to the kernel: the plan of a first start has a word for every slot, and there may be
/// millions.
pub(super) fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes a number, and may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
