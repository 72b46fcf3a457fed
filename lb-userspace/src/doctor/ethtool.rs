//! What a driver tells through `SIOCETHTOOL` (linux/ethtool.h, linux/sockios.h): its name, receive queues and offloads.

#![expect(unsafe_code, reason = "an ioctl that reads and writes memory through a pointer")]

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// `SIOCETHTOOL`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// `ETHTOOL_GDRVINFO`, `ETHTOOL_GCHANNELS`, `ETHTOOL_GSSET_INFO`, `ETHTOOL_GSTRINGS`, `ETHTOOL_GFEATURES`.
const DRIVER: u32 = 0x03;
const CHANNELS: u32 = 0x3c;
const STRING_SETS: u32 = 0x37;
const STRINGS: u32 = 0x1b;
const FEATURES: u32 = 0x3a;
/// `ETH_SS_FEATURES`: the string set of the offloads' names, each of `ETH_GSTRING_LEN` bytes.
const FEATURE_NAMES: u32 = 4;
const NAME_BYTES: usize = 32;
/// 32-bit words of a `struct ethtool_drvinfo` and where its text `driver` lies in bytes.
const DRIVER_WORDS: usize = 49;
const DRIVER_NAME: std::ops::Range<usize> = 4..36;
/// More names of offloads than any kernel has.
const MOST_NAMES: usize = 1024;

/// An interface's driver.
#[derive(Debug)]
pub struct Driver {
    socket: OwnedFd,
    name: [u8; libc::IFNAMSIZ],
}

impl Driver {
    /// That of the interface with this name.
    pub fn of(interface: &str) -> Result<Self, Errno> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let mut name = [0; libc::IFNAMSIZ];
        // Its last byte stays 0.
        let room = name.get_mut(..interface.len()).filter(|room| room.len() < libc::IFNAMSIZ);
        room.ok_or(Errno::ENODEV)?.copy_from_slice(interface.as_bytes());
        Ok(Self { socket, name })
    }

    /// Its name, like `ixgbe`.
    pub fn name(&self) -> Result<String, Errno> {
        let mut words = vec![0; DRIVER_WORDS];
        words[0] = DRIVER;
        self.ask(&mut words)?;
        let text = bytemuck::cast_slice::<u32, u8>(&words).get(DRIVER_NAME).unwrap_or_default();
        Ok(text_of(text))
    }

    /// Its receive queues: those for receiving alone, and the combined ones.
    pub fn receive_queues(&self) -> Result<u32, Errno> {
        // cmd, most of rx, tx, other, combined, then those in use.
        let mut words = vec![0; 9];
        words[0] = CHANNELS;
        self.ask(&mut words)?;
        Ok(words[5] + words[8])
    }

    /// The names of the offloads that are on.
    pub fn offloads(&self) -> Result<Vec<String>, Errno> {
        // cmd, reserved, a mask of 64 bits, and the length of each set in it.
        let mut sets = vec![STRING_SETS, 0, 1 << FEATURE_NAMES, 0, 0];
        self.ask(&mut sets)?;
        let count = (sets[4] as usize).min(MOST_NAMES);
        // cmd, the set, its length, the names.
        let mut names = vec![0; 3 + count * NAME_BYTES / 4];
        (names[0], names[1], names[2]) = (STRINGS, FEATURE_NAMES, count as u32);
        self.ask(&mut names)?;
        // cmd, number of blocks, and a block of available, requested, active, never changed for 32 offloads each.
        let blocks = count.div_ceil(32);
        let mut features = vec![0; 2 + 4 * blocks];
        (features[0], features[1]) = (FEATURES, blocks as u32);
        self.ask(&mut features)?;
        let names = bytemuck::cast_slice::<u32, u8>(&names[3..]).chunks_exact(NAME_BYTES).enumerate();
        let active = |at: usize| features[2 + 4 * (at / 32) + 2] >> (at % 32) & 1 != 0;
        Ok(names.filter(|(at, _)| active(*at)).map(|(_, name)| text_of(name)).collect())
    }

    /// Has the driver fill the words of a command, which the first one names.
    fn ask(&self, words: &mut [u32]) -> Result<(), Errno> {
        let mut request = libc::ifreq {
            ifr_name: self.name.map(|byte| byte as libc::c_char),
            ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data: words.as_mut_ptr().cast() },
        };
        // SAFETY: `request` points to as many words as the command, with the lengths in it, reads and writes.
        let done = unsafe { libc::ioctl(self.socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
        Errno::result(done).map(drop)
    }
}

/// Text that ends with the first 0.
fn text_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
