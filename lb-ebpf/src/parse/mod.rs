//! From a frame to the IP addresses and the start of the transport header: one file a layer.

pub mod eth;
pub mod ipv4;
pub mod ipv6;
pub mod l4;

use crate::cursor::Cursor;

/// Where a packet's transport header starts, whole or not.
#[derive(Clone, Copy)]
pub struct Transport<'p> {
    /// IP protocol number: TCP or UDP.
    pub protocol: u8,
    /// At the transport header's first byte.
    pub cursor: Cursor<'p>,
    /// Bytes from there to the packet's end, as the IP header tells.
    pub length: usize,
}
