//! How large the program is: instructions and bytes of each specialisation, and the memory of the maps.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd as _},
    time::Instant,
};

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use aya_obj::Object;
use lb_common::{
    limits::{DEFAULT_FLOWS, MAX_BACKENDS, MAX_SERVICES},
    meta::features,
};
use lb_tests::bed::Pins;
use lb_userspace::dataplane::{
    Sizes,
    kernel::PINNED,
    loader::{Specialisation, load, remove_all},
    object,
};
use rustc_demangle::demangle;
use serde::{Deserialize, Serialize};

use crate::scenario::names;

/// Size of one specialisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// The features.
    pub features: String,
    /// Instructions after the verifier removed what is switched off, and the kernel put its own in place of calls.
    pub translated: u32,
    /// Bytes of machine code.
    pub jited: u32,
}

/// What loading it costs.
#[derive(Clone, Debug, Serialize)]
pub struct Load {
    /// The program's size.
    pub size: Size,
    /// Instructions that the verifier followed.
    pub verified: u32,
    /// Maps, verifier and compiler, in milliseconds: the fastest of [`LOADS`].
    pub milliseconds: f64,
}

/// Times that each specialisation is loaded.
pub const LOADS: u32 = 3;

/// Combinations that configurations ask for: none, each alone, what goes together, and all.
#[must_use]
pub fn specialisations() -> Vec<u32> {
    let bits = (0..u32::BITS).map(|bit| 1 << bit).filter(|bit| features::ALL & bit != 0);
    let together = [
        features::IPV6 | features::UDP,
        features::IPV6 | features::NAT,
        features::IPV6 | features::IPIP,
        features::IPV6 | features::GUE,
        features::ALL,
    ];
    [0].into_iter().chain(bits).chain(together).collect()
}

/// Loads a specialisation a few times.
pub fn measure(features: u32) -> Result<Load> {
    let mut fastest: Option<Load> = None;
    for _ in 0..LOADS {
        let load = once(features)?;
        if fastest.as_ref().is_none_or(|fastest| load.milliseconds < fastest.milliseconds) {
            fastest = Some(load);
        }
    }
    fastest.context("not loaded at all")
}

/// Loads a specialisation.
pub fn once(features: u32) -> Result<Load> {
    let pins = Pins::new()?;
    let sizes = Sizes { services: 16, backends: 16, slots: 256, flows: 64 };
    let begun = Instant::now();
    let loaded = load(&pins.dir(), sizes, wanted(features))?;
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let info = loaded.program.info()?;
    let translated = info.size_translated().context("the kernel does not tell the program's size")? / 8;
    let size = Size { features: names(features), translated, jited: info.size_jitted() };
    let verified = info.verified_instruction_count().unwrap_or(0);
    drop(loaded);
    remove_all(&pins.dir())?;
    Ok(Load { size, verified, milliseconds })
}

const fn wanted(features: u32) -> Specialisation {
    Specialisation { features, log_level: 0, answer_rate: 1000, hash_key: [7; 16] }
}

/// Instructions of each function of the object, as the compiler made them: the same on every kernel.
pub fn functions() -> Result<Vec<(String, u32)>> {
    let object = Object::parse(object::BALANCER).context("cannot read the object")?;
    let mut functions: Vec<_> = object
        .functions
        .values()
        // Without the hash of the crate, which changes with everything.
        .map(|function| (format!("{:#}", demangle(&function.name)), function.instructions.len() as u32))
        .collect();
    functions.sort();
    Ok(functions)
}

/// A map and its memory.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// The map's name.
    pub map: &'static str,
    /// Bytes that the kernel has for it with the sizes of a small configuration.
    pub usual: u64,
    /// Bytes with the largest sizes that a configuration can have, but for the flow tables, which are as large as the default.
    pub largest: u64,
}

/// Sizes of a configuration of a few services.
const USUAL: Sizes = Sizes { services: 256, backends: 1024, slots: 1 << 18, flows: DEFAULT_FLOWS };
/// Sizes of the most services and backends, with 16,384 slots each.
const LARGEST: Sizes =
    Sizes { services: MAX_SERVICES, backends: MAX_BACKENDS + 1, slots: 1 << 27, flows: DEFAULT_FLOWS };

/// The memory of all maps.
pub fn memory() -> Result<Vec<Memory>> {
    let (usual, largest) = (memory_of(USUAL)?, memory_of(LARGEST)?);
    let pairs = PINNED.iter().zip(usual.into_iter().zip(largest));
    Ok(pairs.map(|(map, (usual, largest))| Memory { map, usual, largest }).collect())
}

fn memory_of(sizes: Sizes) -> Result<Vec<u64>> {
    let pins = Pins::new()?;
    let loaded = load(&pins.dir(), sizes, wanted(features::ALL))?;
    let bytes = PINNED.iter().map(|name| {
        let map = MapData::from_pin(pins.dir().join(name)).with_context(|| format!("no map {name}"))?;
        let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
        Ok(line.context("the kernel does not tell a map's memory")?.trim().parse()?)
    });
    let bytes = bytes.collect::<Result<Vec<_>>>()?;
    drop(loaded);
    remove_all(&pins.dir())?;
    Ok(bytes)
}
