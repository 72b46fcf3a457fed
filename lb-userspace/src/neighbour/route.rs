//! A route: `RTM_GETROUTE` and its answer.

use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};

use super::error::{NetlinkError, Refusal, ResolveError};

/// Where the kernel would send a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the interface it leaves through.
    pub ifindex: u32,
    /// The router; `None`: on-link.
    pub gateway: Option<IpAddr>,
    /// The route's own MTU in bytes, when it has one (configured, or learned by path MTU discovery).
    pub mtu: Option<u32>,
    /// This host's address on the way there.
    pub source: Option<IpAddr>,
}

impl Route {
    /// Judges the kernel's answer for an address.
    pub(super) fn from_message(address: IpAddr, message: &RouteMessage) -> Result<Self, ResolveError> {
        match message.header.kind {
            RouteType::Unicast => {}
            RouteType::Local => return Err(ResolveError::Local { address }),
            RouteType::BlackHole => return Err(refused(address, Refusal::Blackhole)),
            RouteType::Unreachable => return Err(refused(address, Refusal::Unreachable)),
            RouteType::Prohibit => return Err(refused(address, Refusal::Prohibit)),
            other => return Err(ResolveError::NotUnicast { address, kind: kind_name(other) }),
        }
        let mut ifindex = None;
        let mut gateway = None;
        let mut mtu = None;
        let mut source = None;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => ifindex = Some(*index),
                // RTA_VIA: a router of the other family, IPv6 for an IPv4 route.
                RouteAttribute::Gateway(RouteAddress::Inet(router))
                | RouteAttribute::Via(RouteVia::Inet(router)) => gateway = Some((*router).into()),
                RouteAttribute::Gateway(RouteAddress::Inet6(router))
                | RouteAttribute::Via(RouteVia::Inet6(router)) => gateway = Some((*router).into()),
                RouteAttribute::EncapType(_) | RouteAttribute::Encap(_) => {
                    return Err(ResolveError::Encapsulates { address });
                }
                RouteAttribute::PrefSource(RouteAddress::Inet(own)) => source = Some((*own).into()),
                RouteAttribute::PrefSource(RouteAddress::Inet6(own)) => source = Some((*own).into()),
                RouteAttribute::Metrics(metrics) => mtu = route_mtu(metrics),
                _ => {}
            }
        }
        let ifindex = ifindex.ok_or(ResolveError::NoRoute { address })?;
        Ok(Self { ifindex, gateway, mtu, source })
    }
}

fn route_mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    })
}

fn kind_name(kind: RouteType) -> &'static str {
    match kind {
        RouteType::Broadcast => "it is a broadcast address",
        RouteType::Anycast => "it is an anycast address",
        RouteType::Multicast => "it is a multicast address",
        _ => "its route is not a unicast route",
    }
}

fn refused(address: IpAddr, refusal: Refusal) -> ResolveError {
    ResolveError::Refused { address, refusal }
}

/// What no route could make a backend's address: the kernel would answer, but with a guess.
pub(super) fn check(address: IpAddr) -> Result<(), ResolveError> {
    let kind = match address {
        _ if address.is_unspecified() => "it is the unspecified address",
        _ if address.is_multicast() => "it is a multicast address",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "it is link-local, and any interface may have it",
        _ => return Ok(()),
    };
    Err(ResolveError::NotUnicast { address, kind })
}

/// Asks for the route of an address as for a packet that this host sends.
pub(super) fn to(address: IpAddr) -> RouteNetlinkMessage {
    // Not the builder of rtnetlink: that sets table, scope and type, which strict checking refuses in a query.
    let mut message = RouteMessage::default();
    (message.header.address_family, message.header.destination_prefix_length) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.attributes.push(RouteAttribute::Destination(address.into()));
    RouteNetlinkMessage::GetRoute(message)
}

/// The kernel answers for a route that refuses, and for none at all, with an error
/// (`fib_props` in `net/ipv4/fib_semantics.c`, `fib6_prop` in `net/ipv6/route.c`).
pub(super) fn failure(address: IpAddr, error: NetlinkError) -> ResolveError {
    match error {
        NetlinkError::Kernel(Errno::ENETUNREACH) => ResolveError::NoRoute { address },
        NetlinkError::Kernel(Errno::EHOSTUNREACH) => refused(address, Refusal::Unreachable),
        NetlinkError::Kernel(Errno::EINVAL) => refused(address, Refusal::Blackhole),
        NetlinkError::Kernel(Errno::EACCES) => refused(address, Refusal::Prohibit),
        source => ResolveError::Netlink { request: "look up a route", source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKEND: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 5, 1));

    fn message(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        message.header.kind = kind;
        message.attributes = attributes;
        message
    }

    fn judged(kind: RouteType, attributes: Vec<RouteAttribute>) -> Result<Route, String> {
        Route::from_message(BACKEND, &message(kind, attributes)).map_err(|error| error.to_string())
    }

    #[test]
    fn unicast_routes() {
        let oif = RouteAttribute::Oif(4);
        let on_link = Route { ifindex: 4, gateway: None, mtu: None, source: None };
        assert_eq!(judged(RouteType::Unicast, vec![oif.clone()]), Ok(on_link));

        let router: IpAddr = "198.18.0.1".parse().unwrap();
        let attributes = vec![
            oif.clone(),
            RouteAttribute::Gateway(router.into()),
            RouteAttribute::Metrics(vec![RouteMetric::Mtu(1400)]),
        ];
        let expected = Route { gateway: Some(router), mtu: Some(1400), ..on_link };
        assert_eq!(judged(RouteType::Unicast, attributes), Ok(expected));

        let router: IpAddr = "fe80::1".parse().unwrap();
        let attributes = vec![oif, RouteAttribute::Via(router.into())];
        let expected = Route { gateway: Some(router), ..on_link };
        assert_eq!(judged(RouteType::Unicast, attributes), Ok(expected));
    }

    #[test]
    fn routes_that_lead_nowhere() {
        for (kind, text) in [
            (RouteType::Local, "198.18.5.1 is this host's own address"),
            (RouteType::BlackHole, "the route to 198.18.5.1 is of type blackhole"),
            (RouteType::Unreachable, "the route to 198.18.5.1 is of type unreachable"),
            (RouteType::Prohibit, "the route to 198.18.5.1 is of type prohibit"),
            (RouteType::Broadcast, "198.18.5.1 cannot be a backend: it is a broadcast address"),
        ] {
            let error = judged(kind, vec![RouteAttribute::Oif(1)]).unwrap_err();
            assert!(error.starts_with(text), "{kind:?}: {error}");
        }
        let error = judged(
            RouteType::Unicast,
            vec![
                RouteAttribute::Oif(4),
                RouteAttribute::EncapType(rtnetlink::packet_route::route::RouteLwEnCapType::Mpls),
            ],
        );
        assert!(error.unwrap_err().contains("encapsulates"));
    }

    #[test]
    fn errors_of_the_look_up() {
        for (errno, text) in [
            (
                Errno::ENETUNREACH,
                "no route to 198.18.5.1; add one (ip route add 198.18.5.1 via GATEWAY) or correct",
            ),
            (Errno::EHOSTUNREACH, "the route to 198.18.5.1 is of type unreachable"),
            (Errno::EINVAL, "the route to 198.18.5.1 is of type blackhole"),
            (Errno::EACCES, "the route to 198.18.5.1 is of type prohibit"),
            (Errno::EPERM, "cannot look up a route over netlink"),
        ] {
            let error = failure(BACKEND, NetlinkError::Kernel(errno)).to_string();
            assert!(error.starts_with(text), "{errno}: {error}");
        }
    }

    #[test]
    fn addresses_that_no_backend_has() {
        for address in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "fe80::1"] {
            assert!(check(address.parse().unwrap()).is_err(), "{address}");
        }
        for address in ["198.18.0.1", "2001:db8::1"] {
            assert!(check(address.parse().unwrap()).is_ok(), "{address}");
        }
    }
}
