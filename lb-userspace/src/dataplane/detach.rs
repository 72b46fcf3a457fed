//! Taking a program off its interface before the call returns.
//!
//! A removed pin takes the program off too, but when the kernel gets to it: the file's last reference is dropped after a grace
//! period, and the link is released by a worker. aya has no call for the command that does not wait.

#![expect(unsafe_code, reason = "system calls that aya does not have")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

/// bpf(2): `BPF_OBJ_GET`.
const OBJ_GET: libc::c_int = 7;
/// bpf(2): `BPF_LINK_DETACH`, since Linux 5.9, as links of XDP are.
const LINK_DETACH: libc::c_int = 34;

/// What `BPF_OBJ_GET` is told.
#[repr(C)]
struct Pin {
    path: u64,
    descriptor: u32,
    flags: u32,
}

/// Detaches the link that is pinned at `pin`; one whose interface is gone is as good as detached.
pub(super) fn detach(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut pinned = Pin { path: path.as_ptr() as u64, descriptor: 0, flags: 0 };
    // SAFETY: the path ends with a zero and outlives the call.
    let descriptor = unsafe { bpf(OBJ_GET, &mut pinned) }?;
    // SAFETY: the kernel gave the descriptor to nobody else.
    let link = unsafe { OwnedFd::from_raw_fd(descriptor) };
    // The command takes one descriptor, a number of 32 bits.
    let mut which = link.as_raw_fd();
    // SAFETY: no pointer is in there.
    unsafe { bpf(LINK_DETACH, &mut which) }.map(drop)
}

/// Gives the command's result.
///
/// # Safety
/// What the attributes point to is what the command expects.
unsafe fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    let size = size_of::<T>();
    // SAFETY: as the caller says; the kernel reads and writes `size` bytes of `attributes`.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done as libc::c_int) }
}
