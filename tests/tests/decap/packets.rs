//! Packets built and checked by etherparse: nothing here uses our own parsing or arithmetic.

use std::net::IpAddr;

use etherparse::{
    EtherType, IpEcn, IpHeaders, IpNumber, Ipv4Extensions, Ipv4Header, Ipv6Extensions, Ipv6Header, NetSlice,
    PacketBuilder, SlicedPacket, TransportSlice, UdpHeader,
};

pub const BALANCER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const BACKEND_MAC: [u8; 6] = [2, 0, 0, 0, 0, 11];
/// Protocol numbers of ipip.
pub const IPIP: IpNumber = IpNumber::IPV4;
pub const IPIP6: IpNumber = IpNumber::IPV6;

/// What is within a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    TcpSyn,
    Udp,
}

/// A header without payload from one address to another of the same family.
pub fn header(source: IpAddr, destination: IpAddr, protocol: IpNumber, ecn: u8) -> IpHeaders {
    let ecn = IpEcn::try_new(ecn).unwrap();
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut ip = Ipv4Header::new(0, 61, protocol, source.octets(), destination.octets()).unwrap();
            (ip.ecn, ip.dont_fragment, ip.identification) = (ecn, true, 0x1234);
            ip.dscp = 46.try_into().unwrap();
            IpHeaders::Ipv4(ip, Ipv4Extensions::default())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut ip = Ipv6Header {
                traffic_class: 46 << 2,
                flow_label: 0xf_edcb.try_into().unwrap(),
                payload_length: 0,
                next_header: protocol,
                hop_limit: 61,
                source: source.octets(),
                destination: destination.octets(),
            };
            ip.set_ecn(ecn);
            IpHeaders::Ipv6(ip, Ipv6Extensions::default())
        }
        _ => panic!("addresses of two families"),
    }
}

/// A whole IP packet around bytes.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: IpNumber, ecn: u8, payload: &[u8]) -> Vec<u8> {
    let mut headers = header(source, destination, protocol, ecn);
    headers.set_payload_len(payload.len()).unwrap();
    // Not as a whole: extension headers are in the payload, where etherparse does not look for them.
    let mut packet = match headers {
        IpHeaders::Ipv4(mut ip, _) => {
            ip.header_checksum = ip.calc_header_checksum();
            ip.to_bytes().to_vec()
        }
        IpHeaders::Ipv6(ip, _) => ip.to_bytes().to_vec(),
    };
    packet.extend_from_slice(payload);
    packet
}

/// What a client sends to a VIP.
pub fn client_packet(client: IpAddr, vip: IpAddr, transport: Transport, ecn: u8, payload: &[u8]) -> Vec<u8> {
    let step = PacketBuilder::ip(header(client, vip, IpNumber::UDP, ecn));
    let mut packet = Vec::new();
    match transport {
        Transport::TcpSyn => step.tcp(40_000, 8583, 7, 64_240).syn().write(&mut packet, payload).unwrap(),
        Transport::Udp => step.udp(40_000, 8583).write(&mut packet, payload).unwrap(),
    }
    packet
}

/// UDP around an inner packet, with a checksum when `sum` names the outer addresses.
pub fn gue(port: u16, sum: Option<(IpAddr, IpAddr)>, inner: &[u8]) -> Vec<u8> {
    let length = u16::try_from(UdpHeader::LEN + inner.len()).unwrap();
    let mut udp = UdpHeader { source_port: 50_001, destination_port: port, length, checksum: 0 };
    udp.checksum = match sum {
        None => 0,
        Some((IpAddr::V4(from), IpAddr::V4(to))) => {
            udp.calc_checksum_ipv4_raw(from.octets(), to.octets(), inner).unwrap()
        }
        Some((IpAddr::V6(from), IpAddr::V6(to))) => {
            udp.calc_checksum_ipv6_raw(from.octets(), to.octets(), inner).unwrap()
        }
        Some(_) => panic!("addresses of two families"),
    };
    let mut bytes = udp.to_bytes().to_vec();
    bytes.extend_from_slice(inner);
    bytes
}

/// An Ethernet frame from the balancer to the backend; `tags` are VLAN `EtherType`s and identifiers.
pub fn frame(tags: &[(u16, u16)], packet: &[u8]) -> Vec<u8> {
    let mut bytes = [BACKEND_MAC, BALANCER_MAC].concat();
    for (ether_type, identifier) in tags {
        bytes.extend(ether_type.to_be_bytes());
        bytes.extend(identifier.to_be_bytes());
    }
    let ether_type = if packet[0] >> 4 == 6 { EtherType::IPV6 } else { EtherType::IPV4 };
    bytes.extend(ether_type.0.to_be_bytes());
    bytes.extend_from_slice(packet);
    bytes
}

/// Fails unless the frame holds a TCP or UDP packet whose every checksum and length is right.
pub fn verify(frame: &[u8]) {
    let packet = SlicedPacket::from_ethernet(frame).unwrap();
    let transport = packet.transport.as_ref().expect("a transport header");
    match packet.net.as_ref().expect("an IP header") {
        NetSlice::Ipv4(ip) => {
            let ip = ip.header().to_header();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum(), "the header checksum");
            let (from, to) = (ip.source, ip.destination);
            let (found, right) = match transport {
                TransportSlice::Udp(udp) => {
                    let right = udp.to_header().calc_checksum_ipv4_raw(from, to, udp.payload()).unwrap();
                    (udp.checksum(), right)
                }
                TransportSlice::Tcp(tcp) => {
                    let right = tcp.to_header().calc_checksum_ipv4_raw(from, to, tcp.payload()).unwrap();
                    (tcp.checksum(), right)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(found, right, "the transport checksum");
        }
        NetSlice::Ipv6(ip) => {
            let (from, to) = (ip.header().source(), ip.header().destination());
            let (found, right) = match transport {
                TransportSlice::Udp(udp) => {
                    let right = udp.to_header().calc_checksum_ipv6_raw(from, to, udp.payload()).unwrap();
                    (udp.checksum(), right)
                }
                TransportSlice::Tcp(tcp) => {
                    let right = tcp.to_header().calc_checksum_ipv6_raw(from, to, tcp.payload()).unwrap();
                    (tcp.checksum(), right)
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(found, right, "the transport checksum");
        }
        NetSlice::Arp(_) => panic!("ARP"),
    }
}
