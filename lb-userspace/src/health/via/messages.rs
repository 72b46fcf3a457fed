//! Rules and routes as netlink messages. Pure.

use super::Way;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};
use std::net::IpAddr;

/// What all marks have in their upper half ("XL"); the lower one is the way's number, from 1.
const MARKS: u32 = 0x584c_0000;
const MASK: u32 = 0xffff_0000;
/// Priorities of the rules: the skip, those of ways, the stop, and where the skip leads.
const SKIP: u32 = 5840;
const WAYS: u32 = 5841;
const STOP: u32 = 5842;
const END: u32 = 5843;

/// The mark of the way with this number, which is also the number of its table.
pub(super) const fn mark(number: u16) -> u32 {
    MARKS | number as u32
}

/// The family of an address.
pub(super) const fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The rules around those of the ways, in the order in which they can be made: the skip leads to what is there.
pub(super) fn frame(family: AddressFamily) -> [RuleMessage; 3] {
    let all_marks = [RuleAttribute::FwMark(MARKS), RuleAttribute::FwMask(MASK)];
    let end = rule(family, END, RuleAction::Nop, []);
    let stop = rule(family, STOP, RuleAction::Unreachable, all_marks.clone());
    let mut skip = rule(family, SKIP, RuleAction::Goto, all_marks);
    skip.header.flags = RuleFlags::Invert;
    skip.attributes.push(RuleAttribute::Goto(END));
    [end, stop, skip]
}

/// The rule that leads marked packets to the way's table.
pub(super) fn way_rule(family: AddressFamily, number: u16) -> RuleMessage {
    let mark = mark(number);
    let attributes =
        [RuleAttribute::FwMark(mark), RuleAttribute::FwMask(u32::MAX), RuleAttribute::Table(mark)];
    rule(family, WAYS, RuleAction::ToTable, attributes)
}

fn rule(
    family: AddressFamily,
    priority: u32,
    action: RuleAction,
    attributes: impl IntoIterator<Item = RuleAttribute>,
) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family;
    message.header.action = action;
    message.attributes.push(RuleAttribute::Priority(priority));
    message.attributes.extend(attributes);
    message
}

/// Asks for all rules of a family.
pub(super) fn all_rules(family: AddressFamily) -> RouteNetlinkMessage {
    let mut message = RuleMessage::default();
    message.header.family = family;
    RouteNetlinkMessage::GetRule(message)
}

/// The number of a way's rule, whoever made it; none for any other rule.
pub(super) fn number_of(rule: &RuleMessage) -> Option<u16> {
    let mark = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::FwMark(mark) => Some(*mark),
        _ => None,
    });
    let ours = rule.attributes.contains(&RuleAttribute::Priority(WAYS));
    mark.filter(|mark| ours && mark & MASK == MARKS).map(|mark| mark as u16)
}

/// The route of the way's table: the virtual address, by way of the backend on this interface.
pub(super) fn route(way: Way, number: u16, ifindex: u32) -> RouteMessage {
    let (destination, gateway, length) = match (way.vip, way.backend) {
        (IpAddr::V6(vip), backend) => (RouteAddress::Inet6(vip), backend.into(), 128),
        (IpAddr::V4(vip), backend) => (RouteAddress::Inet(vip), backend.into(), 32),
    };
    let mut message = RouteMessage::default();
    message.header.address_family = family(way.vip);
    message.header.destination_prefix_length = length;
    message.header.protocol = RouteProtocol::Static;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.header.flags = RouteFlags::Onlink;
    message.attributes = vec![
        RouteAttribute::Table(mark(number)),
        RouteAttribute::Destination(destination),
        RouteAttribute::Gateway(gateway),
        RouteAttribute::Oif(ifindex),
    ];
    message
}

/// Names every route of this family's table, to be asked for.
pub(super) fn table(family: AddressFamily, number: u16) -> RouteNetlinkMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family;
    message.attributes = vec![RouteAttribute::Table(mark(number))];
    RouteNetlinkMessage::GetRoute(message)
}

/// Whether a route is in the way's table. What a kernel without strict checking answers is every route of this machine.
pub(super) fn is_in_table(route: &RouteMessage, number: u16) -> bool {
    route.attributes.contains(&RouteAttribute::Table(mark(number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_routes_of_its_table_are_a_ways_own() {
        let way = Way { vip: [192, 0, 2, 10].into(), backend: [198, 18, 0, 11].into() };
        let mut message = route(way, 7, 4);
        assert!(is_in_table(&message, 7) && !is_in_table(&message, 8));
        // As the main table's are told.
        message.attributes[0] = RouteAttribute::Table(254);
        assert!(!is_in_table(&message, 7));
        message.attributes.remove(0);
        assert!(!is_in_table(&message, 7));
    }

    #[test]
    fn a_rule_of_a_way_is_known_again_and_others_are_not() {
        for number in [1, 2, 0xffff] {
            assert_eq!(number_of(&way_rule(AddressFamily::Inet, number)), Some(number));
        }
        for other in frame(AddressFamily::Inet6) {
            assert_eq!(number_of(&other), None);
        }
        let mut foreign = way_rule(AddressFamily::Inet, 7);
        foreign.attributes[0] = RuleAttribute::Priority(100);
        assert_eq!(number_of(&foreign), None);
    }
}
