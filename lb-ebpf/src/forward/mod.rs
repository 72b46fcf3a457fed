//! How a packet reaches its backend: one file a forwarding mode, and what they share.

pub mod checksum;
pub mod echo;
pub mod gue;
pub mod ipip;
pub mod l2_dsr;
pub mod link;
pub mod mss;
pub mod nat;
pub mod outer;
pub mod too_big;

/// What a tunnel's outer header tells of the packet inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inner {
    /// Whether it is IPv6.
    pub ipv6: bool,
    /// Bytes of the packet from its IP header on, as that header tells.
    pub length: usize,
    /// DSCP and ECN: the type of service, or the traffic class.
    pub traffic_class: u8,
}
