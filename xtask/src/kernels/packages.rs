//! Debian's packages, unpacked below target/kernels and not installed: kernels are not for this machine, and QEMU would
//! be at odds with one that came from elsewhere.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use crate::{process, progress::Progress, setup::apt, workspace::Workspace};

/// QEMU's program for our architecture.
const QEMU: &str = "qemu-system-x86_64";
/// What the tests' network namespaces need and Debian builds as modules, in the order in which they are loaded.
pub const MODULES: [&str; 4] = ["llc", "stp", "bridge", "veth"];

/// QEMU, from the search path or unpacked.
pub struct Emulator {
    program: PathBuf,
    /// Where it was unpacked.
    root: Option<PathBuf>,
}

/// A kernel, unpacked.
pub struct Kernel {
    /// Its first two numbers.
    pub series: &'static str,
    /// The image that is booted.
    pub image: PathBuf,
    /// The files of [`MODULES`], which may be compressed.
    pub modules: Vec<PathBuf>,
}

impl Emulator {
    /// The user's own QEMU, else Debian's.
    pub fn get(workspace: &Workspace, folder: &Path) -> Result<Self> {
        if let Some(program) = workspace.which(QEMU) {
            return Ok(Self { program, root: None });
        }
        let root = folder.join("qemu");
        once(&root, "QEMU", |folder, progress| {
            apt::download_with_needs("qemu-system-x86", folder, progress)?;
            unpack_all(folder)
        })?;
        Ok(Self { program: root.join("usr/bin").join(QEMU), root: Some(root) })
    }

    /// The program and where it looks for what it needs, to be started by `command`.
    pub fn add_to(&self, command: &mut Command) {
        command.arg(&self.program);
        if let Some(root) = &self.root {
            let libraries =
                ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
            command.env("LD_LIBRARY_PATH", libraries.map(PathBuf::into_os_string).join(OsStr::new(":")));
            for data in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(root.join(data));
            }
        }
    }
}

impl Kernel {
    /// The newest of its series that apt offers, or the one that was fetched before.
    pub fn get(folder: &Path, series: &'static str) -> Result<Self> {
        let root = folder.join(series);
        once(&root, &format!("Linux {series}"), |folder, progress| {
            let package = newest(series, progress)?;
            apt::download(&package, folder, progress)?;
            let [archive] = &packages(folder)?[..] else { bail!("apt-get downloaded no {package}") };
            progress.line(&format!("unpacking {package}"));
            let modules = MODULES.map(|module| format!("*/{module}.ko*"));
            let members = ["./boot/vmlinuz-*"].into_iter().chain(modules.iter().map(String::as_str));
            unpack_members(archive, folder, members)?;
            fs::remove_file(archive).with_context(|| format!("cannot remove {}", archive.display()))
        })?;
        let files = files_below(&root)?;
        let find = |start: &str| {
            let found = files.iter().find(|file| file_name(file).starts_with(start));
            found.cloned().with_context(|| format!("{} has no {start}: remove it", root.display()))
        };
        let image = find("vmlinuz-")?;
        let modules = MODULES.iter().map(|module| find(&format!("{module}.ko"))).collect::<Result<_>>()?;
        Ok(Self { series, image, modules })
    }
}

/// A busybox that needs no libraries.
pub fn busybox(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("busybox");
    once(&root, "busybox", |folder, progress| {
        apt::download("busybox-static", folder, progress)?;
        unpack_all(folder)
    })?;
    let places = ["bin/busybox", "usr/bin/busybox"].map(|place| root.join(place));
    let found = places.into_iter().find(|place| place.is_file());
    found.with_context(|| format!("{} has no busybox: remove it", root.display()))
}

/// The package of the newest kernel of a series: not one for virtual machines of clouds, nor of real time.
fn newest(series: &str, progress: &Progress) -> Result<String> {
    let pattern = format!(r"linux-image-{}\.[0-9.-]+(\+deb[0-9]+)?-amd64", series.replace('.', r"\."));
    let names = apt::matching(&pattern, progress)?;
    names.into_iter().max_by_key(|name| numbers(name)).with_context(|| {
        format!(
            "apt offers no linux-image-{series}.*-amd64: Debian 12 has 6.1 and, among its security updates, 6.12; \
             add them to apt's sources, or name another kernel with --only"
        )
    })
}

/// The numbers in a name, by which versions of one series compare.
fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// A folder that is filled once. It takes its name when it is complete, so that an interrupted run leaves none.
fn once(folder: &Path, what: &str, fill: impl FnOnce(&Path, &Progress) -> Result<()>) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let progress = Progress::begin(what, "fetching Debian's package");
    let partial = folder.with_file_name(format!("{}.partial", file_name(folder)));
    if partial.exists() {
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
    }
    fs::create_dir_all(&partial).with_context(|| format!("cannot make {}", partial.display()))?;
    fill(&partial, &progress).with_context(|| format!("cannot get {what}"))?;
    fs::rename(&partial, folder).with_context(|| format!("cannot rename {}", partial.display()))?;
    progress.end(&format!("unpacked in {}", folder.display()));
    Ok(())
}

/// The packages that were downloaded into a folder.
fn packages(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "deb")).collect())
}

/// Unpacks the packages of a folder where they are, and removes them.
fn unpack_all(folder: &Path) -> Result<()> {
    for package in packages(folder)? {
        process::run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(folder))?;
        fs::remove_file(&package).with_context(|| format!("cannot remove {}", package.display()))?;
    }
    Ok(())
}

/// Unpacks the members of a package that match: all of a kernel's would be half a gigabyte.
fn unpack_members<'m>(package: &Path, into: &Path, members: impl Iterator<Item = &'m str>) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb");
    let mut dpkg =
        dpkg.arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn().context("dpkg-deb")?;
    let archive = dpkg.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.stdin(archive).args(["-x", "--wildcards", "-C"]).arg(into).args(members);
    let unpacked = process::run(&mut tar);
    // Our end of the pipe must close before dpkg-deb is waited for.
    drop(tar);
    let status = dpkg.wait().context("cannot wait for dpkg-deb")?;
    unpacked?;
    if !status.success() {
        bail!("dpkg-deb cannot read {}: {status}", package.display());
    }
    Ok(())
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

/// The last part of a path.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::numbers;

    #[test]
    fn versions_compare_by_their_numbers() {
        let newer = |a: &str, b: &str| assert!(numbers(a) > numbers(b), "{a} is newer than {b}");
        newer("linux-image-6.1.0-56-amd64", "linux-image-6.1.0-9-amd64");
        newer("linux-image-6.12.117+deb12-amd64", "linux-image-6.12.48+deb13-amd64");
    }
}
