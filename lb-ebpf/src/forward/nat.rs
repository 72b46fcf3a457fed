//! nat: the destination becomes the backend, and on the way back the source becomes the service. What lies under
//! a checksum changes it by the difference (RFC 1624); what was wrong stays wrong, for the receiver to refuse.

use super::checksum::Change;
use crate::{
    cursor::{Header, Writer, load_be16, load_u16, load_u32, load_u32x4, store_u16, store_words},
    parse::{icmp::IcmpHeader, ipv4::ICMP, ipv6::ICMPV6, l4::TcpHeader},
};
use lb_common::service::{TCP, UDP};
use network_types::{
    ip::{Ipv4Hdr, Ipv6Hdr},
    udp::UdpHdr,
};

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// On the way back: the backend, which becomes the service.
    Source,
    /// On the way there: the service, which becomes the backend.
    Destination,
}

/// "Don't fragment" beside IPv4's fragment offset.
const DONT_FRAGMENT: u16 = 0x4000;
/// Words of an IPv4 header without options, and with the most of them.
const IPV4_WORDS: core::ops::Range<u8> = 5..15;

/// An IP header whose ends can be rewritten.
pub trait IpHeader: Header + 'static {
    /// Whether `ICMP` sums up a pseudo-header (RFC 4443 section 2.3).
    const PSEUDO_HEADER: bool;

    /// Time to live or hop limit.
    fn hops(&self) -> u8;

    /// Takes one hop off (RFC 1812 section 5.3.1, RFC 8200 section 3); there is at least one.
    fn spend_hop(&mut self);

    /// The destination, of which IPv4 has the last word.
    fn destination(&self) -> [u32; 4];

    /// Whether no router may fragment it.
    fn is_whole(&self) -> bool;

    /// Words of options behind the header.
    fn option_words(&self) -> u8;

    /// The header's own checksum; 0 where it has none.
    fn own_checksum(&self) -> u16;

    /// Puts an address, as it stands in a map, to one end. Gives what that changes for TCP and UDP, by way of their
    /// pseudo-header.
    fn readdress(&mut self, end: End, address: &[u8; 16]) -> Change;
}

impl IpHeader for Ipv4Hdr {
    const PSEUDO_HEADER: bool = false;

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    fn spend_hop(&mut self) {
        // TTL and protocol share a word.
        let word = |ttl| u16::from_ne_bytes([ttl, self.proto]).into();
        let ttl = self.ttl.wrapping_sub(1);
        let change = Change::NONE.and(word(self.ttl), word(ttl));
        self.ttl = ttl;
        update(&mut self.check, change);
    }

    #[inline(always)]
    fn destination(&self) -> [u32; 4] {
        [0, 0, 0, load_u32(&self.dst_addr)]
    }

    #[inline(always)]
    fn is_whole(&self) -> bool {
        load_be16(&self.frags) & DONT_FRAGMENT != 0
    }

    #[inline(always)]
    fn option_words(&self) -> u8 {
        (self.vihl & 0x0f).saturating_sub(IPV4_WORDS.start)
    }

    #[inline(always)]
    fn own_checksum(&self) -> u16 {
        load_u16(&self.check)
    }

    #[inline(always)]
    fn readdress(&mut self, end: End, address: &[u8; 16]) -> Change {
        let [.., new] = load_u32x4(address);
        let place = match end {
            End::Source => &mut self.src_addr,
            End::Destination => &mut self.dst_addr,
        };
        let change = Change::NONE.and(load_u32(place), new);
        store_words(place, [u32::from_be(new)]);
        update(&mut self.check, change);
        change
    }
}

impl IpHeader for Ipv6Hdr {
    const PSEUDO_HEADER: bool = true;

    #[inline(always)]
    fn hops(&self) -> u8 {
        self.hop_limit
    }

    #[inline(always)]
    fn spend_hop(&mut self) {
        self.hop_limit = self.hop_limit.wrapping_sub(1);
    }

    #[inline(always)]
    fn destination(&self) -> [u32; 4] {
        load_u32x4(&self.dst_addr)
    }

    #[inline(always)]
    fn is_whole(&self) -> bool {
        true
    }

    #[inline(always)]
    fn option_words(&self) -> u8 {
        0
    }

    #[inline(always)]
    fn own_checksum(&self) -> u16 {
        0
    }

    #[inline(always)]
    fn readdress(&mut self, end: End, address: &[u8; 16]) -> Change {
        let new = load_u32x4(address);
        let place = match end {
            End::Source => &mut self.src_addr,
            End::Destination => &mut self.dst_addr,
        };
        let old = load_u32x4(place);
        store_words(place, new.map(u32::from_be));
        Change::NONE.and(old[0], new[0]).and(old[1], new[1]).and(old[2], new[2]).and(old[3], new[3])
    }
}

/// Rewrites one end of a packet. `network` and `transport` are at the IP header and at what it carries: TCP, UDP, an ICMP
/// error, or with another `protocol` nothing that tells ports (the rest of a datagram). Port 0 keeps the packet's.
/// `None`: the frame is too short.
#[inline(always)]
#[must_use]
pub fn rewrite<T: IpHeader>(
    network: &mut Writer<'_>,
    transport: &mut Writer<'_>,
    protocol: u8,
    end: End,
    address: &[u8; 16],
    port: [u8; 2],
) -> Option<()> {
    let change = network.take::<T>()?.readdress(end, address);
    match protocol {
        TCP => {
            let header = transport.take::<TcpHeader>()?;
            let place = match end {
                End::Source => &mut header.source,
                End::Destination => &mut header.destination,
            };
            let change = change_port(place, port, change);
            update(&mut header.checksum, change);
        }
        UDP => {
            let header = transport.take::<UdpHdr>()?;
            let place = match end {
                End::Source => &mut header.src,
                End::Destination => &mut header.dst,
            };
            let change = change_port(place, port, change);
            update_udp(&mut header.check, change);
        }
        ICMP | ICMPV6 => {
            let change = if T::PSEUDO_HEADER { change } else { Change::NONE };
            return rewrite_error::<T>(transport, End::Source, address, port, change);
        }
        _ => {}
    }
    Some(())
}

/// Rewrites an ICMP error about a packet to a backend for the client that sent it to the service: `address` and `port` are
/// the service's. `network` is at the IP header, `message` at the ICMP header. An error `from_backend` comes from the service
/// then; one of a router on the way keeps its sender (RFC 5508 section 4.2). `None`: the frame is too short.
#[inline(always)]
#[must_use]
pub fn rewrite_error_back<T: IpHeader>(
    network: &mut Writer<'_>,
    message: &mut Writer<'_>,
    from_backend: bool,
    address: &[u8; 16],
    port: [u8; 2],
) -> Option<()> {
    let ip = network.take::<T>()?;
    let change = if from_backend { ip.readdress(End::Source, address) } else { Change::NONE };
    let change = if T::PSEUDO_HEADER { change } else { Change::NONE };
    rewrite_error::<T>(message, End::Destination, address, port, change)
}

/// Rewrites one end of the packet that an ICMP error quotes. An error to the service quotes a packet from the service: to
/// the backend, it quotes what the backend sent (RFC 5508 section 4.2). The quoted segment's own checksum is left alone:
/// nobody has the bytes to verify it.
#[inline(always)]
fn rewrite_error<T: IpHeader>(
    message: &mut Writer<'_>,
    end: End,
    address: &[u8; 16],
    port: [u8; 2],
    change: Change,
) -> Option<()> {
    let icmp = message.take::<IcmpHeader>()?;
    let quoted = message.take::<T>()?;
    let before = quoted.own_checksum();
    let change = change.plus(quoted.readdress(end, address));
    let change = change.and(before.into(), quoted.own_checksum().into());
    let options = quoted.option_words();
    for word in 0..IPV4_WORDS.end - IPV4_WORDS.start {
        if word < options {
            message.take::<[u8; 4]>()?;
        }
    }
    if matches!(end, End::Destination) {
        message.take::<[u8; 2]>()?;
    }
    let change = change_port(message.take::<[u8; 2]>()?, port, change);
    update(&mut icmp.checksum, change);
    Some(())
}

#[inline(always)]
fn change_port(place: &mut [u8; 2], port: [u8; 2], change: Change) -> Change {
    let port = u16::from_ne_bytes(port);
    if port == 0 {
        return change;
    }
    let old = load_u16(place);
    store_u16(place, port);
    change.and(old.into(), port.into())
}

#[inline(always)]
fn update(checksum: &mut [u8; 2], change: Change) {
    let new = change.over(load_u16(checksum));
    store_u16(checksum, new);
}

/// 0 is no checksum and stays none (RFC 768; over IPv6 RFC 6935); a computed 0 is sent as 0xffff.
#[inline(always)]
fn update_udp(checksum: &mut [u8; 2], change: Change) {
    let old = load_u16(checksum);
    if old == 0 {
        return;
    }
    let new = change.over(old);
    store_u16(checksum, if new == 0 { 0xffff } else { new });
}
