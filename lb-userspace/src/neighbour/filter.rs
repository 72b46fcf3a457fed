//! Which notifications are changes: most only say that the kernel has probed again.

use std::collections::HashMap;

use rtnetlink::{
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::LinkMessage,
        neighbour::NeighbourMessage,
        route::{RouteFlags, RouteMessage},
    },
};

use super::{
    entry::{Entry, Key},
    link::Interface,
    watch::Change,
};

/// The last that was heard of each interface and neighbour. It is as large as the kernel's own tables: what
/// those delete, it forgets.
#[derive(Debug, Default)]
pub(super) struct Filter {
    links: HashMap<u32, Interface>,
    /// The MAC, and whether the kernel has given up.
    neighbours: HashMap<Key, (Option<[u8; 6]>, bool)>,
}

impl Filter {
    /// What a message changes. The first word of an interface or neighbour is always a change.
    pub(super) fn observe(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Change {
        use RouteNetlinkMessage as Message;
        match &message.payload {
            NetlinkPayload::Overrun(_) => self.lost(),
            NetlinkPayload::InnerMessage(message) => match message {
                Message::NewLink(link) => self.new_link(link),
                Message::DelLink(link) => self.del_link(link),
                Message::NewNeighbour(neighbour) => self.new_neighbour(neighbour),
                Message::DelNeighbour(neighbour) => self.del_neighbour(neighbour),
                Message::NewRoute(route) | Message::DelRoute(route) => changed_route(route),
                Message::NewRule(_)
                | Message::DelRule(_)
                | Message::NewAddress(_)
                | Message::DelAddress(_) => Change::ROUTES,
                _ => Change::NOTHING,
            },
            _ => Change::NOTHING,
        }
    }

    /// Messages were lost: nothing that was heard can be relied on.
    pub(super) fn lost(&mut self) -> Change {
        *self = Self::default();
        Change::EVERYTHING
    }

    fn new_link(&mut self, message: &LinkMessage) -> Change {
        let Some(interface) = Interface::from_message(message) else { return Change::NOTHING };
        let last = self.links.insert(interface.index, interface.clone());
        Change { links: last != Some(interface), ..Change::NOTHING }
    }

    fn del_link(&mut self, message: &LinkMessage) -> Change {
        let Some(interface) = Interface::from_message(message) else { return Change::NOTHING };
        self.links.remove(&interface.index);
        Change::LINKS
    }

    fn new_neighbour(&mut self, message: &NeighbourMessage) -> Change {
        let Some((key, entry)) = Entry::from_message(message) else { return Change::NOTHING };
        let now = (entry.mac, entry.is_failed());
        Change { neighbours: self.neighbours.insert(key, now) != Some(now), ..Change::NOTHING }
    }

    fn del_neighbour(&mut self, message: &NeighbourMessage) -> Change {
        let Some((key, _)) = Entry::from_message(message) else { return Change::NOTHING };
        self.neighbours.remove(&key);
        Change::NEIGHBOURS
    }
}

/// A cloned route is a cache entry (path MTU, redirect), not a change of the table.
fn changed_route(message: &RouteMessage) -> Change {
    Change { routes: !message.header.flags.contains(RouteFlags::Cloned), ..Change::NOTHING }
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::{
        AddressFamily,
        link::{LinkAttribute, LinkFlags},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState},
    };

    use super::*;

    fn neighbour(state: NeighbourState, mac: u8) -> RouteNetlinkMessage {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.state = state;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet([198, 18, 0, 11].into())),
            NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, mac]),
        ];
        RouteNetlinkMessage::NewNeighbour(message)
    }

    fn observe(filter: &mut Filter, message: RouteNetlinkMessage) -> Change {
        filter.observe(&NetlinkMessage::from(message))
    }

    #[test]
    fn a_neighbour_changes_with_its_mac_and_when_it_fails() {
        let mut filter = Filter::default();
        for (state, mac, expected) in [
            (NeighbourState::Reachable, 1, Change::NEIGHBOURS),
            (NeighbourState::Stale, 1, Change::NOTHING),
            (NeighbourState::Probe, 1, Change::NOTHING),
            (NeighbourState::Reachable, 2, Change::NEIGHBOURS),
            (NeighbourState::Failed, 2, Change::NEIGHBOURS),
            (NeighbourState::Failed, 2, Change::NOTHING),
            (NeighbourState::Incomplete, 2, Change::NEIGHBOURS),
            (NeighbourState::Reachable, 2, Change::NEIGHBOURS),
        ] {
            assert_eq!(observe(&mut filter, neighbour(state, mac)), expected, "{state} {mac}");
        }
    }

    #[test]
    fn a_deleted_neighbour_is_forgotten() {
        let mut filter = Filter::default();
        let RouteNetlinkMessage::NewNeighbour(message) = neighbour(NeighbourState::Reachable, 1) else {
            unreachable!()
        };
        observe(&mut filter, RouteNetlinkMessage::NewNeighbour(message.clone()));
        let deleted = RouteNetlinkMessage::DelNeighbour(message.clone());
        assert_eq!(observe(&mut filter, deleted), Change::NEIGHBOURS);
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::NewNeighbour(message)), Change::NEIGHBOURS);
    }

    #[test]
    fn a_link_changes_with_what_we_show_of_it() {
        let mut message = LinkMessage::default();
        message.header.index = 4;
        message.attributes.push(LinkAttribute::Mtu(1500));
        let mut filter = Filter::default();
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::NewLink(message.clone())), Change::LINKS);
        message.attributes.push(LinkAttribute::TxQueueLen(500));
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::NewLink(message.clone())), Change::NOTHING);
        message.header.flags = LinkFlags::Up;
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::NewLink(message.clone())), Change::LINKS);
        let mut port = message.clone();
        port.header.interface_family = AddressFamily::Bridge;
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::DelLink(port)), Change::NOTHING);
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::DelLink(message)), Change::LINKS);
    }

    #[test]
    fn routes_but_not_the_cache() {
        let mut filter = Filter::default();
        let mut message = RouteMessage::default();
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::NewRoute(message.clone())), Change::ROUTES);
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::DelRoute(message.clone())), Change::ROUTES);
        message.header.flags = RouteFlags::Cloned;
        assert_eq!(observe(&mut filter, RouteNetlinkMessage::NewRoute(message)), Change::NOTHING);
    }

    #[test]
    fn after_an_overrun_everything_is_new() {
        let mut filter = Filter::default();
        observe(&mut filter, neighbour(NeighbourState::Reachable, 1));
        let overrun = NetlinkMessage::new(
            rtnetlink::packet_core::NetlinkHeader::default(),
            NetlinkPayload::Overrun(Vec::new()),
        );
        assert_eq!(filter.observe(&overrun), Change::EVERYTHING);
        assert_eq!(observe(&mut filter, neighbour(NeighbourState::Reachable, 1)), Change::NEIGHBOURS);
    }
}
