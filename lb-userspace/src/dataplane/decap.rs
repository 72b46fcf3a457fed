//! The decapsulator of a backend's interface: program, maps and link, pinned in a directory of its own,
//! `decap/IFACE` of the pin directory, where they do their work without a daemon.

use super::{
    Error, bpffs,
    kernel::{Record, open as open_error, per_cpu, pinned, read, total, write},
    link::{Attached, Links, pin_name},
    loader::{chain, remove_pins},
    object,
};
use crate::{config::XdpMode, neighbour::Interface};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData, PerCpuArray},
    programs::{ProgramError, Xdp},
};
use lb_common::{
    counters::PacketCount,
    decap::{AddressKey, DECAP_ABI_VERSION, DecapMeta, DecapVerdict},
    service::{address_bytes, address_from_bytes},
};
use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

/// Name of the program in the object and in `bpftool prog`.
pub const PROGRAM: &str = "decap";

const VIPS: &str = "DECAP_VIPS";
const LOCAL: &str = "DECAP_LOCAL";
const STATS: &str = "DECAP_STATS";
const META: &str = "DECAP_META";
const PINNED: [&str; 4] = [META, VIPS, LOCAL, STATS];

/// What the program is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Inner destinations whose packets are taken out.
    pub vips: BTreeSet<IpAddr>,
    /// Outer destinations: the interface's own addresses.
    pub own: BTreeSet<IpAddr>,
    /// Destination port of GUE.
    pub gue_port: u16,
}

/// The pinned maps of an interface.
pub struct Decap {
    vips: Set,
    own: Set,
    stats: PerCpuArray<MapData, Record<PacketCount>>,
    meta: Array<MapData, Record<DecapMeta>>,
    links: Links,
}

impl Decap {
    /// What is pinned for the interface; `None` when nothing is, or nothing whole.
    pub fn open(pin_dir: &Path, interface: &str) -> Result<Option<Self>, Error> {
        let directory = directory(pin_dir, interface);
        if !directory.join(META).exists() {
            return Ok(None);
        }
        let meta: Array<MapData, Record<DecapMeta>> =
            Array::try_from(Map::Array(pinned(&directory, META)?)).map_err(open_error(META))?;
        match meta.get(&0, 0).map_err(read(META))?.0.abi_version {
            // The first call ended before it had written everything.
            0 => return Ok(None),
            DECAP_ABI_VERSION => {}
            found => {
                let interface = interface.to_owned();
                return Err(Error::DecapAbi { interface, found, ours: DECAP_ABI_VERSION });
            }
        }
        Self::of(&directory, meta).map(Some)
    }

    fn of(directory: &Path, meta: Array<MapData, Record<DecapMeta>>) -> Result<Self, Error> {
        Ok(Self {
            vips: Set::open(directory, VIPS)?,
            own: Set::open(directory, LOCAL)?,
            stats: per_cpu(directory, STATS)?,
            meta,
            links: Links::new(directory),
        })
    }

    /// What the program was told.
    pub fn settings(&self) -> Result<Settings, Error> {
        let gue_port = self.meta.get(&0, 0).map_err(read(META))?.0.gue_port;
        Ok(Settings { vips: self.vips.addresses()?, own: self.own.addresses()?, gue_port })
    }

    /// Counters of every verdict.
    pub fn counters(&self) -> Result<Vec<(DecapVerdict, PacketCount)>, Error> {
        DecapVerdict::ALL
            .iter()
            .map(|&verdict| Ok((verdict, total(&self.stats, verdict.counter(), STATS)?)))
            .collect()
    }

    /// Whether the interface runs the program.
    #[must_use]
    pub fn is_live(&self, interface: &Interface) -> bool {
        self.links.is_live(interface)
    }
}

/// Makes the interface take tunnels off as told. Where it does so already, no packet meets anything between the old
/// settings and the new: what is new is added, the program is swapped on its link, and then what is old goes.
pub fn install(
    pin_dir: &Path,
    interface: &Interface,
    mode: XdpMode,
    settings: &Settings,
) -> Result<Attached, Error> {
    let directory = directory(pin_dir, &interface.name);
    let links = Links::new(&directory);
    links.check_free(interface)?;
    check_mode(&links, interface, mode)?;
    let fresh = Decap::open(pin_dir, &interface.name)?.is_none();
    if fresh {
        remove_pins(&directory, PINNED)?;
    }
    bpffs::prepare(&directory)?;
    put(&directory, interface, mode, settings).inspect_err(|_: &Error| {
        if fresh {
            // Nothing is left behind of an attempt that came to nothing; the first error is the one to tell.
            let _ = remove(pin_dir, &interface.name);
        }
    })
}

fn put(
    directory: &Path,
    interface: &Interface,
    mode: XdpMode,
    settings: &Settings,
) -> Result<Attached, Error> {
    let mut object = load(directory, settings.gue_port)?;
    let meta = Array::try_from(Map::Array(pinned(directory, META)?)).map_err(open_error(META))?;
    let mut decap = Decap::of(directory, meta)?;
    let program = program(&mut object)?;
    // To be asked before the swap: `interface` tells of the program that it had then.
    let live = decap.links.is_live(interface);
    decap.own.add(&settings.own)?;
    decap.vips.add(&settings.vips)?;
    decap.links.replace_program(program)?;
    decap.own.keep(&settings.own)?;
    decap.vips.keep(&settings.vips)?;
    let meta = DecapMeta { abi_version: DECAP_ABI_VERSION, gue_port: settings.gue_port, reserved: 0 };
    decap.meta.set(0, Record(meta), 0).map_err(write(META))?;
    if live { Ok(Attached::Already) } else { decap.links.attach(program, interface, mode) }
}

/// Takes program and maps off the interface: tunnels reach the kernel from then on.
pub fn remove(pin_dir: &Path, interface: &str) -> Result<(), Error> {
    let directory = directory(pin_dir, interface);
    if !directory.exists() {
        return Err(Error::NoDecap { interface: interface.to_owned(), pin_dir: pin_dir.to_owned() });
    }
    remove_pins(&directory, PINNED)?;
    for directory in [pin_dir.join("decap"), pin_dir.to_owned()] {
        // Other interfaces' pins, or the balancer's, stay.
        let _ = fs::remove_dir(directory);
    }
    Ok(())
}

fn directory(pin_dir: &Path, interface: &str) -> PathBuf {
    pin_dir.join("decap").join(pin_name(interface))
}

/// A link keeps its mode; one that is asked to change must say so instead of seeming to.
fn check_mode(links: &Links, interface: &Interface, wanted: XdpMode) -> Result<(), Error> {
    use crate::neighbour::XdpMode as Running;
    let Some(xdp) = interface.xdp.as_ref().filter(|_| links.is_live(interface)) else {
        return Ok(());
    };
    match (wanted, xdp.mode) {
        (XdpMode::Auto, _) | (XdpMode::Native, Running::Native) | (XdpMode::Generic, Running::Generic) => {
            Ok(())
        }
        (_, found) => Err(Error::DecapMode { interface: interface.name.clone(), found: found.word() }),
    }
}

/// The object, on the maps that are pinned already where there are some.
fn load(directory: &Path, gue_port: u16) -> Result<Ebpf, Error> {
    let mut loader = EbpfLoader::new();
    for name in PINNED {
        loader.map_pin_path(name, directory.join(name));
    }
    let mut object = loader
        .override_global("GUE_PORT", &gue_port, true)
        .load(object::DECAP)
        .map_err(|error| Error::Load(chain(&error)))?;
    program(&mut object)?.load().map_err(|error| Error::Load(chain(&error)))?;
    Ok(object)
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = object.program_mut(PROGRAM);
    let program = program.ok_or_else(|| Error::Load("the object has no program".to_owned()))?;
    program.try_into().map_err(|error: ProgramError| Error::Load(chain(&error)))
}

/// A map that is a set of addresses.
struct Set {
    map: HashMap<MapData, AddressKey, u8>,
    name: &'static str,
}

impl Set {
    fn open(directory: &Path, name: &'static str) -> Result<Self, Error> {
        let map = HashMap::try_from(Map::HashMap(pinned(directory, name)?)).map_err(open_error(name))?;
        Ok(Self { map, name })
    }

    fn addresses(&self) -> Result<BTreeSet<IpAddr>, Error> {
        self.map.keys().map(|key| key.map(address_from_bytes).map_err(read(self.name))).collect()
    }

    fn add(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), Error> {
        for address in addresses {
            self.map.insert(address_bytes(*address), 1, 0).map_err(write(self.name))?;
        }
        Ok(())
    }

    /// Removes all other addresses.
    fn keep(&mut self, addresses: &BTreeSet<IpAddr>) -> Result<(), Error> {
        for address in self.addresses()?.difference(addresses) {
            self.map.remove(&address_bytes(*address)).map_err(write(self.name))?;
        }
        Ok(())
    }
}
