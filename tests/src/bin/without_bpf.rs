//! `without_bpf PROGRAM [ARGUMENT]...` runs a program for which bpf(2) does not exist, as on a kernel without it or in
//! a container whose seccomp filter refuses it.

use std::{env, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};

fn main() -> Result<()> {
    let mut words = env::args_os().skip(1);
    let program = words.next().context("usage: without_bpf PROGRAM [ARGUMENT]...")?;
    seccomp::refuse_bpf().context("cannot install the seccomp filter")?;
    Err(Command::new(&program).args(words).exec())
        .with_context(|| format!("cannot run {}", program.display()))
}

/// The filter, as seccomp(2) describes it.
mod seccomp {
    use std::io;

    use nix::libc::{
        BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, ENOSYS, PR_SET_SECCOMP,
        SECCOMP_MODE_FILTER, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SYS_bpf, prctl, sock_filter, sock_fprog,
    };

    /// From now on bpf(2) fails with ENOSYS for this process and all that it becomes. Needs root.
    pub(super) fn refuse_bpf() -> io::Result<()> {
        let step = |code: u32, jf: u8, k: u32| sock_filter { code: code as u16, jt: 0, jf, k };
        let mut filter = [
            // `nr`, the first field of seccomp_data. The architecture need not be looked at: nobody attacks this.
            step(BPF_LD | BPF_W | BPF_ABS, 0, 0),
            step(BPF_JMP | BPF_JEQ | BPF_K, 1, SYS_bpf as u32),
            step(BPF_RET | BPF_K, 0, SECCOMP_RET_ERRNO | ENOSYS as u32),
            step(BPF_RET | BPF_K, 0, SECCOMP_RET_ALLOW),
        ];
        let program = sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        #[expect(unsafe_code, reason = "no crate of this workspace wraps seccomp")]
        // SAFETY: the kernel copies the program, which lives until the call returns, and keeps no pointer to it.
        let result = unsafe { prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
