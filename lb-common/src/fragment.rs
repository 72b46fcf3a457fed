//! What first fragments teach: the ports that later fragments of the same datagram do not tell.

use bytemuck::{Pod, Zeroable};

/// Key of FRAGMENTS (RFC 791 section 3.2, RFC 8200 section 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct FragmentKey {
    /// The sender, IPv4 mapped into IPv6.
    pub source: [u8; 16],
    /// The receiver, IPv4 mapped into IPv6.
    pub destination: [u8; 16],
    /// The datagram's identification.
    pub identification: u32,
    /// IP protocol number.
    pub protocol: u32,
}

/// Value of FRAGMENTS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Fragment {
    /// Both ports, as [`crate::hash::ports_word`] makes them.
    pub ports: u32,
    /// When the first fragment came, in seconds of the boot clock.
    pub seen: u32,
}

const _: () = assert!(size_of::<FragmentKey>() == 40);
const _: () = assert!(size_of::<Fragment>() == 8);

/// Seconds for which a first fragment is remembered: what Linux gives a datagram to be reassembled
/// (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_SECONDS: u32 = 30;
