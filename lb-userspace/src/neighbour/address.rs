//! The machine's own addresses: `RTM_NEWADDR`.

use std::net::IpAddr;

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
};

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// Index of the interface.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
}

impl InterfaceAddress {
    /// The address that a message describes. On a point-to-point link `IFA_ADDRESS` is the peer's, and `IFA_LOCAL`
    /// ours; IPv6 mostly has the first alone.
    pub(super) fn from_message(message: &AddressMessage) -> Option<Self> {
        let find =
            |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
        let local = find(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
        let address = local.or_else(|| {
            find(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
        })?;
        Some(Self { ifindex: message.header.index, address })
    }
}

/// Asks for all addresses of all interfaces.
pub(super) fn all() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetAddress(AddressMessage::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_address_comes_before_the_peers() {
        let [ours, peer]: [IpAddr; 2] = ["198.18.0.1", "198.18.0.2"].map(|text| text.parse().unwrap());
        let rows = [
            (vec![AddressAttribute::Address(peer), AddressAttribute::Local(ours)], Some(ours)),
            (vec![AddressAttribute::Local(ours)], Some(ours)),
            (vec![AddressAttribute::Address(ours)], Some(ours)),
            (Vec::new(), None),
        ];
        for (attributes, expected) in rows {
            let mut message = AddressMessage::default();
            message.header.index = 4;
            message.attributes = attributes;
            let expected = expected.map(|address| InterfaceAddress { ifindex: 4, address });
            assert_eq!(InterfaceAddress::from_message(&message), expected, "{message:?}");
        }
    }
}
