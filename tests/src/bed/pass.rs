//! The program on the switch's ends of the veth pairs.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{Xdp, xdp::XdpMode},
};

use super::namespace::Namespace;

/// The attached programs; dropping this detaches them.
#[derive(Debug)]
pub struct Passing {
    _object: Ebpf,
}

/// Attaches the program `pass` of a BPF object to interfaces of a namespace, in native mode.
///
/// A veth takes frames that XDP sends (`XDP_TX`, redirect) only while its peer runs a native XDP program too.
pub fn attach_pass(object: &[u8], namespace: &Namespace, interfaces: &[&str]) -> Result<Passing> {
    let mut object = Ebpf::load(object).context("cannot load the object with the program `pass`")?;
    let program: &mut Xdp = object
        .program_mut("pass")
        .context("the object has no program `pass`")?
        .try_into()
        .context("`pass` is no XDP program")?;
    program.load().context("cannot load the program `pass`")?;
    namespace.run_in(|| {
        for interface in interfaces {
            program
                .attach(interface, XdpMode::Driver)
                .with_context(|| format!("cannot attach `pass` to {interface} in {}", namespace.name()))?;
        }
        Ok(())
    })?;
    Ok(Passing { _object: object })
}
