//! l2-dsr: nothing above the link layer changes.

use crate::model::link::Link;

/// The type of what is above, and its bytes to the frame's end.
#[must_use]
pub fn above(frame: &[u8], link: &Link) -> (u16, Vec<u8>) {
    (if link.ipv6 { 0x86dd } else { 0x0800 }, frame[link.end..].to_vec())
}
