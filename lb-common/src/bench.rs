//! What the bench tells its harness, the program that runs another one on packet after packet. No part of the balancer.

use bytemuck::{Pod, Zeroable};

/// Bytes at the head of a frame that the harness writes anew for each packet, in words of 8 bytes.
pub const TEMPLATE_WORDS: usize = 10;
/// The same in bytes; no frame is shorter.
pub const TEMPLATE: usize = TEMPLATE_WORDS * 8;

/// The one record of HARNESS.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Harness {
    /// The frame's head, as it lies on the wire, of flow 0.
    pub template: [u64; TEMPLATE_WORDS],
    /// State of the generator of flows; any number to start with.
    pub state: u64,
    /// Number of flows less one; the number is a power of two.
    pub flow_mask: u32,
    /// Index in PROGRAMS of the program to run.
    pub target: u32,
    /// Bytes of the frame.
    pub length: u32,
    /// Where the address starts, of which the flow changes the last four bytes.
    pub address_at: u32,
    /// Where the port starts that the flow changes.
    pub port_at: u32,
    /// Not 0: the program under test changes the frame's length, which is put right by a helper call for each packet, changed or
    /// not, so that the zero line pays for the same.
    pub restores: u32,
}

const _: () = assert!(size_of::<Harness>() == 112);

/// Low bits of a flow's number that choose its port; the others choose its address.
pub const PORT_BITS: u32 = 15;
/// The lowest port.
pub const FIRST_PORT: u16 = 1024;
/// Index in PROGRAMS of the program that returns `XDP_TX` and does nothing else.
pub const ZERO: u32 = 0;
/// Index in PROGRAMS of the program under test.
pub const TESTED: u32 = 1;

impl Harness {
    /// The next flow's number. The low bits of a linear congruential generator (Knuth's MMIX) run through all their values
    /// before one comes again; the shift mixes them, one to one.
    #[inline]
    pub const fn next_flow(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let flow = self.state as u32 & self.flow_mask;
        flow ^ flow >> 7
    }
}

/// A flow's port in network byte order.
#[inline]
#[must_use]
pub const fn port_of(flow: u32) -> [u8; 2] {
    (FIRST_PORT + (flow & ((1 << PORT_BITS) - 1)) as u16).to_be_bytes()
}

/// What a flow adds to the template's address, in host byte order.
#[inline]
#[must_use]
pub const fn address_of(flow: u32) -> u32 {
    flow >> PORT_BITS
}

#[cfg(test)]
mod tests {
    use super::Harness;
    use bytemuck::Zeroable as _;

    #[test]
    fn every_flow_comes_once_before_one_comes_again() {
        for bits in [0, 1, 5, 10, 13] {
            let number = 1_usize << bits;
            let mut harness = Harness { flow_mask: number as u32 - 1, state: 99, ..Harness::zeroed() };
            for _ in 0..2 {
                let mut seen = [false; 1 << 13];
                for _ in 0..number {
                    let flow = harness.next_flow() as usize;
                    assert!(flow < number && !seen[flow], "flow {flow} of {number}");
                    seen[flow] = true;
                }
            }
        }
    }
}
