//! l2-dsr: the frame goes to the backend's MAC address, nothing above Ethernet changes, and the backend
//! answers the client directly. TTL and checksums stay as they are.

use lb_common::backend::{Departure, LinkAddress};
use network_types::eth::EthHdr;

/// Addresses the frame from the balancer's interface to the next hop.
#[inline(always)]
pub const fn rewrite(ethernet: &mut EthHdr, next_hop: LinkAddress, departure: Departure) {
    ethernet.dst_addr = next_hop.mac;
    ethernet.src_addr = departure.mac;
}
