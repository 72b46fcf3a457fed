//! From address, port and protocol to the service.

use crate::maps;
use lb_common::{
    meta::features,
    service::{Service, UDP},
};
use lb_ebpf::select::Ends;

/// The service of a destination: of its port, else of port 0, which stands for every port.
#[inline(always)]
pub fn find(ends: &impl Ends, port: [u8; 2], protocol: u8) -> Option<&'static Service> {
    if protocol == UDP && !maps::enabled(features::UDP) {
        return None;
    }
    let mut key = ends.service_key(port, protocol);
    let service = maps::service(&key);
    if service.is_some() || !maps::enabled(features::EVERY_PORT) {
        return service;
    }
    key.port = [0, 0];
    maps::service(&key)
}
