//! The machine that is emulated: what is in its memory when it starts, and what its console says.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{self as system, Command},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};

use super::{
    packages::{Emulator, Kernel, MODULES, file_name},
    programs::{self, Test},
};
use crate::{process, progress::Progress, workspace::Workspace};

/// Longest that a kernel may take, in seconds, on a machine that has other things to do.
const DEADLINE: &str = "1800";

/// The first process. The console has one program's output at a time; each of our own lines starts with a token that
/// no program knows.
const INIT: &str = "#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets
/bin/busybox mkdir -p /applets /dev /proc /run /sys /tmp /var
/bin/busybox --install -s /applets
ln -s /run /var/run
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t bpf bpf /sys/fs/bpf
for module in MODULES; do insmod /modules/$module.ko; done
ip link set lo up
echo; echo \"TOKEN kernel $(uname -r) $(uname -v)\"
run() {
    echo; echo \"TOKEN begin $1\"
    /tests/$@ --nocapture --test-threads=1 2>&1
    status=$?
    echo; echo \"TOKEN end $1 $status\"
}
TESTS
echo; echo \"TOKEN done\"
poweroff -f
";

/// All but the kernel.
pub struct Machine<'a> {
    folder: &'a Path,
    emulator: &'a Emulator,
    busybox: &'a Path,
    tests: &'a [Test],
    /// Commands and their libraries, by the paths that they have here and there.
    commands: Vec<PathBuf>,
    token: String,
}

impl<'a> Machine<'a> {
    /// A machine that will run these tests; its files lie in `folder`.
    pub fn new(
        workspace: &Workspace,
        folder: &'a Path,
        emulator: &'a Emulator,
        busybox: &'a Path,
        tests: &'a [Test],
    ) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        let token = format!("xtask-{:x}-{:x}", system::id(), now.as_nanos());
        Ok(Self { folder, emulator, busybox, tests, commands: programs::commands(workspace)?, token })
    }

    /// What every line of ours on the console starts with.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where the console's output is kept.
    pub fn log(&self, kernel: &Kernel) -> PathBuf {
        self.folder.join(format!("{}.log", kernel.series))
    }

    /// Boots a kernel, which runs the tests and switches the machine off; gives what the console said. A machine that
    /// is not off by the deadline is ended, which the console's last line then lacks.
    pub fn boot(&self, kernel: &Kernel, progress: &Progress) -> Result<Vec<String>> {
        let memory = self.pack(kernel)?;
        // Not by a clock of ours: this ends the machine also when we are no more.
        let mut command = Command::new("timeout");
        command.args(["--foreground", "--kill-after=10", DEADLINE]);
        self.emulator.add_to(&mut command);
        // Two processors, because counters are kept by processor.
        command.args([
            "-accel",
            "tcg",
            "-smp",
            "2",
            "-m",
            "1024",
            "-nographic",
            "-nic",
            "none",
            "-no-reboot",
        ]);
        command.arg("-kernel").arg(&kernel.image).arg("-initrd").arg(&memory);
        // Of the kernel's own messages only a panic's, and it ends the machine.
        command.args(["-append", "console=ttyS0 quiet loglevel=1 panic=-1"]);
        let (status, console) = process::collected(command, &|line| progress.line(line))?;
        let log = self.log(kernel);
        fs::write(&log, console.join("\n")).with_context(|| format!("cannot write {}", log.display()))?;
        fs::remove_file(&memory).with_context(|| format!("cannot remove {}", memory.display()))?;
        // 124: the deadline, about which the report says what was done by then.
        if !status.success() && status.code() != Some(124) {
            bail!("QEMU, with Linux {}: {status}\n  {}", kernel.series, tail(&console));
        }
        Ok(console)
    }

    /// Packs the root file system that the kernel unpacks into its memory.
    fn pack(&self, kernel: &Kernel) -> Result<PathBuf> {
        let root = self.folder.join("root");
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
        }
        copy(self.busybox, &root.join("bin/busybox"))?;
        for file in &self.commands {
            copy(file, &root.join(file.strip_prefix("/").unwrap_or(file)))?;
        }
        for test in self.tests {
            copy(&test.program, &root.join("tests").join(test.name))?;
        }
        for (name, file) in MODULES.iter().zip(&kernel.modules) {
            self.unpack_module(file, &root.join("modules").join(format!("{name}.ko")))?;
        }
        self.write_init(&root.join("init"))?;
        let memory = self.folder.join("root.cpio");
        let mut pack = Command::new(self.busybox);
        pack.current_dir(&root).args(["sh", "-c", "\"$0\" find . | \"$0\" cpio -o -H newc 2>&1 > \"$1\""]);
        pack.arg(self.busybox).arg(&memory);
        process::watched(pack, &|_| {})?;
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
        Ok(memory)
    }

    fn write_init(&self, file: &Path) -> Result<()> {
        let tests = self.tests.iter().map(|test| format!("run {} {}", test.name, test.only.join(" ")));
        let script = INIT
            .replace("TOKEN", &self.token)
            .replace("MODULES", &MODULES.join(" "))
            .replace("TESTS", &tests.collect::<Vec<_>>().join("\n"));
        fs::write(file, script).with_context(|| format!("cannot write {}", file.display()))?;
        let permissions = fs::Permissions::from_mode(0o755);
        fs::set_permissions(file, permissions).with_context(|| format!("cannot make {} run", file.display()))
    }

    /// Copies a module, which newer kernels have compressed.
    fn unpack_module(&self, file: &Path, to: &Path) -> Result<()> {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("ko") => copy(file, to),
            Some("xz") => {
                make_folder_of(to)?;
                let output =
                    fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
                process::run(Command::new(self.busybox).arg("xzcat").arg(file).stdout(output))
            }
            _ => bail!("{} is compressed in a way that is not known here", file_name(file)),
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder_of(to)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn make_folder_of(file: &Path) -> Result<()> {
    let folder = file.parent().with_context(|| format!("{} is in no folder", file.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// The last lines.
fn tail(lines: &[String]) -> String {
    lines[lines.len().saturating_sub(10)..].join("\n  ")
}
