//! Builds the eBPF half with the toolchain that `cargo xtask setup` found or installed, so that plain
//! `cargo build` leaves the objects `balancer`, `decap`, `pass` and `harness` in `OUT_DIR`.

use std::fs;

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain};

/// What `cargo xtask setup` found: lines of `name=value`, of which `toolchain` is rustup's name for the compiler.
const TOOLCHAIN_FILE: &str = "../target/tools/toolchain.env";
/// Where .cargo/config.toml says that the linker is.
const LINKER: &str = "../target/tools/bin/bpf-linker";

fn main() {
    if let Err(error) = build() {
        println!("cargo::error={error:#}");
    }
}

fn build() -> Result<()> {
    // aya-build watches lb-ebpf; the compiler and the shared records decide the object too.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../lb-common/src");
    println!("cargo::rerun-if-changed={TOOLCHAIN_FILE}");
    println!("cargo::rerun-if-changed={LINKER}");
    let toolchain = toolchain().context("the eBPF toolchain is missing: run `cargo xtask setup` once")?;
    let package = Package { name: "lb-ebpf", root_dir: "../lb-ebpf", ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
}

/// The compiler's name, when the linker is there too.
fn toolchain() -> Option<String> {
    fs::metadata(LINKER).ok()?;
    let found = fs::read_to_string(TOOLCHAIN_FILE).ok()?;
    let name = found.lines().find_map(|line| line.strip_prefix("toolchain="));
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}
