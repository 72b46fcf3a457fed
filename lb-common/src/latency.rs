//! Latency of nat's backends, seen on the wire: of some flows the program remembers when a request ended, and counts how
//! long its answer took. docs/latency-control.md tells what is measured and what is not.

use crate::slot::BackendIndex;
use bytemuck::{Pod, Zeroable};

/// Buckets of [`LatencyStats`]. Bucket 0 is below [`bucket_start`]`(1)`, the last has no end.
pub const BUCKETS: usize = 32;

/// Binary logarithm of the nanoseconds at which bucket 1 starts: about a microsecond.
const UNIT_SHIFT: u32 = 10;

/// A per-CPU record of LATENCY, one for each backend. Everything counts up and wraps around.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct LatencyStats {
    /// Sum of the times of [`Self::buckets`], in nanoseconds.
    pub total_ns: u64,
    /// Sum of the times from SYN to SYN-ACK, in nanoseconds.
    pub connect_ns: u64,
    /// SYNs that were answered by SYN-ACK.
    pub connects: u32,
    /// SYNs and requests that were answered by RST, and requests by FIN.
    pub errors: u32,
    /// Requests by the time from their last byte to the first of the answer: bucket n above 0 is of 2^(n+9) to 2^(n+10) ns.
    pub buckets: [u32; BUCKETS],
}

/// What a sampled flow waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Awaits {
    /// Nothing: all that was asked is answered.
    Nothing = 0,
    /// The answer to a SYN.
    SynAck = 1,
    /// The answer to a request.
    Answer = 2,
}

/// Value of SAMPLES, whose key is a [`sample_key`]: the hash's secret makes it as good as the flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct SampledFlow {
    /// When the last byte came of what waits for an answer, in nanoseconds of `CLOCK_MONOTONIC`.
    pub asked: u64,
    /// When its first byte came.
    pub since: u64,
    /// TCP: the sequence number behind the last byte of the client that was seen.
    pub sequence: u32,
    /// The backend that was asked.
    pub backend: BackendIndex,
    /// An [`Awaits`].
    pub awaits: u16,
}

const _: () = assert!(size_of::<LatencyStats>() == 152);
const _: () = assert!(size_of::<SampledFlow>() == 24);
const _: () = assert!(size_of::<Sampling>() == 8);

/// The bucket of a time.
#[inline(always)]
#[must_use]
pub const fn bucket(nanoseconds: u64) -> usize {
    let units = nanoseconds >> UNIT_SHIFT;
    let bits = u64::BITS - units.leading_zeros();
    if bits as usize >= BUCKETS { BUCKETS - 1 } else { bits as usize }
}

/// Where a bucket starts, in nanoseconds.
#[must_use]
pub const fn bucket_start(bucket: usize) -> u64 {
    if bucket == 0 { 0 } else { 1 << (UNIT_SHIFT as usize + bucket - 1) }
}

/// A word of SAMPLING, one for each service: which of its flows are sampled.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Sampling {
    /// 0: none; n: one of 2^(n-1), at most [`Self::MAX`].
    pub rate: u32,
    /// Not 0: the service hashes on addresses alone, and with a client's flow all of its flows are sampled.
    pub addresses_only: u32,
}

impl Sampling {
    /// Largest rate: one flow of 65,536.
    pub const MAX: u32 = 17;
    /// No flow at all.
    pub const NONE: Self = Self { rate: 0, addresses_only: 0 };

    /// One flow of `one_of`, which is a power of two.
    #[must_use]
    pub const fn one_of(one_of: u32, addresses_only: bool) -> Self {
        Self { rate: one_of.trailing_zeros() + 1, addresses_only: addresses_only as u32 }
    }

    /// Whether the flow of this hash is one of them. The bits are others than those that choose its slot.
    #[inline(always)]
    #[must_use]
    pub const fn takes(self, hash: u64) -> bool {
        let mask = (1u64 << (self.rate.wrapping_sub(1) & 31)) - 1;
        self.rate != 0 && (hash >> 44) & mask == 0
    }
}

/// Key of SAMPLES: of a flow's hash, which may be of the addresses alone, and its client's port as it lies on the wire.
#[inline(always)]
#[must_use]
pub const fn sample_key(hash: u64, client_port: [u8; 2]) -> u64 {
    hash ^ (u16::from_be_bytes(client_port) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What a packet of a sampled flow says, in one word as the program passes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said(u64);

impl Said {
    /// It comes from the backend.
    pub const FROM_BACKEND: u64 = 1 << 16;
    /// It carries data.
    pub const DATA: u64 = 1 << 17;
    /// It has sequence numbers: it is of TCP.
    pub const ORDERED: u64 = 1 << 18;
    /// FIN is set.
    pub const FIN: u64 = 1 << Self::TCP_FLAGS;
    /// SYN is set.
    pub const SYN: u64 = 1 << (Self::TCP_FLAGS + 1);
    /// RST is set.
    pub const RST: u64 = 1 << (Self::TCP_FLAGS + 2);
    /// Where the lowest flags of the TCP header lie, in its order (RFC 9293 section 3.1).
    const TCP_FLAGS: u32 = 20;

    /// Flags, the backend, and the sequence number behind the packet's last byte.
    #[inline(always)]
    #[must_use]
    pub const fn new(flags: u64, backend: BackendIndex, sequence: u32) -> Self {
        Self(flags | backend as u64 | (sequence as u64) << 32)
    }

    /// Of a TCP segment with these flags and so many bytes of data from `sequence` on.
    #[inline(always)]
    #[must_use]
    pub const fn of_segment(flags: u8, sequence: u32, data: u32) -> Self {
        let flags = (flags as u64 & 0b111) << Self::TCP_FLAGS;
        let data_flag = if data > 0 { Self::DATA } else { 0 };
        Self::new(flags | data_flag | Self::ORDERED, 0, sequence.wrapping_add(data))
    }

    /// As a word.
    #[inline(always)]
    #[must_use]
    pub const fn into_word(self) -> u64 {
        self.0
    }

    /// Of a word.
    #[inline(always)]
    #[must_use]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Whether one of these flags is set.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, flags: u64) -> bool {
        self.0 & flags != 0
    }

    /// The backend.
    #[inline(always)]
    #[must_use]
    pub const fn backend(self) -> BackendIndex {
        self.0 as BackendIndex
    }

    /// The sequence number behind the packet's last byte.
    #[inline(always)]
    #[must_use]
    pub const fn sequence(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Whether a sequence number lies behind another (RFC 9293 section 3.4).
#[inline(always)]
#[must_use]
pub const fn is_behind(sequence: u32, other: u32) -> bool {
    sequence.wrapping_sub(other).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Said, Sampling, bucket, bucket_start, is_behind};

    #[test]
    fn every_bucket_starts_where_it_says() {
        for index in 1..BUCKETS {
            assert_eq!(bucket(bucket_start(index)), index);
            assert_eq!(bucket(bucket_start(index) - 1), index - 1);
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn one_of_n_flows_is_sampled() {
        for one_of in [1, 2, 32, 65_536] {
            let sampling = Sampling::one_of(one_of, false);
            assert!(sampling.rate <= Sampling::MAX);
            let taken = (0..1u64 << 20).filter(|hash| sampling.takes(hash << 44)).count();
            assert_eq!(taken as u32, (1 << 20) / one_of);
        }
        assert!(!Sampling::default().takes(0));
    }

    #[test]
    fn a_word_keeps_what_a_packet_says() {
        let said = Said::new(Said::DATA | Said::FIN, 0xfedc, 0x8765_4321);
        let said = Said::from_word(said.into_word());
        assert_eq!((said.backend(), said.sequence()), (0xfedc, 0x8765_4321));
        assert!(said.has(Said::DATA) && said.has(Said::FIN) && !said.has(Said::RST | Said::FROM_BACKEND));
    }

    #[test]
    fn sequence_numbers_wrap() {
        assert!(is_behind(5, u32::MAX - 5) && !is_behind(u32::MAX - 5, 5) && !is_behind(7, 7));
    }
}
