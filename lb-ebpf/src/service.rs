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
    let service = maps::service(ends.service_key(port, protocol));
    if service.is_some() || !maps::enabled(features::EVERY_PORT) {
        return service;
    }
    maps::service_by_call(ends.service_key([0, 0], protocol))
}

/// The same for packets that are rare.
#[inline(always)]
pub fn find_by_call(ends: &impl Ends, port: [u8; 2], protocol: u8) -> Option<&'static Service> {
    if protocol == UDP && !maps::enabled(features::UDP) {
        return None;
    }
    let service = maps::service_by_call(ends.service_key(port, protocol));
    if service.is_some() || !maps::enabled(features::EVERY_PORT) {
        return service;
    }
    maps::service_by_call(ends.service_key([0, 0], protocol))
}
