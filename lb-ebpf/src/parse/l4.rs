//! TCP (RFC 9293) and UDP (RFC 768).

use super::{Part, Transport};
use crate::cursor::Cursor;
use lb_common::{
    counters::DropReason,
    hash::ports_word,
    latency::Said,
    service::{TCP, UDP},
};
use network_types::udp::UdpHdr;

/// Source and destination port, which both protocols start with, in network byte order.
#[derive(Clone, Copy)]
pub struct Ports {
    /// Both ports as a word of the flow hash.
    pub word: u32,
    /// The destination port.
    pub destination: [u8; 2],
}

impl Ports {
    /// The ports at the cursor; `None` when the frame ends before them.
    #[inline(always)]
    #[must_use]
    pub fn at(cursor: &Cursor<'_>) -> Option<Self> {
        let ports = cursor.peek::<[u8; 4]>()?;
        let word = crate::cursor::load_u32(ports).to_ne_bytes();
        Some(Self { word: ports_word(word), destination: [word[2], word[3]] })
    }

    /// The ports of packets that go the other way.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        let word = self.word.rotate_left(16);
        let [_, _, high, low] = word.to_le_bytes();
        Self { word, destination: [high, low] }
    }

    /// The source port.
    #[inline(always)]
    #[must_use]
    pub const fn source(self) -> [u8; 2] {
        let [high, low, ..] = self.word.to_le_bytes();
        [high, low]
    }

    /// The ports of the packet that an answer answers, whose destination port was `service` unless that is 0.
    #[inline(always)]
    #[must_use]
    pub const fn answered_by(self, service: [u8; 2]) -> Self {
        let reversed = self.reversed();
        let [high, low] = service;
        if high == 0 && low == 0 {
            return reversed;
        }
        let [a, b, ..] = reversed.word.to_le_bytes();
        Self { word: u32::from_le_bytes([a, b, high, low]), destination: service }
    }
}

/// The TCP header without options. Of our own, because reading a flag through network-types' bitfield
/// costs a loop over bits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TcpHeader {
    pub(crate) source: [u8; 2],
    pub(crate) destination: [u8; 2],
    sequence: [u8; 4],
    acknowledgment: [u8; 4],
    offset: u8,
    flags: u8,
    window: [u8; 2],
    pub(crate) checksum: [u8; 2],
    urgent: [u8; 2],
}

impl TcpHeader {
    /// Bytes of the header with its options, as it tells.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> usize {
        (self.offset >> 4) as usize * 4
    }

    /// The checksum.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(&self) -> [u8; 2] {
        self.checksum
    }

    /// Replaces the checksum.
    #[inline(always)]
    pub const fn set_checksum(&mut self, checksum: [u8; 2]) {
        self.checksum = checksum;
    }
}

const _: () = assert!(size_of::<TcpHeader>() == 20 && align_of::<TcpHeader>() == 1);

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// What a packet says of its flow. As wide as a pointer, for the verifier's sake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Signal {
    /// It opens a connection: a SYN without ACK, or a QUIC Initial.
    Opens,
    /// It goes on.
    Goes,
    /// Its client closes it, or resets it.
    Closes,
    /// Nothing: the packet only tells of the flow, as an ICMP error does, or is a later fragment.
    Quoted,
}

impl Signal {
    /// The signal of a number's two lowest bits.
    #[inline(always)]
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number & 3 {
            0 => Self::Opens,
            1 => Self::Goes,
            2 => Self::Closes,
            _ => Self::Quoted,
        }
    }
}

/// Whether packets of this protocol are balanced at all.
#[inline(always)]
#[must_use]
pub const fn balanced(protocol: u8) -> bool {
    protocol == TCP || protocol == UDP
}

impl Transport<'_> {
    /// The ports; `None` when the packet or the frame ends before them. Behind a short packet comes Ethernet's padding,
    /// which names no service.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self) -> Option<Ports> {
        if self.length < size_of::<[u8; 4]>() {
            return None;
        }
        Ports::at(&self.cursor)
    }

    /// Whether the frame has all that the IP header tells of, `beyond` bytes of it in further buffers.
    #[inline(always)]
    #[must_use]
    pub const fn is_complete(&self, beyond: usize) -> bool {
        self.length <= self.cursor.remaining() + beyond
    }

    /// The same of a later fragment, of which nothing is read behind the IP header: one without data may have ended within its
    /// headers.
    #[inline(always)]
    #[must_use]
    pub fn has_rest(&self, beyond: usize) -> bool {
        let cut_short = beyond == 0 && self.cursor.peek::<[u8; 0]>().is_none();
        !cut_short && self.is_complete(beyond)
    }

    /// Checks lengths and header of a packet that is for a service; `beyond` as for [`Self::is_complete`].
    #[inline(always)]
    pub fn check(&self, beyond: usize) -> Result<Signal, DropReason> {
        if !self.is_complete(beyond) {
            return Err(DropReason::IpLength);
        }
        if self.protocol == TCP { self.check_tcp() } else { self.check_udp() }
    }

    #[inline(always)]
    fn check_tcp(&self) -> Result<Signal, DropReason> {
        let header = self.cursor.peek::<TcpHeader>().ok_or(DropReason::TcpHeader)?;
        let header_length = header.length();
        if header_length < size_of::<TcpHeader>() || header_length > self.length {
            return Err(DropReason::TcpHeader);
        }
        Ok(match header.flags {
            flags if flags & (SYN | ACK) == SYN => Signal::Opens,
            flags if flags & (FIN | RST) != 0 => Signal::Closes,
            _ => Signal::Goes,
        })
    }

    /// Whether it is a TCP segment with RST; its header was checked, and a later fragment has none.
    #[inline(always)]
    #[must_use]
    pub fn resets(&self) -> bool {
        let tcp = self.protocol == TCP && !matches!(self.part, Part::Later(_));
        tcp && self.cursor.peek::<TcpHeader>().is_some_and(|header| header.flags & RST != 0)
    }

    /// What a TCP segment says of its flow's requests and answers, as [`Said`] has it but for the backend. Its header was checked.
    #[inline(always)]
    #[must_use]
    pub fn said_by_tcp(&self) -> Option<u64> {
        let header = self.cursor.peek::<TcpHeader>()?;
        let data = self.length.saturating_sub(header.length()) as u32;
        let sequence = u32::from_be(crate::cursor::load_u32(&header.sequence));
        Some(Said::of_segment(header.flags, sequence, data).into_word())
    }

    #[inline(always)]
    fn check_udp(&self) -> Result<Signal, DropReason> {
        let header = self.cursor.peek::<UdpHdr>().ok_or(DropReason::UdpHeader)?;
        let length = usize::from(crate::cursor::load_be16(&header.len));
        // A first fragment is shorter than the datagram that its UDP header tells of, but has all of that header.
        if length < UdpHdr::LEN
            || self.length < UdpHdr::LEN
            || (length > self.length && self.part == Part::Whole)
        {
            return Err(DropReason::UdpHeader);
        }
        Ok(Signal::Goes)
    }

    /// Whether a UDP datagram is the first of a QUIC connection: an Initial packet of version 1 (RFC 9000 section 17.2.2) or 2
    /// (RFC 9369 section 3.2), which a client makes at least 1,200 bytes long (RFC 9000 section 14.1).
    #[inline(always)]
    #[must_use]
    pub fn is_quic_initial(&self) -> bool {
        const LEAST: usize = UdpHdr::LEN + 1200;
        const FORM_AND_TYPE: u8 = 0xf0;
        if self.length < LEAST {
            return false;
        }
        let Some(start) = self.cursor.peek::<[u8; UdpHdr::LEN + 5]>() else { return false };
        let [.., first, a, b, c, d] = *start;
        matches!(
            (first & FORM_AND_TYPE, [a, b, c, d]),
            (0xc0, [0, 0, 0, 1]) | (0xd0, [0x6b, 0x33, 0x43, 0xcf])
        )
    }
}
