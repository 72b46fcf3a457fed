//! An array map seen as memory: reads without a system call, writes as single atomic 64-bit stores.
//!
//! A system call that updates an array value copies it byte by byte, which a packet may see half done; an aligned
//! 64-bit store it sees whole or not at all.

#![expect(unsafe_code, reason = "mmap hands out raw memory")]

use bytemuck::Pod;
use std::{
    io,
    marker::PhantomData,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
};

/// An array map of `len` values of type `T`, which has a size of whole 64-bit words.
#[derive(Debug)]
pub struct MappedArray<T> {
    words: NonNull<AtomicU64>,
    len: usize,
    values: PhantomData<T>,
}

// SAFETY: the memory stays mapped until drop, and is only accessed through atomics.
unsafe impl<T: Send> Send for MappedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for MappedArray<T> {}

impl<T: Pod> MappedArray<T> {
    const WORDS: usize = size_of::<T>() / 8;

    /// Maps an array map that was created with `BPF_F_MMAPABLE`; `writable` as its file descriptor allows.
    pub fn new(map: &impl AsFd, len: u32, writable: bool) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8)) };
        let len = len as usize;
        let bytes = NonZeroUsize::new(len * size_of::<T>())
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an empty map"))?;
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let fd = std::os::fd::AsRawFd::as_raw_fd(&map.as_fd());
        // SAFETY: a new mapping of a file descriptor that is open; the kernel checks its size.
        let at =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes.get(), protection, libc::MAP_SHARED, fd, 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let words = NonNull::new(at.cast()).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { words, len, values: PhantomData })
    }

    /// Number of values.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.len as u32
    }

    /// Never: the kernel has no empty maps.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: the mapping holds `len` values of `WORDS` words each, page-aligned, until drop.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len * Self::WORDS) }
    }

    fn value(&self, index: u32) -> Option<&[AtomicU64]> {
        self.words().chunks_exact(Self::WORDS).nth(index as usize)
    }

    /// The value at `index`; `None` past the end. Each word is read whole.
    #[must_use]
    pub fn get(&self, index: u32) -> Option<T> {
        let mut value = T::zeroed();
        let out = bytemuck::bytes_of_mut(&mut value).chunks_exact_mut(8);
        for (bytes, word) in out.zip(self.value(index)?) {
            bytes.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
        }
        Some(value)
    }

    /// Every value, in order.
    pub fn iter(&self) -> impl Iterator<Item = T> + '_ {
        (0..self.len()).map_while(|index| self.get(index))
    }

    /// Writes the value at `index`, word by word from its end, so that what a record starts with is published last.
    pub fn set(&self, index: u32, value: &T) -> io::Result<()> {
        let bytes = bytemuck::bytes_of(value).chunks_exact(8).rev();
        for (bytes, word) in bytes.zip(self.checked(index)?.iter().rev()) {
            let mut array = [0; 8];
            array.copy_from_slice(bytes);
            word.store(u64::from_ne_bytes(array), Ordering::Release);
        }
        Ok(())
    }

    /// Writes the word of the value at `index` that starts at byte `offset`, a multiple of 8.
    pub fn set_word(&self, index: u32, offset: usize, word: u64) -> io::Result<()> {
        let value = self.checked(index)?;
        let place = value.get(offset / 8).filter(|_| offset.is_multiple_of(8)).ok_or_else(past_the_end)?;
        place.store(word, Ordering::Release);
        Ok(())
    }

    /// Replaces the word of the value at `index` that starts at byte `offset`, in one atomic step, though packets change it too.
    pub fn update_word(&self, index: u32, offset: usize, change: impl Fn(u64) -> u64) -> io::Result<()> {
        let value = self.checked(index)?;
        let place = value.get(offset / 8).filter(|_| offset.is_multiple_of(8)).ok_or_else(past_the_end)?;
        place.update(Ordering::AcqRel, Ordering::Acquire, change);
        Ok(())
    }

    fn checked(&self, index: u32) -> io::Result<&[AtomicU64]> {
        self.value(index).ok_or_else(past_the_end)
    }
}

fn past_the_end() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "an index past the end of the map")
}

impl<T> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the range is exactly what `new` mapped, and no reference outlives self.
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.len * size_of::<T>()) };
    }
}
