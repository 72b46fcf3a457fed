//! From a flow to its slot.

use crate::parse::l4::Signal;
use lb_common::{
    hash::flow_hash,
    nat::ReturnKey,
    service::{Service, ServiceKey},
};

/// Source and destination of a packet, the same for both versions of IP.
pub trait Ends: Copy {
    /// The same for packets that go the other way.
    #[must_use]
    fn reversed(self) -> Self;
    /// Those of the packet that an answer answers, whose destination was `address`, of the same version.
    #[must_use]
    fn answered_by(self, address: &[u8; 16]) -> Self;
    /// The destination as the address of a service.
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey;
    /// The source as an address of the maps.
    fn source(&self) -> [u8; 16];
    /// The source as that of a backend's answer.
    fn return_key(&self, port: [u8; 2], protocol: u8) -> ReturnKey;
    /// The flow's keyed hash; `ports` as made by [`lb_common::hash::ports_word`], `key` gives the key's words
    /// one by one, so that IPv4 loads no more of them than it uses.
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64;
    /// Whether no packet can come from this source (RFC 1122 section 3.2.1.3, RFC 4291 section 2.7): loopback, unspecified,
    /// multicast, broadcast, or the destination itself.
    fn is_martian(&self) -> bool;
}

/// Addresses of an IPv4 packet, as they lie on the wire.
#[derive(Clone, Copy)]
pub struct Ends4 {
    /// The sender.
    pub source: u32,
    /// The receiver.
    pub destination: u32,
}

/// Addresses of an IPv6 packet, as they lie on the wire.
#[derive(Clone, Copy)]
pub struct Ends6 {
    /// The sender.
    pub source: [u32; 4],
    /// The receiver.
    pub destination: [u32; 4],
}

/// The third word of an IPv4 address mapped into IPv6, as it lies in memory.
const MAPPED_PREFIX: u32 = 0xffff_u32.to_be();

/// An IPv4 address mapped into IPv6. In words: from bytes, LLVM makes the ten leading zeros a call of its memset.
#[inline(always)]
fn mapped(address: u32) -> [u8; 16] {
    bytemuck::cast([0, 0, MAPPED_PREFIX, address])
}

impl Ends for Ends4 {
    #[inline(always)]
    fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    #[inline(always)]
    fn answered_by(self, address: &[u8; 16]) -> Self {
        let [_, _, _, last]: [u32; 4] = bytemuck::cast(*address);
        Self { source: self.destination, destination: last }
    }

    #[inline(always)]
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey {
        let last = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        bytemuck::cast([0, 0, MAPPED_PREFIX, self.destination, last])
    }

    #[inline(always)]
    fn source(&self) -> [u8; 16] {
        mapped(self.source)
    }

    #[inline(always)]
    fn return_key(&self, port: [u8; 2], protocol: u8) -> ReturnKey {
        let last = u32::from_ne_bytes([port[0], port[1], protocol, 0]);
        bytemuck::cast([0, 0, MAPPED_PREFIX, self.source, last])
    }

    #[inline(always)]
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64 {
        let words = [u32::from_le(self.source), u32::from_le(self.destination), ports, u32::from(protocol)];
        flow_hash(words, [key(0), key(1), key(2), key(3)])
    }

    #[inline(always)]
    fn is_martian(&self) -> bool {
        let [first, ..] = self.source.to_ne_bytes();
        first == 0 || first == 127 || first >= 224 || self.source == self.destination
    }
}

impl Ends for Ends6 {
    #[inline(always)]
    fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }

    #[inline(always)]
    fn answered_by(self, address: &[u8; 16]) -> Self {
        Self { source: self.destination, destination: bytemuck::cast(*address) }
    }

    #[inline(always)]
    fn service_key(&self, port: [u8; 2], protocol: u8) -> ServiceKey {
        ServiceKey { address: bytemuck::cast(self.destination), port, protocol, reserved: 0 }
    }

    #[inline(always)]
    fn source(&self) -> [u8; 16] {
        bytemuck::cast(self.source)
    }

    #[inline(always)]
    fn return_key(&self, port: [u8; 2], protocol: u8) -> ReturnKey {
        ReturnKey { address: self.source(), port, protocol, reserved: 0 }
    }

    #[inline(always)]
    fn flow_hash(&self, ports: u32, protocol: u8, key: impl Fn(usize) -> u32) -> u64 {
        let s = self.source.map(u32::from_le);
        let d = self.destination.map(u32::from_le);
        let words = [s[0], d[0], s[1], d[1], s[2], d[2], s[3], d[3], ports, u32::from(protocol)];
        let key = [key(0), key(1), key(2), key(3), key(4), key(5), key(6), key(7), key(8), key(9)];
        flow_hash(words, key)
    }

    #[inline(always)]
    fn is_martian(&self) -> bool {
        let [a, b, c, d] = self.source;
        let multicast = a.to_ne_bytes()[0] == 0xff;
        // ::, ::1, and what is left of the IPv4-compatible addresses: nobody sends from there.
        let low = a | b | c == 0 && u32::from_be(d) <= 1;
        multicast || low || self.source == self.destination
    }
}

/// Index in SLOTS of the flow's slot.
#[inline(always)]
#[must_use]
pub const fn slot_index(service: &Service, hash: u64) -> u32 {
    slot_of(service.first_slot, service.slot_mask, hash)
}

/// The same in a table from `first_slot` on.
#[inline(always)]
#[must_use]
pub const fn slot_of(first_slot: u32, slot_mask: u32, hash: u64) -> u32 {
    first_slot.wrapping_add(hash as u32 & slot_mask)
}

/// A packet whose slot does not decide alone, in as many words as a function of BPF takes arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question([u64; 5]);

/// Where each field starts in the last word, with as many bits as its largest value needs.
mod bits {
    use lb_common::limits::{MAX_BACKENDS, MAX_SERVICES, MAX_SLOTS};

    pub const SERVICE: u32 = 20;
    pub const FLAGS: u32 = 32;
    pub const RING: u32 = 40;
    pub const SIGNAL: u32 = 56;
    pub const UDP: u32 = 58;
    const _: () = assert!(MAX_SLOTS == 1 << SERVICE && MAX_SERVICES == 1 << (FLAGS - SERVICE));
    const _: () = assert!(MAX_BACKENDS < 1 << (SIGNAL - RING));
}

impl Question {
    /// The question of a flow from `ends`, of which a packet says `signal`; `ports` as made by
    /// [`lb_common::hash::ports_word`].
    #[inline(always)]
    #[must_use]
    pub fn new(
        ends: &impl Ends,
        service: &Service,
        ports: u32,
        hash: u64,
        signal: Signal,
        udp: bool,
    ) -> Self {
        let [high, low]: [u64; 2] = bytemuck::cast(ends.source());
        let place = u64::from(ports) << 32 | u64::from(service.first_slot);
        let rest = u64::from(service.slot_mask)
            | u64::from(service.id) << bits::SERVICE
            | u64::from(service.flags) << bits::FLAGS
            | u64::from(service.ring) << bits::RING
            | (signal as u64) << bits::SIGNAL
            | u64::from(udp) << bits::UDP;
        Self([high, low, place, hash, rest])
    }

    /// Its words.
    #[inline(always)]
    #[must_use]
    pub const fn into_words(self) -> [u64; 5] {
        self.0
    }

    /// The question of these words.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(words: [u64; 5]) -> Self {
        Self(words)
    }

    /// The client's address, IPv4 mapped into IPv6.
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> [u8; 16] {
        bytemuck::cast([self.0[0], self.0[1]])
    }

    /// Whether the client's address is of IPv4.
    #[inline(always)]
    #[must_use]
    pub fn is_v4(&self) -> bool {
        let [prefix, _]: [u32; 2] = bytemuck::cast(self.0[1]);
        self.0[0] == 0 && prefix == MAPPED_PREFIX
    }

    /// Both ports, as made by [`lb_common::hash::ports_word`].
    #[inline(always)]
    #[must_use]
    pub const fn ports(&self) -> u32 {
        (self.0[2] >> 32) as u32
    }

    /// First slot of the service's table.
    #[inline(always)]
    #[must_use]
    pub const fn first_slot(&self) -> u32 {
        self.0[2] as u32
    }

    /// The flow's hash.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.0[3]
    }

    /// Slots of the service's table less one.
    #[inline(always)]
    #[must_use]
    pub const fn slot_mask(&self) -> u32 {
        self.0[4] as u32 & ((1 << bits::SERVICE) - 1)
    }

    /// Identifier of the service.
    #[inline(always)]
    #[must_use]
    pub const fn service(&self) -> u32 {
        self.0[4] as u32 >> bits::SERVICE
    }

    /// Bits of [`lb_common::service::service_flags`].
    #[inline(always)]
    #[must_use]
    pub const fn flags(&self) -> u16 {
        (self.0[4] >> bits::FLAGS) as u16 & ((1 << (bits::RING - bits::FLAGS)) - 1)
    }

    /// Backends in the service's ring.
    #[inline(always)]
    #[must_use]
    pub const fn ring(&self) -> u32 {
        (self.0[4] >> bits::RING) as u32 & ((1 << (bits::SIGNAL - bits::RING)) - 1)
    }

    /// What the packet says of the flow.
    #[inline(always)]
    #[must_use]
    pub const fn signal(&self) -> Signal {
        Signal::from_number(self.0[4] >> bits::SIGNAL)
    }

    /// Whether the flow is of UDP, which says nothing of its beginning.
    #[inline(always)]
    #[must_use]
    pub const fn is_udp(&self) -> bool {
        self.0[4] >> bits::UDP & 1 != 0
    }

    /// Index in SLOTS of the flow's slot.
    #[inline(always)]
    #[must_use]
    pub const fn slot_index(&self) -> u32 {
        slot_of(self.first_slot(), self.slot_mask(), self.hash())
    }
}

#[cfg(test)]
mod tests {
    use super::{Ends4, Ends6, Question};
    use crate::parse::l4::Signal;
    use lb_common::service::Service;

    const SERVICE: Service =
        Service { id: 4095, first_slot: 0x8765_4321, slot_mask: 0xf_ffff, mss: 9, flags: 0xb, ring: 65_535 };

    #[test]
    fn a_question_keeps_what_it_is_made_of() {
        let ends = Ends4 { source: u32::from_ne_bytes([198, 18, 0, 1]), destination: 0 };
        let question =
            Question::new(&ends, &SERVICE, 0xfedc_ba98, 0x0123_4567_89ab_cdef, Signal::Quoted, true);
        let question = Question::from_words(question.into_words());
        assert!(question.is_v4() && question.source().ends_with(&[0xff, 0xff, 198, 18, 0, 1]));
        assert_eq!((question.ports(), question.hash()), (0xfedc_ba98, 0x0123_4567_89ab_cdef));
        assert_eq!((question.first_slot(), question.slot_mask()), (SERVICE.first_slot, SERVICE.slot_mask));
        assert_eq!((question.service(), question.flags(), question.ring()), (4095, 0xb, 65_535));
        assert_eq!((question.signal(), question.is_udp()), (Signal::Quoted, true));
        assert_eq!(question.slot_index(), 0x8765_4321 + 0xb_cdef);
    }

    #[test]
    fn each_signal_and_family_is_told_from_the_others() {
        for signal in [Signal::Opens, Signal::Goes, Signal::Closes, Signal::Quoted] {
            let ends = Ends6 { source: [1, 2, 3, 4], destination: [0; 4] };
            let question = Question::new(&ends, &SERVICE, 1, 2, signal, false);
            assert_eq!((question.signal(), question.is_udp(), question.is_v4()), (signal, false, false));
            assert_eq!(question.source(), bytemuck::cast::<_, [u8; 16]>([1u32, 2, 3, 4]));
        }
    }
}
