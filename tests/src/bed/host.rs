//! A node of the bed.

use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;

use super::{INTERFACE, namespace::Namespace, process::Process};

/// A node: its namespace and the addresses of its interface.
#[derive(Debug)]
pub struct Host {
    pub(super) role: String,
    pub(super) namespace: Namespace,
    pub(super) directory: PathBuf,
    /// The last part of every address of the node.
    pub(super) number: u8,
}

impl Host {
    /// What the node is: `client`, `balancer`, `backend-1`...
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }

    /// The node's IPv4 address.
    #[must_use]
    pub fn address_v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, 0, self.number)
    }

    /// The node's IPv6 address. It reads like the IPv4 one: 198.18.0.11 has `2001:db8:18::11`.
    #[must_use]
    pub fn address_v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, decimal_as_hex(self.number))
    }

    /// The node's address of one family.
    #[must_use]
    pub fn address(&self, v6: bool) -> IpAddr {
        if v6 { self.address_v6().into() } else { self.address_v4().into() }
    }

    /// The MAC address of the node's interface.
    #[must_use]
    pub fn mac(&self) -> [u8; 6] {
        [0x02, 0, 0, 0, 0, self.number]
    }

    /// The node's namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// As [`Namespace::command`].
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// As [`Namespace::run_in`].
    pub fn run_in<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.namespace.run_in(work)
    }

    /// Starts a program that runs until its guard is dropped.
    pub fn spawn<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Process> {
        Process::spawn(self.command(program).args(args), &self.file("output.log"))
    }

    /// Gives the node's interface one more address, for example to send from.
    pub fn add_address(&self, address: IpAddr, prefix: u8) -> Result<()> {
        let nodad = if address.is_ipv6() { " nodad" } else { "" };
        self.namespace.ip(&[format!("addr add {address}/{prefix} dev {INTERFACE}{nodad}")])
    }

    /// A path of its own in the bed's directory, which no other call gives.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.directory.join(format!("{}-{number}-{name}", self.role))
    }
}

/// The number whose hexadecimal digits are those of `number` in decimal.
fn decimal_as_hex(number: u8) -> u16 {
    let number = u16::from(number);
    ((number / 100) << 8) | ((number / 10 % 10) << 4) | (number % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stay() {
        for (number, hex) in [(1, 0x1), (11, 0x11), (99, 0x99), (250, 0x250)] {
            assert_eq!(decimal_as_hex(number), hex);
        }
    }
}
