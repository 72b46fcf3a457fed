//! The program on interfaces: BPF links, pinned under the pin directory, so that they outlive the daemon.

use super::{Error, detach::detach};
use crate::{config::XdpMode, neighbour::Interface};
use aya::programs::{
    self, ProgramError, Xdp,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::XdpLink,
};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What attaching did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    /// The program was attached in the driver.
    Native,
    /// The program was attached in the generic path.
    Generic,
    /// The program was there already.
    Already,
}

/// The links of one pin directory.
#[derive(Clone, Debug)]
pub struct Links {
    directory: PathBuf,
}

impl Links {
    /// The links pinned under `pin_dir`.
    #[must_use]
    pub fn new(pin_dir: &Path) -> Self {
        Self { directory: pin_dir.join("links") }
    }

    /// Names of the interfaces that have a link, sorted.
    pub fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::pin("list", &self.directory)(error)),
        };
        let mut names = entries
            .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().replace(':', ".")))
            .collect::<io::Result<Vec<_>>>()
            .map_err(Error::pin("list", &self.directory))?;
        names.sort();
        Ok(names)
    }

    /// Whether our link is the one that the interface runs. A link whose interface was removed is not.
    #[must_use]
    pub fn is_live(&self, interface: &Interface) -> bool {
        let program = self.program_of(&interface.name);
        program.is_some() && program == interface.xdp.as_ref().map(|xdp| xdp.program_id)
    }

    fn program_of(&self, name: &str) -> Option<u32> {
        let link: FdLink = PinnedLink::from_pin(self.path(name)).ok()?.into();
        Some(link.info().ok()?.program_id())
    }

    /// Refuses an interface that carries a program which is not ours.
    pub fn check_free(&self, interface: &Interface) -> Result<(), Error> {
        let Some(xdp) = interface.xdp.as_ref().filter(|_| !self.is_live(interface)) else {
            return Ok(());
        };
        let id = xdp.program_id;
        let program = loaded_programs()
            .filter_map(Result::ok)
            .find(|program| program.id() == id)
            .and_then(|program| program.name_as_str().map(str::to_owned))
            // Only CAP_SYS_ADMIN may look at programs by their number, which the daemon gives up.
            .unwrap_or_else(|| "name not readable".to_owned());
        Err(Error::Occupied { interface: interface.name.clone(), program, id })
    }

    /// Attaches `program` and pins the link; a link that is live is left as it is.
    pub fn attach(&self, program: &mut Xdp, interface: &Interface, mode: XdpMode) -> Result<Attached, Error> {
        if self.is_live(interface) {
            return Ok(Attached::Already);
        }
        self.check_free(interface)?;
        let path = self.path(&interface.name);
        // The pin of an interface that was removed and came back under its name.
        remove_if_there(&path)?;
        fs::create_dir_all(&self.directory).map_err(Error::pin("create", &self.directory))?;
        let (link, attached) = match mode {
            XdpMode::Native => (link(program, interface, programs::XdpMode::Driver)?, Attached::Native),
            XdpMode::Generic => (link(program, interface, programs::XdpMode::Skb)?, Attached::Generic),
            XdpMode::Auto => match link(program, interface, programs::XdpMode::Driver) {
                Ok(link) => (link, Attached::Native),
                Err(native) => {
                    // What native mode said is worth more than a second refusal.
                    let link = link(program, interface, programs::XdpMode::Skb).map_err(|_| native)?;
                    (link, Attached::Generic)
                }
            },
        };
        link.pin(&path).map_err(|error| Error::pin("pin", &path)(io::Error::other(error)))?;
        Ok(attached)
    }

    /// Swaps the program of every link, each at once: no packet is without a program.
    pub fn replace_program(&self, program: &mut Xdp) -> Result<(), Error> {
        let new = program.info().map_err(|error| Error::Load(error.to_string()))?.id();
        for name in self.names()? {
            if self.program_of(&name) != Some(new) {
                replace_one(program, &self.path(&name))?;
            }
        }
        Ok(())
    }

    /// Detaches the program from the interface and removes the pin.
    pub fn detach(&self, name: &str) -> Result<(), Error> {
        let names = self.names()?;
        if !names.iter().any(|have| have == name) {
            let attached = if names.is_empty() {
                "none does".to_owned()
            } else {
                format!("attached: {}", names.join(", "))
            };
            return Err(Error::NotAttached { interface: name.to_owned(), attached });
        }
        let path = self.path(name);
        match detach(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::pin("detach", &path)(error)),
            _ => remove_if_there(&path),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(pin_name(name))
    }
}

fn replace_one(program: &mut Xdp, path: &Path) -> Result<(), Error> {
    let failed = |error: String| Error::pin("replace the program of", path)(io::Error::other(error));
    let link: FdLink = PinnedLink::from_pin(path).map_err(|error| failed(error.to_string()))?.into();
    let link = XdpLink::try_from(link).map_err(|error| failed(error.to_string()))?;
    match program.attach_to_link(link) {
        Ok(id) => drop(program.take_link(id)),
        // The interface is gone, and the link with it.
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOLINK) => {
            remove_if_there(path)?;
        }
        Err(error) => return Err(failed(error.to_string())),
    }
    Ok(())
}

/// An interface's name as a pin's. bpffs allows no dot in a name and the kernel no colon in an interface's: `eth0.100`
/// is pinned as `eth0:100`.
pub(super) fn pin_name(interface: &str) -> String {
    interface.replace('.', ":")
}

/// Removes a pin; that it is gone already is as good.
pub(super) fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::pin("remove", path)(error)),
        _ => Ok(()),
    }
}

fn link(program: &mut Xdp, interface: &Interface, mode: programs::XdpMode) -> Result<FdLink, Error> {
    let refused = |error: ProgramError| attach_error(interface, mode, &error);
    let id = program.attach_to_if_index(interface.index, mode).map_err(refused)?;
    let link = program.take_link(id).map_err(refused)?;
    FdLink::try_from(link).map_err(|_| {
        Error::Machine("the kernel has no BPF links for XDP; Linux 5.9 or later is needed".to_owned())
    })
}

fn attach_error(interface: &Interface, mode: programs::XdpMode, error: &ProgramError) -> Error {
    let errno = match error {
        ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    };
    let (mode, mend) = match (mode, errno) {
        (programs::XdpMode::Skb, _) => ("generic", "see the kernel's log (dmesg) for the reason"),
        (_, Some(libc::EOPNOTSUPP)) => ("native", "its driver has no native XDP, use --mode generic"),
        (_, Some(libc::ERANGE | libc::EINVAL)) => (
            "native",
            "its MTU, queues or offloads do not fit native XDP (see dmesg), lower the MTU or use --mode generic",
        ),
        _ => ("native", "see the kernel's log (dmesg) for the reason, or use --mode generic"),
    };
    let cause = match error {
        ProgramError::SyscallError(error) => error.io_error.to_string(),
        error => error.to_string(),
    };
    Error::Attach { interface: interface.name.clone(), mode, cause, mend }
}
