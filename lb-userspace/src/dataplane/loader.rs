//! Loads the program, specialised for a configuration, onto pinned maps; or adopts what is pinned.

use super::{
    Error, Sizes, bpffs,
    kernel::{Kernel, META, PINNED},
    link::{Links, remove_if_there},
    object,
};
use aya::{
    Ebpf, EbpfLoader,
    programs::{ProgramError, ProgramType, Xdp},
    sys::is_program_supported,
};
use aya_obj::programs::XdpAttachType;
use lb_common::{
    ABI_VERSION,
    hash::expand_key,
    meta::{Meta, features},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Name of the program of services without nat, in the object and in `bpftool prog`.
pub const PROGRAM: &str = "balancer";
/// The same with nat.
pub const PROGRAM_NAT: &str = "balancer_nat";

/// Pin of the program.
const PROGRAM_PIN: &str = "program";
/// Pin of the program between loading and its place on the links.
const NEW_PROGRAM_PIN: &str = "program_new";

/// What the program is made for. A program that fits is kept when the daemon starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Specialisation {
    /// Bits of [`lb_common::meta::features`].
    pub features: u32,
    /// Level of the program's log lines: 0 none, 4 debug.
    pub log_level: u8,
    /// Answers a second and CPU to pings and packets that do not fit; `u32::MAX`: no limit.
    pub answer_rate: u32,
    /// Secret of the flow hash.
    pub hash_key: [u8; 16],
}

/// A loaded program with its maps and links.
pub struct Loaded {
    /// The maps.
    pub kernel: Kernel,
    /// The program.
    pub program: Xdp,
    /// Its links.
    pub links: Links,
    /// Whether maps and program were found pinned and kept.
    pub adopted: Adopted,
    /// Level of the program's log lines.
    pub log_level: u8,
    /// The object's remains: the map that the log lines arrive by.
    pub object: Option<Ebpf>,
}

/// What was found pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adopted {
    /// Nothing: maps and program are new.
    Nothing,
    /// The maps; the program is new, and replaced the old one on every link.
    Maps,
    /// Maps and program.
    Everything,
}

/// Refuses a machine that cannot run the program, before anything is changed.
pub fn preflight() -> Result<(), Error> {
    let refuse = |text: &str| Err(Error::Machine(text.to_owned()));
    require_root("loading XDP programs")?;
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return refuse(
            "the kernel has no BTF (/sys/kernel/btf/vmlinux is missing); boot one built with CONFIG_DEBUG_INFO_BTF=y, Linux 5.18 or later",
        );
    }
    match is_program_supported(ProgramType::Xdp) {
        Ok(true) => Ok(()),
        Ok(false) => {
            refuse("the kernel has no XDP; boot one built with CONFIG_BPF_SYSCALL=y, Linux 5.18 or later")
        }
        Err(error) => Err(Error::Machine(format!(
            "the kernel refuses bpf() ({error}); boot one built with CONFIG_BPF_SYSCALL=y, or lift the container's seccomp filter"
        ))),
    }
}

/// Refuses anyone but root; `what` needs it.
pub fn require_root(what: &str) -> Result<(), Error> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::Machine(format!("{what} needs root; run it with sudo, or as root")))
}

/// Text that tells builds apart: the version and a fingerprint of the object.
#[must_use]
pub fn build() -> String {
    // FNV-1a, 64 bits: enough to tell one build of ours from another.
    let hash = object::BALANCER.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{} {hash:016x}", env!("CARGO_PKG_VERSION"))
}

/// What META says of the pinned maps; `None` when nothing is pinned.
pub fn pinned_meta(pin_dir: &Path) -> Result<Option<Meta>, Error> {
    if !pin_dir.join(META).exists() {
        return Ok(None);
    }
    let meta = Kernel::meta_of(pin_dir)?;
    match meta.abi_version {
        // The first daemon died before it had written everything: nobody relies on these maps.
        0 => Ok(None),
        ABI_VERSION => Ok(Some(meta)),
        found => Err(Error::Abi { pin_dir: pin_dir.to_owned(), found, ours: ABI_VERSION }),
    }
}

/// What is pinned under `pin_dir`, as it is; `None` when nothing is.
pub fn pinned(pin_dir: &Path) -> Result<Option<Loaded>, Error> {
    if pinned_meta(pin_dir)?.is_none() {
        return Ok(None);
    }
    let path = program_path(pin_dir);
    let program = Xdp::from_pin(&path, XdpAttachType::Interface)
        .map_err(|error| Error::pin("open", &path)(io::Error::other(error)))?;
    let (kernel, links) = (Kernel::open(pin_dir)?, Links::new(pin_dir));
    Ok(Some(Loaded { kernel, program, links, adopted: Adopted::Everything, log_level: 0, object: None }))
}

/// Adopts what is pinned under `pin_dir` as far as it fits, and makes the rest. Existing links run the
/// program given back when this returns.
pub fn load(pin_dir: &Path, sizes: Sizes, wanted: Specialisation) -> Result<Loaded, Error> {
    bpffs::prepare(pin_dir)?;
    let links = Links::new(pin_dir);
    let found = pinned_meta(pin_dir)?;
    // Without the program that META describes, as after a crash in between, a new one goes onto the maps.
    if let Some(meta) = found
        && let Ok(Some(mut loaded)) = pinned(pin_dir)
        && fits(&meta, wanted, program_id(&loaded.program)?)
    {
        loaded.kernel.adopt_services()?;
        links.replace_program(&mut loaded.program)?;
        return Ok(loaded);
    }
    if found.is_none() {
        remove_all(pin_dir)?;
        bpffs::prepare(pin_dir)?;
    }
    let (object, mut program) = load_object(pin_dir, sizes, wanted)?;
    let mut kernel = Kernel::open(pin_dir)?;
    kernel.adopt_services()?;
    links.replace_program(&mut program)?;
    publish_program(pin_dir)?;
    kernel.write_meta(&meta(wanted, program_id(&program)?))?;
    let adopted = if found.is_some() { Adopted::Maps } else { Adopted::Nothing };
    Ok(Loaded { kernel, program, links, adopted, log_level: wanted.log_level, object: Some(object) })
}

/// Removes links, program and maps: packets reach the kernel from then on.
pub fn remove_all(pin_dir: &Path) -> Result<(), Error> {
    remove_pins(pin_dir, [PROGRAM_PIN, NEW_PROGRAM_PIN].into_iter().chain(PINNED))
}

/// Removes links, then the pins with these names, then the directory.
pub(super) fn remove_pins(
    directory: &Path,
    pins: impl IntoIterator<Item = &'static str>,
) -> Result<(), Error> {
    let links = Links::new(directory);
    for name in links.names()? {
        links.detach(&name)?;
    }
    for name in pins {
        remove_if_there(&directory.join(name))?;
    }
    for directory in [directory.join("links"), directory.to_owned()] {
        // A directory with someone else's pins stays.
        let _ = fs::remove_dir(directory);
    }
    Ok(())
}

fn program_path(pin_dir: &Path) -> PathBuf {
    pin_dir.join(PROGRAM_PIN)
}

fn new_program_path(pin_dir: &Path) -> PathBuf {
    pin_dir.join(NEW_PROGRAM_PIN)
}

fn program_id(program: &Xdp) -> Result<u32, Error> {
    program.info().map(|info| info.id()).map_err(|error| Error::Load(chain(&error)))
}

fn meta(of: Specialisation, program_id: u32) -> Meta {
    let mut text = [0; 32];
    for (to, from) in text.iter_mut().zip(build().bytes()) {
        *to = from;
    }
    Meta {
        abi_version: ABI_VERSION,
        features: of.features,
        log_level: of.log_level.into(),
        program_id,
        answer_rate: of.answer_rate,
        reserved: 0,
        hash_key: of.hash_key,
        build: text,
        room: [0; 7],
    }
}

/// Whether the pinned program is the one that is wanted. One that logs is never kept: its log lines end with
/// the daemon that read them.
fn fits(found: &Meta, wanted: Specialisation, program_id: u32) -> bool {
    wanted.log_level == 0 && *found == meta(wanted, program_id)
}

fn load_object(pin_dir: &Path, sizes: Sizes, wanted: Specialisation) -> Result<(Ebpf, Xdp), Error> {
    let key = expand_key(wanted.hash_key);
    let mut loader = EbpfLoader::new();
    for name in PINNED {
        loader.map_pin_path(name, pin_dir.join(name));
    }
    let mut object = loader
        .map_max_entries("SERVICES", sizes.services)
        // Twice as many as services, so that a change finds a line that nobody is led to; line 0 is none.
        .map_max_entries("SERVICE_LINES", sizes.services * 2 + 1)
        .map_max_entries("VIPS", sizes.services)
        .map_max_entries("SERVICE_STATS", sizes.services)
        .map_max_entries("SERVICE_LABELS", sizes.services)
        .map_max_entries("BACKENDS", sizes.backends)
        .map_max_entries("NAT_RETURN", sizes.backends)
        .map_max_entries("BACKEND_STATS", sizes.backends)
        .map_max_entries("BACKEND_LABELS", sizes.backends)
        .map_max_entries("SLOTS", sizes.slots)
        .map_max_entries("OVERFLOWS", sizes.slots)
        .map_max_entries("FLOWS_V4", sizes.flows)
        .map_max_entries("FLOWS_V6", sizes.flows)
        .map_max_entries("CURSORS", sizes.services)
        .map_max_entries("TRACKING", sizes.services)
        .map_max_entries("LOADS", sizes.backends)
        .map_max_entries("SAMPLING", sizes.services)
        .map_max_entries("LATENCY", sizes.backends)
        .override_global("FEATURES", &wanted.features, true)
        .override_global("HASH_KEY", &key, true)
        .override_global("ANSWER_RATE", &wanted.answer_rate, true)
        .override_global(aya_log::LEVEL, &wanted.log_level, true)
        .load(object::BALANCER)
        .map_err(|error| Error::Load(chain(&error)))?;
    let name = if wanted.features & features::NAT == 0 { PROGRAM } else { PROGRAM_NAT };
    let program =
        object.program_mut(name).ok_or_else(|| Error::Load("the object has no program".to_owned()))?;
    let program: &mut Xdp = program.try_into().map_err(|error: ProgramError| Error::Load(chain(&error)))?;
    program.load().map_err(|error| Error::Load(chain(&error)))?;
    let owned = reopen(pin_dir, program)?;
    Ok((object, owned))
}

/// The program as an object of its own, so that it can be kept apart from the ELF object.
fn reopen(pin_dir: &Path, program: &mut Xdp) -> Result<Xdp, Error> {
    let path = new_program_path(pin_dir);
    remove_if_there(&path)?;
    program.pin(&path).map_err(|error| Error::Load(chain(&error)))?;
    Xdp::from_pin(&path, XdpAttachType::Interface).map_err(|error| Error::Load(chain(&error)))
}

/// Puts the new program's pin in the place of the old one's.
fn publish_program(pin_dir: &Path) -> Result<(), Error> {
    let (new, path) = (new_program_path(pin_dir), program_path(pin_dir));
    fs::rename(&new, &path).map_err(Error::pin("rename", &new))
}

/// An error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
