//! Many entries of a hash map in one system call: bpf(2) with `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_DELETE_BATCH` (Linux 5.6),
//! which aya has not.

#![expect(unsafe_code, reason = "a system call that fills memory")]

use bytemuck::Pod;
use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
};

/// `BPF_MAP_LOOKUP_BATCH` of enum `bpf_cmd` (linux/bpf.h).
const LOOKUP_BATCH: libc::c_int = 24;
/// `BPF_MAP_DELETE_BATCH`.
const DELETE_BATCH: libc::c_int = 27;

/// The `batch` member of union `bpf_attr` (linux/bpf.h).
#[repr(C)]
#[derive(Default)]
struct Attributes {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Entries of a hash map, and where the next ones start; `None`: these were the last.
pub struct Batch<K, V> {
    /// The keys.
    pub keys: Vec<K>,
    /// As many values.
    pub values: Vec<V>,
    /// Where to go on.
    pub next: Option<u32>,
}

/// About `at_most` entries of a map with these types of keys and values, from its start or from where another batch ended.
/// The kernel gives whole buckets: more room is made where one does not fit.
pub fn lookup<K: Pod, V: Pod>(map: &impl AsFd, from: Option<u32>, at_most: usize) -> io::Result<Batch<K, V>> {
    let mut room = at_most.max(1);
    loop {
        let (mut keys, mut values) = (vec![K::zeroed(); room], vec![V::zeroed(); room]);
        let (start, mut end) = (from.unwrap_or_default(), 0u32);
        let mut attributes = Attributes {
            in_batch: if from.is_some() { (&raw const start).expose_provenance() as u64 } else { 0 },
            out_batch: (&raw mut end).expose_provenance() as u64,
            keys: keys.as_mut_ptr().expose_provenance() as u64,
            values: values.as_mut_ptr().expose_provenance() as u64,
            count: room as u32,
            map_fd: map.as_fd().as_raw_fd() as u32,
            ..Attributes::default()
        };
        // SAFETY: `keys` and `values` have room for `count` of what the map holds, whose sizes the opener checked.
        let done = unsafe { bpf(LOOKUP_BATCH, &mut attributes) };
        let next = match done {
            Ok(()) => Some(end),
            // The kernel's word for the end of the map.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                room *= 2;
                continue;
            }
            Err(error) => return Err(error),
        };
        let count = (attributes.count as usize).min(room);
        keys.truncate(count);
        values.truncate(count);
        return Ok(Batch { keys, values, next });
    }
}

/// Deletes entries; those that are not there any more are passed over.
pub fn delete<K: Pod>(map: &impl AsFd, mut keys: &[K]) -> io::Result<()> {
    while !keys.is_empty() {
        let mut attributes = Attributes {
            keys: keys.as_ptr().expose_provenance() as u64,
            count: keys.len() as u32,
            map_fd: map.as_fd().as_raw_fd() as u32,
            ..Attributes::default()
        };
        // SAFETY: there are `count` keys of the map's size.
        match unsafe { bpf(DELETE_BATCH, &mut attributes) } {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let done = (attributes.count as usize).min(keys.len() - 1);
                keys = &keys[done + 1..];
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// # Safety
/// What the attributes point to is of the sizes that the map and `count` say.
unsafe fn bpf(command: libc::c_int, attributes: &mut Attributes) -> io::Result<()> {
    let size = size_of::<Attributes>();
    // SAFETY: as the caller says; the kernel reads and writes `size` bytes of `attributes`.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
