//! A service: virtual address, port and protocol, and where its slot table lies.

use bytemuck::{Pod, Zeroable};
use core::net::IpAddr;

/// IP protocol number of TCP (RFC 9293).
pub const TCP: u8 = 6;
/// IP protocol number of UDP (RFC 768).
pub const UDP: u8 = 17;

/// Key of SERVICES. Port 0 stands for every port of the address that has no service of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ServiceKey {
    /// IPv6 address, or IPv4 address mapped as `::ffff:a.b.c.d` (RFC 4291 section 2.5.5.2).
    pub address: [u8; 16],
    /// Port in network byte order; 0: every port.
    pub port: [u8; 2],
    /// IP protocol number: [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// Always 0, so that two equal keys have equal bytes.
    pub reserved: u8,
}

/// Value of SERVICES.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Service {
    /// Index in `SERVICE_STATS` and `SERVICE_LABELS`.
    pub id: u32,
    /// First slot of the service's range in SLOTS.
    pub first_slot: u32,
    /// Number of slots less one; the number is a power of two.
    pub slot_mask: u32,
    /// Largest TCP segment, in bytes of payload, that a connection's SYN may ask for (RFC 9293 section 3.7.1); 0: any.
    pub mss: u16,
    /// Bits of [`service_flags`].
    pub flags: u16,
    /// With [`service_flags::PER_CLIENT`]: how many backends take new connections. SLOTS names each of them once, in as
    /// many places right behind the service's table.
    pub ring: u32,
}

/// Bits of [`Service::flags`].
pub mod service_flags {
    /// The flow's hash is of the addresses alone: all connections of a client go to one backend, and so do fragments.
    pub const ADDRESSES_ONLY: u16 = 1 << 0;
    /// Each new connection takes the next slot of the table; all flows are remembered.
    pub const ROUND_ROBIN: u16 = 1 << 1;
    /// Each new connection goes to the less loaded of two slots' backends; all flows are remembered.
    pub const LEAST_CONNECTIONS: u16 = 1 << 2;
    /// With [`ROUND_ROBIN`]: each client walks the backends on its own.
    pub const PER_CLIENT: u16 = 1 << 3;
    /// Any of those that remember all flows.
    pub const TRACKS_ALL: u16 = ROUND_ROBIN | LEAST_CONNECTIONS;
}

/// A record of `SERVICE_LINES`, one cache line: a service as packets find it. `SERVICE_INDEX` names the line at the place of the
/// service's key. A line that it names is never written to.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceLine {
    /// Its record, as in SERVICES. First, because the verifier lets nobody reckon with a pointer that may be none.
    pub service: Service,
    /// Number of the line of another service with the same place; 0: there is none.
    pub next: u32,
    /// Its key.
    pub key: ServiceKey,
    /// Always 0.
    pub reserved: [u32; 5],
}

const _: () = assert!(size_of::<ServiceKey>() == 20);
const _: () = assert!(size_of::<Service>() == 20);
const _: () = assert!(size_of::<ServiceLine>() == 64);

/// Services that may have the same place. Of the most services, more at one place are less likely than 1 in 10^20.
pub const MAX_AT_PLACE: usize = 16;

/// A key of SERVICES in words, as they lie in memory.
pub type KeyWords = [u32; 5];

/// Binary logarithm of the places in `SERVICE_INDEX`: four for each of the most services, so that few share one.
const PLACE_BITS: u32 = 14;
/// Places in `SERVICE_INDEX`.
pub const PLACES: u32 = 1 << PLACE_BITS;
const _: () = assert!(PLACES == 4 * crate::limits::MAX_SERVICES);

/// Place of a key in `SERVICE_INDEX`: multiplicative hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4).
/// Without a secret: whom a client's packets do not reach, it finds nothing but an empty place, or another's key.
#[inline(always)]
#[must_use]
pub const fn place(words: KeyWords) -> u32 {
    // Odd, their bits as good as random: splitmix64's increment, and 2^64 / pi.
    const OF_ALL: u64 = 0x9e37_79b9_7f4a_7c15;
    const OF_PREFIX: u64 = 0x517c_c1b7_2722_0a95;
    let [a, b, c, d, last] = words;
    let prefix = (a as u64 | (b as u64) << 32).wrapping_mul(OF_PREFIX);
    let rest = c as u64 | (d as u64) << 32;
    ((prefix ^ rest ^ last as u64).wrapping_mul(OF_ALL) >> (u64::BITS - PLACE_BITS)) as u32
}

impl ServiceKey {
    /// The key of a service; `port` in host byte order.
    #[must_use]
    pub fn new(address: IpAddr, port: u16, protocol: u8) -> Self {
        Self { address: address_bytes(address), port: port.to_be_bytes(), protocol, reserved: 0 }
    }

    /// The service's virtual address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        address_from_bytes(self.address)
    }

    /// The service's port in host byte order; 0: every port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        u16::from_be_bytes(self.port)
    }
}

/// An address as it stands in a map: IPv4 mapped into IPv6.
#[must_use]
pub fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that 16 bytes of a map stand for.
#[must_use]
pub fn address_from_bytes(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(bytes.into()).to_canonical()
}
