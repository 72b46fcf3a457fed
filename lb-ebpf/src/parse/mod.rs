//! From a frame to the IP addresses and the start of the transport header: one file a layer.

pub mod eth;
pub mod icmp;
pub mod ipv4;
pub mod ipv6;
pub mod l4;

use crate::{cursor::Cursor, forward::Inner};

/// An IP packet; `E` holds the addresses of its version.
#[derive(Clone, Copy)]
pub struct Packet<'p, E> {
    /// Source and destination.
    pub ends: E,
    /// What an encapsulation needs of the IP header.
    pub inner: Inner,
    /// What the IP header carries.
    pub transport: Transport<'p>,
}

/// Where a packet's transport header starts, whole or not.
#[derive(Clone, Copy)]
pub struct Transport<'p> {
    /// IP protocol number: TCP, UDP or ICMP of the packet's IP version.
    pub protocol: u8,
    /// At the transport header's first byte.
    pub cursor: Cursor<'p>,
    /// Bytes from there to the packet's end, as the IP header tells.
    pub length: usize,
    /// Which part of a datagram it is.
    pub part: Part,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment, which has the ports, of this identification.
    First(u32),
    /// A later fragment of this identification.
    Later(u32),
}
