//! The bounds-checked pointer cursor: the only place that touches packet memory through raw pointers.
//!
//! The verifier accepts a load only through the very pointer that was compared with the packet's end. Every
//! take therefore checks and hands out the same pointer, and nothing else in the project computes one.

#![expect(unsafe_code, reason = "packet memory is only reachable through raw pointers")]

use core::marker::PhantomData;
use network_types::{
    eth::EthHdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

/// A header as it lies on the wire.
///
/// # Safety
/// Every bit pattern is a valid value, and the alignment is at most 2: frames start at an even address (XDP
/// keeps a headroom of 256 bytes) and every header that is walked here has an even length.
pub unsafe trait Header: Copy {}

// SAFETY: two byte arrays and a u16.
unsafe impl Header for EthHdr {}
// SAFETY: bytes only.
unsafe impl Header for Ipv4Hdr {}
// SAFETY: bytes only.
unsafe impl Header for Ipv6Hdr {}
// SAFETY: bytes only.
unsafe impl Header for UdpHdr {}
// SAFETY: bytes only.
unsafe impl<const N: usize> Header for [u8; N] {}
// SAFETY: any bits are a u16, and its alignment is 2.
unsafe impl<const N: usize> Header for [u16; N] {}
// SAFETY: bytes only.
unsafe impl Header for crate::parse::l4::TcpHeader {}
// SAFETY: bytes only.
unsafe impl Header for crate::parse::icmp::IcmpHeader {}

/// A position in a frame, and the frame's end.
#[derive(Clone, Copy)]
pub struct Cursor<'p> {
    start: usize,
    at: usize,
    end: usize,
    frame: PhantomData<&'p [u8]>,
}

/// No header that is looked at starts behind this many bytes, less one.
const FARTHEST: usize = 0xfff;

impl<'p> Cursor<'p> {
    /// A cursor at the frame's first byte.
    ///
    /// # Safety
    /// `start..end` is readable and writable for `'p`, and `start` is even. In the program both come from the
    /// XDP context, and the verifier checks each use again.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { start, at: start, end, frame: PhantomData }
    }

    /// A cursor over bytes in ordinary memory.
    ///
    /// # Panics
    /// When the bytes start at an odd address.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn over(bytes: &'p mut [u8]) -> Self {
        let range = bytes.as_mut_ptr_range();
        assert!(range.start.addr().is_multiple_of(2), "a frame starts at an even address");
        // SAFETY: the slice is borrowed for 'p, and its start was just checked.
        unsafe { Self::new(range.start.expose_provenance(), range.end.expose_provenance()) }
    }

    /// The header at the cursor, which moves behind it; `None` when the frame ends before.
    #[inline(always)]
    pub fn take<T: Header>(&mut self) -> Option<&'p T> {
        let header = self.peek()?;
        self.at += size_of::<T>();
        Some(header)
    }

    /// The header at the cursor, which stays; `None` when the frame ends before.
    #[inline(always)]
    #[must_use]
    pub fn peek<T: Header>(&self) -> Option<&'p T> {
        if self.at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: the bytes are inside the frame, and a `Header` accepts any bit pattern at an even address.
        Some(unsafe { &*(self.at as *const T) })
    }

    /// A writer at the cursor.
    ///
    /// # Safety
    /// Nothing else that refers to the frame is used for `'p`, but for other writers of other bytes.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn rewrite(&self) -> Writer<'p> {
        // SAFETY: the bounds are those that the cursor was made of.
        unsafe { Writer::new(self.at, self.end) }
    }

    /// Moves the cursor on by `bytes`, past the frame's end if need be: the next take then finds nothing. `None`: farther
    /// than any header is looked at.
    ///
    /// The way from the frame's start is made anew, opaque to the optimiser, and masked behind that: it would otherwise
    /// compute one sum for the check and another for the load, and the verifier knows a variable offset only by the register
    /// that was bounded. The check does not bound it for Linux 6.1, which learns nothing of a copy on the stack. The mask
    /// also gives all positions the same bounds, so that the verifier sees them as one and does not follow every way
    /// through optional headers to its end.
    #[inline(always)]
    #[must_use]
    pub fn skip(&mut self, bytes: usize) -> Option<()> {
        let offset = self.at - self.start + bytes;
        if offset > FARTHEST {
            return None;
        }
        self.at = self.start + (opaque(offset) & FARTHEST);
        Some(())
    }

    /// A writer at the cursor.
    ///
    /// # Safety
    /// Nothing else refers to the bytes from here on while the writer is in use.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn writer(&self) -> Writer<'p> {
        Writer { at: self.at, end: self.end, frame: PhantomData }
    }

    /// Bytes from the frame's start to the cursor.
    #[inline(always)]
    #[must_use]
    pub fn offset(&self) -> usize {
        opaque(self.at - self.start) & FARTHEST
    }

    /// Bytes from the cursor to the frame's end; 0 past it.
    #[inline(always)]
    #[must_use]
    pub const fn remaining(&self) -> usize {
        self.end.saturating_sub(self.at)
    }
}

/// The value, of which the optimiser knows nothing any more. In a register: `core::hint::black_box` takes it through the
/// stack, of which there are 512 bytes for all that is inlined here.
#[inline(always)]
#[must_use]
pub fn opaque(value: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // A move, because the kernel refuses line information of no instruction.
        // SAFETY: the register keeps its value.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags))
        };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    core::hint::black_box(value)
}

/// A position in a frame that is being rewritten. Each byte is handed out once.
pub struct Writer<'p> {
    at: usize,
    end: usize,
    frame: PhantomData<&'p mut [u8]>,
}

impl<'p> Writer<'p> {
    /// A writer at the frame's first byte.
    ///
    /// # Safety
    /// As for [`Cursor::new`], and nothing else refers to the frame for `'p`.
    #[inline(always)]
    #[must_use]
    pub const unsafe fn new(start: usize, end: usize) -> Self {
        Self { at: start, end, frame: PhantomData }
    }

    /// A writer over bytes in ordinary memory.
    ///
    /// # Panics
    /// When the bytes start at an odd address.
    #[cfg(not(target_arch = "bpf"))]
    #[must_use]
    pub fn over(bytes: &'p mut [u8]) -> Self {
        // SAFETY: the slice is borrowed for 'p, and the cursor goes.
        unsafe { Cursor::over(bytes).rewrite() }
    }

    /// The next bytes as a header to be written; `None` when the frame ends before.
    #[inline(always)]
    pub fn take<T: Header>(&mut self) -> Option<&'p mut T> {
        let at = self.at;
        if at + size_of::<T>() > self.end {
            return None;
        }
        self.at = at + size_of::<T>();
        // SAFETY: the bytes are inside the frame, a `Header` accepts any bit pattern at an even address, and no
        // byte is handed out twice.
        Some(unsafe { &mut *(at as *mut T) })
    }

    /// The next bytes as a header to be written, which are handed out again by the next take.
    #[inline(always)]
    pub fn peek<T: Header>(&mut self) -> Option<&mut T> {
        if self.at + size_of::<T>() > self.end {
            return None;
        }
        // SAFETY: as in `take`; the borrow of the writer ends before the bytes are handed out again.
        Some(unsafe { &mut *(self.at as *mut T) })
    }
}

/// Four bytes of a header as one load. LLVM's BPF target splits a load of unaligned bytes into single bytes; the
/// machines that run XDP load words at any address, and the verifier insists on alignment only where they do not.
#[inline(always)]
#[must_use]
pub const fn load_u32(bytes: &[u8; 4]) -> u32 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the four bytes are inside the packet, as the reference proves.
    unsafe {
        core::ptr::from_ref(bytes).cast::<u32>().read()
    }
    #[cfg(not(target_arch = "bpf"))]
    u32::from_ne_bytes(*bytes)
}

/// Writes a header as words in network order, one store each; see [`load_u32`].
#[inline(always)]
pub fn store_words<const BYTES: usize, const WORDS: usize>(header: &mut [u8; BYTES], words: [u32; WORDS]) {
    const { assert!(BYTES == WORDS * 4) };
    #[cfg(target_arch = "bpf")]
    // SAFETY: the header's bytes are inside the packet, as the reference proves, and exactly as many as the words'.
    unsafe {
        header.as_mut_ptr().cast::<[u32; WORDS]>().write(words.map(u32::to_be));
    }
    #[cfg(not(target_arch = "bpf"))]
    for (bytes, word) in header.chunks_exact_mut(4).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
}

/// Two bytes of a header in the machine's order as one load; see [`load_u32`].
#[inline(always)]
#[must_use]
pub const fn load_u16(bytes: &[u8; 2]) -> u16 {
    load_be16(bytes).to_be()
}

/// Writes two bytes of a header in the machine's order, one store; see [`load_u32`].
#[inline(always)]
pub const fn store_u16(bytes: &mut [u8; 2], value: u16) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the two bytes are inside the packet, as the reference proves.
    unsafe {
        core::ptr::from_mut(bytes).cast::<u16>().write(value);
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        *bytes = value.to_ne_bytes();
    }
}

/// Two bytes of a header in network order as one load and one byte swap; see [`load_u32`].
#[inline(always)]
#[must_use]
pub const fn load_be16(bytes: &[u8; 2]) -> u16 {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the two bytes are inside the packet, as the reference proves.
    unsafe {
        u16::from_be(core::ptr::from_ref(bytes).cast::<u16>().read())
    }
    #[cfg(not(target_arch = "bpf"))]
    u16::from_be_bytes(*bytes)
}

/// Sixteen bytes of a header as four loads; see [`load_u32`].
#[inline(always)]
#[must_use]
pub const fn load_u32x4(bytes: &[u8; 16]) -> [u32; 4] {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the sixteen bytes are inside the packet, as the reference proves.
    unsafe {
        core::ptr::from_ref(bytes).cast::<[u32; 4]>().read()
    }
    #[cfg(not(target_arch = "bpf"))]
    // SAFETY: an array of bytes is an array of words read at any alignment.
    unsafe {
        core::ptr::from_ref(bytes).cast::<[u32; 4]>().read_unaligned()
    }
}
