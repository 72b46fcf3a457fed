//! nat's way back: a packet that a backend sends from its service's port is an answer of the service.
//!
//! No flow is remembered. Address, port and protocol of the backend name the service, which is why the
//! configuration lets no two services share them.

use crate::{service::address_bytes, slot::BackendIndex};
use bytemuck::{Pod, Zeroable};
use core::net::IpAddr;

/// Key of `NAT_RETURN`: the source of an answer. Port 0 stands for every port of the address.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Pod, Zeroable)]
pub struct ReturnKey {
    /// The backend's address, IPv4 mapped into IPv6.
    pub address: [u8; 16],
    /// The backend's port in network byte order; 0: every port.
    pub port: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// Always 0, so that two equal keys have equal bytes.
    pub reserved: u8,
}

/// Value of `NAT_RETURN`: what becomes the source, and whose counters tell of it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ReturnEnd {
    /// The service's virtual address, IPv4 mapped into IPv6.
    pub address: [u8; 16],
    /// Identifier of the service.
    pub service: u32,
    /// The service's port in network byte order; 0: the packet's own stays.
    pub port: [u8; 2],
    /// Index of the backend.
    pub backend: BackendIndex,
}

const _: () = assert!(size_of::<ReturnKey>() == 20);
const _: () = assert!(size_of::<ReturnEnd>() == 24);

impl ReturnKey {
    /// The key of a backend's answers; `port` in host byte order.
    #[must_use]
    pub fn new(address: IpAddr, port: u16, protocol: u8) -> Self {
        Self { address: address_bytes(address), port: port.to_be_bytes(), protocol, reserved: 0 }
    }
}
