//! An entry of the neighbour table: `RTM_NEWNEIGH` to [`Entry`].

use std::{collections::HashMap, net::IpAddr};

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
};

/// What an entry is found by: interface index and address.
pub(super) type Key = (u32, IpAddr);

/// The part of the neighbour table that was asked for.
pub(super) type Table = HashMap<Key, Entry>;

/// What the kernel knows of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its MAC address, while the kernel holds it for valid.
    pub(super) mac: Option<[u8; 6]>,
    /// The state (`NUD_*`).
    pub(super) state: NeighbourState,
}

impl Entry {
    /// The entry that a message describes; `None` for what is not an IP neighbour: a bridge's forwarding
    /// entries come as messages of the same type, and proxy entries answer for others.
    pub(super) fn from_message(message: &NeighbourMessage) -> Option<(Key, Self)> {
        if message.header.flags.contains(NeighbourFlags::Proxy) {
            return None;
        }
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::V4(*v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(*v6));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = bytes.as_slice().try_into().ok(),
                _ => {}
            }
        }
        let state = message.header.state;
        let entry = Self { mac: mac.filter(|_| is_valid(state)), state };
        Some(((message.header.ifindex, address?), entry))
    }

    /// Whether the kernel has given up on it.
    pub(super) fn is_failed(self) -> bool {
        self.state == NeighbourState::Failed
    }

    /// Whether marking it as used would do good. Never a permanent entry: since Linux 5.16 `NTF_USE` takes
    /// the permanence away (`__neigh_update` clears `NUD_PERMANENT`).
    pub(super) fn wants_solicitation(self) -> bool {
        matches!(self.state, NeighbourState::None | NeighbourState::Stale | NeighbourState::Failed)
    }
}

/// `NUD_VALID`: the states in which the kernel itself would send to the MAC.
fn is_valid(state: NeighbourState) -> bool {
    matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    )
}

/// Asks for one entry.
pub(super) fn one(key: Key) -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetNeighbour(message(key))
}

/// Asks for all entries, IPv4 and IPv6, of one interface or of all.
pub(super) fn all(ifindex: Option<u32>) -> RouteNetlinkMessage {
    let mut message = NeighbourMessage::default();
    message.attributes.extend(ifindex.map(NeighbourAttribute::IfIndex));
    RouteNetlinkMessage::GetNeighbour(message)
}

/// Marks an entry as used, and makes it if need be: the kernel then resolves or confirms it.
pub(super) fn mark_used(key: Key) -> RouteNetlinkMessage {
    let mut message = message(key);
    message.header.flags = NeighbourFlags::Use;
    RouteNetlinkMessage::NewNeighbour(message)
}

fn message((ifindex, address): Key) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = ifindex;
    let (family, destination) = match address {
        IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
    };
    message.header.family = family;
    message.attributes.push(NeighbourAttribute::Destination(destination));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (4, IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 11)));
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 11];

    fn told(state: NeighbourState) -> NeighbourMessage {
        let mut message = message(KEY);
        message.header.state = state;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(MAC.to_vec()));
        message
    }

    #[test]
    fn states() {
        use NeighbourState::{Delay, Failed, Incomplete, Noarp, None, Permanent, Probe, Reachable, Stale};
        for (state, resolved, wants_solicitation) in [
            (Reachable, true, false),
            (Stale, true, true),
            (Delay, true, false),
            (Probe, true, false),
            (Permanent, true, false),
            (Noarp, true, false),
            (Incomplete, false, false),
            (Failed, false, true),
            (None, false, true),
        ] {
            let (key, entry) = Entry::from_message(&told(state)).unwrap();
            assert_eq!(key, KEY);
            assert_eq!(entry.mac, resolved.then_some(MAC), "{state}");
            assert_eq!(entry.wants_solicitation(), wants_solicitation, "{state}");
        }
    }

    #[test]
    fn what_is_not_an_ip_neighbour() {
        let mut forwarding = told(NeighbourState::Permanent);
        forwarding.header.family = AddressFamily::Bridge;
        forwarding.attributes.remove(0);
        assert_eq!(Entry::from_message(&forwarding), None);

        let mut proxy = told(NeighbourState::Permanent);
        proxy.header.flags = NeighbourFlags::Proxy;
        assert_eq!(Entry::from_message(&proxy), None);
    }

    #[test]
    fn a_link_layer_address_of_another_length_is_none() {
        let mut message = told(NeighbourState::Noarp);
        message.attributes[1] = NeighbourAttribute::LinkLayerAddress(vec![198, 18, 0, 1]);
        assert_eq!(Entry::from_message(&message).unwrap().1.mac, None);
    }
}
