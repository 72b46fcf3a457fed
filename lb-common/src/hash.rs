//! The keyed flow hash, the same in the program and in the daemon.
//!
//! Two steps. First NH, the universal hash of UMAC (Black, Halevi, Krawczyk, Krovetz and Rogaway, CRYPTO '99):
//! the sum of (m₀+k₀)(m₁+k₁) over pairs of 32-bit words. For two flows that differ, at most one key in 2³²
//! makes the sums equal, so a client who does not know the key cannot aim flows at one slot. NH alone spreads its low bits
//! badly, so a bijective mixer follows: the multiply-xorshift finaliser "Mix13" (Stafford 2011,
//! known from splitmix64). Both are a few multiplications, no table and no loop for the verifier.
//!
//! Words are read little-endian, which costs nothing on the machines that run XDP and gives every machine the same hash.

#![expect(
    clippy::inline_always,
    reason = "a call per packet, and in eBPF a stack frame, for a few instructions"
)]

/// Words hashed for an IPv4 flow: source, destination, ports, protocol.
pub const WORDS_V4: usize = 4;
/// Words hashed for an IPv6 flow: source and destination interleaved, then ports and protocol.
pub const WORDS_V6: usize = 10;

/// The key in the form that the hash uses: one word per message word.
pub type KeyWords = [u32; WORDS_V6];

/// Both ports of a flow in one word, from the first four bytes of a TCP or UDP header.
#[inline(always)]
#[must_use]
pub const fn ports_word(ports: [u8; 4]) -> u32 {
    u32::from_le_bytes(ports)
}

/// Message words of an IPv4 flow.
#[inline(always)]
#[must_use]
pub const fn words_v4(source: [u8; 4], destination: [u8; 4], ports: u32, protocol: u8) -> [u32; WORDS_V4] {
    [u32::from_le_bytes(source), u32::from_le_bytes(destination), ports, protocol as u32]
}

/// Message words of an IPv6 flow. Source and destination alternate, so that each product has a word of both.
#[inline(always)]
#[must_use]
pub fn words_v6(source: [u8; 16], destination: [u8; 16], ports: u32, protocol: u8) -> [u32; WORDS_V6] {
    let s: [u32; 4] = bytemuck::cast(source);
    let d: [u32; 4] = bytemuck::cast(destination);
    let le = u32::from_le;
    [
        le(s[0]),
        le(d[0]),
        le(s[1]),
        le(d[1]),
        le(s[2]),
        le(d[2]),
        le(s[3]),
        le(d[3]),
        ports,
        u32::from(protocol),
    ]
}

/// The flow's hash; the low bits choose the slot. `N` is even.
#[inline(always)]
#[must_use]
pub fn flow_hash<const N: usize>(words: [u32; N], key: [u32; N]) -> u64 {
    let mut sum = 0u64;
    let mut i = 0;
    while i < N {
        let left = u64::from(words[i].wrapping_add(key[i]));
        let right = u64::from(words[i + 1].wrapping_add(key[i + 1]));
        sum = sum.wrapping_add(left.wrapping_mul(right));
        i += 2;
    }
    mix(sum)
}

/// The key words of a secret of 16 bytes: counter mode over the mixer, as splitmix64 does.
#[must_use]
pub fn expand_key(secret: [u8; 16]) -> KeyWords {
    let [low, high]: [u64; 2] = bytemuck::cast(secret);
    let (low, high) = (u64::from_le(low), u64::from_le(high));
    let mut words = [0; WORDS_V6];
    for (i, word) in words.iter_mut().enumerate() {
        let counter = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        *word = (mix(mix(low.wrapping_add(counter)) ^ high) >> 32) as u32;
    }
    words
}

/// Mix13: every input bit reaches every output bit; distinct inputs stay distinct.
#[inline(always)]
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
