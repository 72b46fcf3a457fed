//! Words that several processors change at the same time.
//!
//! The BPF target of the compiler has none of the core library's atomics, and LLVM makes those that give a value only
//! together with 32-bit arithmetic, whose copies lose what the verifier knows of a packet's bounds. So they are written down
//! here, as the kernel's "BPF Instruction Set Specification" (Documentation/bpf/standardization/instruction-set.rst, atomic
//! operations) has them; the kernel takes them since Linux 5.12.

#[cfg(target_arch = "bpf")]
use core::arch::asm;
#[cfg(not(target_arch = "bpf"))]
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// A 64-bit word of a map.
#[derive(Clone, Copy)]
pub struct Word(*mut u64);

impl Word {
    /// The word at `at`.
    ///
    /// # Safety
    /// `at` is aligned, and part of a map's value, so that it stays there until the program ends.
    #[inline(always)]
    pub const unsafe fn at(at: *mut u64) -> Self {
        Self(at)
    }

    /// Its value.
    #[inline(always)]
    pub fn load(self) -> u64 {
        // SAFETY: an aligned word that lives on; one load of 64 bits is whole on every machine that runs XDP.
        unsafe { self.0.read_volatile() }
    }

    /// Adds to it; gives what it was.
    #[inline(always)]
    #[cfg(target_arch = "bpf")]
    pub fn fetch_add(self, by: u64) -> u64 {
        let mut value = by;
        // r2 = atomic_fetch_add((u64 *)(r1 + 0), r2)
        // SAFETY: an aligned word that lives on.
        unsafe { asm!(".byte 0xdb, 0x21, 0, 0, 0x01, 0, 0, 0", in("r1") self.0, inout("r2") value) };
        value
    }

    /// Adds to it.
    #[inline(always)]
    #[cfg(target_arch = "bpf")]
    pub fn add(self, by: u64) {
        // lock *(u64 *)(r1 + 0) += r2
        // SAFETY: an aligned word that lives on.
        unsafe { asm!(".byte 0xdb, 0x21, 0, 0, 0, 0, 0, 0", in("r1") self.0, in("r2") by) };
    }

    /// Makes it `to` if it is `from`; else gives what it is.
    #[inline(always)]
    #[cfg(target_arch = "bpf")]
    pub fn exchange(self, from: u64, to: u64) -> Result<(), u64> {
        let mut found = from;
        // r0 = cmpxchg_64(r1 + 0, r0, r2)
        // SAFETY: an aligned word that lives on.
        unsafe {
            asm!(".byte 0xdb, 0x21, 0, 0, 0xf1, 0, 0, 0", in("r1") self.0, in("r2") to, inout("r0") found)
        };
        if found == from { Ok(()) } else { Err(found) }
    }
}

/// The same for those who look at the program on the host.
#[cfg(not(target_arch = "bpf"))]
impl Word {
    fn host(self) -> &'static AtomicU64 {
        // SAFETY: as `at` asks.
        unsafe { AtomicU64::from_ptr(self.0) }
    }

    /// Adds to it; gives what it was.
    pub fn fetch_add(self, by: u64) -> u64 {
        self.host().fetch_add(by, SeqCst)
    }

    /// Adds to it.
    pub fn add(self, by: u64) {
        self.host().fetch_add(by, SeqCst);
    }

    /// Makes it `to` if it is `from`; else gives what it is.
    pub fn exchange(self, from: u64, to: u64) -> Result<(), u64> {
        self.host().compare_exchange(from, to, SeqCst, SeqCst).map(|_| ())
    }
}
