//! Clamping the maximum segment size that a TCP SYN asks for (RFC 9293 sections 3.1 and 3.7.1), so that the answers fit where
//! path MTU discovery does not work.

#![expect(unsafe_code, reason = "the option is written through a cursor at its place")]

use super::checksum::replace;
use crate::{
    cursor::Cursor,
    parse::{Transport, l4::TcpHeader},
};

/// End of the options.
const END: u8 = 0;
/// Padding of one byte.
const NO_OPERATION: u8 = 1;
/// The option, of 4 bytes.
const MAXIMUM_SEGMENT_SIZE: u8 = 2;
/// Options that are looked at: senders put this one first.
const MAX_OPTIONS: usize = 8;

/// Lowers the segment size that a SYN asks for to `most`; one that asks for less, or for nothing, stays as it is.
#[inline(always)]
pub fn clamp(transport: &Transport<'_>, most: u16) {
    let _ = find(transport).and_then(|(cursor, odd)| lower(transport, &cursor, odd, most));
}

/// Where the option is, and whether at an odd distance from the TCP header's start.
#[inline(always)]
fn find<'p>(transport: &Transport<'p>) -> Option<(Cursor<'p>, bool)> {
    let start = transport.cursor.offset();
    let end = start + transport.cursor.peek::<TcpHeader>()?.length();
    let mut cursor = transport.cursor;
    cursor.skip(size_of::<TcpHeader>())?;
    for _ in 0..MAX_OPTIONS {
        if cursor.offset() + 4 > end {
            return None;
        }
        let [kind, length] = *cursor.peek::<[u8; 2]>()?;
        match kind {
            END => return None,
            NO_OPERATION => cursor.skip(1)?,
            MAXIMUM_SEGMENT_SIZE if length == 4 => return Some((cursor, (cursor.offset() ^ start) & 1 != 0)),
            _ if length < 2 => return None,
            _ => cursor.skip(usize::from(length))?,
        }
    }
    None
}

#[inline(always)]
fn lower(transport: &Transport<'_>, cursor: &Cursor<'_>, odd: bool, most: u16) -> Option<()> {
    // SAFETY: no reference into the packet is alive.
    let option = unsafe { cursor.writer() }.take::<[u8; 4]>()?;
    let before = [option[2], option[3]];
    if u16::from_be_bytes(before) <= most {
        return None;
    }
    let after = most.to_be_bytes();
    option[2] = after[0];
    option[3] = after[1];
    // At an odd distance the two bytes belong to two words of the sum, each in the other's place (RFC 1071 section 2 B).
    let swapped = |[high, low]: [u8; 2]| if odd { [low, high] } else { [high, low] };
    // SAFETY: the option's reference is not used any more.
    let header = unsafe { transport.cursor.writer() }.take::<TcpHeader>()?;
    header.set_checksum(replace(header.checksum(), swapped(before), swapped(after)));
    Some(())
}
