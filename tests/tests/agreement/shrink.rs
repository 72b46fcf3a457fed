//! Makes a packet that program and model disagree on smaller, as long as they still do.

use lb_tests::{
    fixture::frame::Frame,
    model::{ip, link},
};

use super::generate::Input;

/// Rounds; each makes the packet smaller by one step.
const ROUNDS: usize = 200;

/// The smallest packet found on which `disagree` still holds.
pub fn shrink(mut input: Input, disagree: impl Fn(&Input) -> bool) -> Input {
    for _ in 0..ROUNDS {
        let Some(smaller) = candidates(&input).into_iter().find(&disagree) else { break };
        input = smaller;
    }
    input
}

/// Packets with a little less in them, the boldest first.
fn candidates(input: &Input) -> Vec<Input> {
    let bytes = &input.frame.0;
    let mut all = Vec::new();
    if input.metadata > 0 {
        all.push(Input { metadata: 0, ..input.clone() });
    }
    let mut frames = vec![without_tag(bytes), without_payload(bytes), without_padding(bytes)];
    let length = bytes.len();
    frames.extend([length / 2, length * 7 / 8, length - 1].map(|cut| Some(bytes[..cut].to_vec())));
    // Zeros say what does not matter.
    frames.extend((0..length.min(160)).filter(|&at| bytes[at] != 0).map(|at| {
        let mut zeroed = bytes.clone();
        zeroed[at] = 0;
        Some(zeroed)
    }));
    let frames = frames.into_iter().flatten().filter(|frame| frame.len() >= 14 && frame != bytes);
    all.extend(frames.map(|frame| Input { frame: Frame(frame), metadata: input.metadata }));
    all
}

fn without_tag(bytes: &[u8]) -> Option<Vec<u8>> {
    let tagged = matches!(bytes.get(12..14)?, [0x81, 0x00] | [0x88, 0xa8]) && bytes.len() >= 18;
    tagged.then(|| [&bytes[..12], &bytes[16..]].concat())
}

/// With nothing behind the TCP or UDP header, and lengths that say so.
fn without_payload(bytes: &[u8]) -> Option<Vec<u8>> {
    let link = link::read(bytes).ok()?;
    let packet = ip::read(bytes, link.end).ok()?;
    let tcp = packet.protocol == 6;
    let end = packet.transport + if tcp { 20 } else { 8 };
    let mut bytes = bytes.get(..end)?.to_vec();
    let (at, from) = if link.ipv6 { (4, link.end + 40) } else { (2, link.end) };
    bytes[link.end + at..][..2].copy_from_slice(&((end - from) as u16).to_be_bytes());
    if tcp {
        bytes[packet.transport + 12] = 0x50;
    } else {
        bytes[packet.transport + 4..][..2].copy_from_slice(&[0, 8]);
    }
    Some(bytes)
}

fn without_padding(bytes: &[u8]) -> Option<Vec<u8>> {
    let link = link::read(bytes).ok()?;
    let packet = ip::read(bytes, link.end).ok()?;
    bytes.get(..packet.end).map(<[u8]>::to_vec)
}
