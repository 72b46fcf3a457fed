//! Numbers in network byte order by their offset; `None` behind the frame's end.

pub fn byte(frame: &[u8], at: usize) -> Option<u8> {
    frame.get(at).copied()
}

pub fn number(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([byte(frame, at)?, byte(frame, at + 1)?]))
}

pub fn bytes<const N: usize>(frame: &[u8], at: usize) -> Option<[u8; N]> {
    frame.get(at..at + N)?.try_into().ok()
}
