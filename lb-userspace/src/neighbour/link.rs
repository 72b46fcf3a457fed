//! An interface: `RTM_NEWLINK` to [`Interface`].

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkLayerType, LinkMessage,
        LinkXdp, XdpAttached,
    },
};

/// The longest name of an interface (`IFNAMSIZ` less the closing zero).
const NAME_LIMIT: usize = 15;

/// An interface as the kernel reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index, unique in its network namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its MAC address; `None` when it is not Ethernet (lo, tun, tunnels).
    pub mac: Option<[u8; 6]>,
    /// Largest packet, in bytes from the IP header on.
    pub mtu: u32,
    /// Whether it is set up (`IFF_UP`).
    pub up: bool,
    /// Whether it has a carrier (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// The attached XDP program.
    pub xdp: Option<AttachedXdp>,
    /// The VLAN that it is the end of.
    pub vlan: Option<Vlan>,
}

/// A VLAN sub-interface's place (IEEE 802.1Q).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// Index of the interface below.
    pub lower: u32,
    /// Its identifier, 1 to 4094.
    pub id: u16,
}

/// An XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachedXdp {
    /// The program's id, as `bpftool prog show id` takes it. With [`XdpMode::Multiple`] the one that runs first.
    pub program_id: u32,
    /// Where it runs.
    pub mode: XdpMode,
}

/// Where an XDP program runs (`IFLA_XDP_ATTACHED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver, before there is an skb.
    Native,
    /// In the stack, on an skb.
    Generic,
    /// On the card.
    Hardware,
    /// In more than one of them.
    Multiple,
}

impl XdpMode {
    /// The mode as the command line writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Generic => "generic",
            Self::Hardware => "hardware",
            Self::Multiple => "multiple",
        }
    }
}

impl Interface {
    /// The interface that a message describes; `None` for one of another family: a bridge repeats its ports
    /// as `AF_BRIDGE`, and a port that leaves the bridge is then "deleted".
    pub(super) fn from_message(message: &LinkMessage) -> Option<Self> {
        if message.header.interface_family != rtnetlink::packet_route::AddressFamily::Unspec {
            return None;
        }
        let flags = message.header.flags;
        let mut interface = Self {
            index: message.header.index,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            xdp: None,
            vlan: None,
        };
        let (mut lower, mut vlan) = (None, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => interface.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Address(address) if message.header.link_layer_type == LinkLayerType::Ether => {
                    interface.mac = address.as_slice().try_into().ok();
                }
                LinkAttribute::Xdp(xdp) => interface.xdp = attached(xdp),
                LinkAttribute::Link(index) => lower = Some(*index),
                LinkAttribute::LinkInfo(info) => vlan = vlan_id(info),
                _ => {}
            }
        }
        interface.vlan = lower.zip(vlan).map(|(lower, id)| Vlan { lower, id });
        Some(interface)
    }
}

fn vlan_id(info: &[LinkInfo]) -> Option<u16> {
    let data = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    data.iter().find_map(|attribute| match attribute {
        InfoVlan::Id(id) => Some(*id),
        _ => None,
    })
}

fn attached(attributes: &[LinkXdp]) -> Option<AttachedXdp> {
    let mode = attributes.iter().find_map(|attribute| match attribute {
        LinkXdp::Attached(XdpAttached::Driver) => Some(XdpMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        LinkXdp::Attached(XdpAttached::Hardware) => Some(XdpMode::Hardware),
        LinkXdp::Attached(XdpAttached::Multiple) => Some(XdpMode::Multiple),
        _ => None,
    })?;
    // With several programs there is no IFLA_XDP_PROG_ID: the order below is that of a packet's way.
    let ids: [fn(&LinkXdp) -> Option<u32>; 4] = [
        |attribute| if let LinkXdp::ProgId(id) = attribute { Some(*id) } else { None },
        |attribute| if let LinkXdp::HwProgId(id) = attribute { Some(*id) } else { None },
        |attribute| if let LinkXdp::DrvProgId(id) = attribute { Some(*id) } else { None },
        |attribute| if let LinkXdp::SkbProgId(id) = attribute { Some(*id) } else { None },
    ];
    let program_id = ids.into_iter().find_map(|id| attributes.iter().find_map(id))?;
    Some(AttachedXdp { program_id, mode })
}

/// Asks for one interface by index.
pub(super) fn by_index(index: u32) -> RouteNetlinkMessage {
    let mut message = request();
    message.header.index = index;
    RouteNetlinkMessage::GetLink(message)
}

/// Asks for one interface by name or alternative name; `None` when no interface can have it.
pub(super) fn by_name(name: &str) -> Option<RouteNetlinkMessage> {
    if name.is_empty() || name.len() > NAME_LIMIT || name.contains('\0') {
        return None;
    }
    let mut message = request();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    Some(RouteNetlinkMessage::GetLink(message))
}

/// Asks for all interfaces.
pub(super) fn all() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetLink(request())
}

fn request() -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_route::AddressFamily;

    use super::*;

    fn message(kind: LinkLayerType, address: &[u8], xdp: Vec<LinkXdp>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = 4;
        message.header.link_layer_type = kind;
        message.header.flags = LinkFlags::Up | LinkFlags::LowerUp;
        message.attributes = vec![
            LinkAttribute::IfName("eth0".to_owned()),
            LinkAttribute::Mtu(9000),
            LinkAttribute::Address(address.to_vec()),
            LinkAttribute::Xdp(xdp),
        ];
        message
    }

    #[test]
    fn an_ethernet_interface() {
        let xdp = vec![LinkXdp::Attached(XdpAttached::None)];
        let interface = Interface::from_message(&message(LinkLayerType::Ether, &[2, 0, 0, 0, 0, 1], xdp));
        assert_eq!(
            interface,
            Some(Interface {
                index: 4,
                name: "eth0".to_owned(),
                mac: Some([2, 0, 0, 0, 0, 1]),
                mtu: 9000,
                up: true,
                carrier: true,
                vlan: None,
                xdp: None,
            })
        );
    }

    #[test]
    fn a_vlan_interface_names_the_one_below() {
        let mut message = message(LinkLayerType::Ether, &[2, 0, 0, 0, 0, 1], Vec::new());
        message.attributes.push(LinkAttribute::Link(3));
        let data = InfoData::Vlan(vec![InfoVlan::Id(100)]);
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Data(data)]));
        let vlan = Interface::from_message(&message).unwrap().vlan;
        assert_eq!(vlan, Some(Vlan { lower: 3, id: 100 }));
    }

    #[test]
    fn only_ethernet_has_a_mac() {
        for (kind, address) in [
            (LinkLayerType::Loopback, [0; 6].as_slice()),
            (LinkLayerType::Tunnel, &[198, 18, 0, 1]),
            (LinkLayerType::Ether, &[1, 2, 3]),
        ] {
            let interface = Interface::from_message(&message(kind, address, Vec::new())).unwrap();
            assert_eq!(interface.mac, None, "{kind:?}");
        }
    }

    #[test]
    fn attached_programs() {
        use LinkXdp::{Attached, DrvProgId, ProgId, SkbProgId};
        let rows = [
            (vec![Attached(XdpAttached::Driver), ProgId(7), DrvProgId(7)], Some((7, XdpMode::Native))),
            (vec![Attached(XdpAttached::SocketBuffer), ProgId(8)], Some((8, XdpMode::Generic))),
            (vec![Attached(XdpAttached::Hardware), ProgId(9)], Some((9, XdpMode::Hardware))),
            (vec![Attached(XdpAttached::Multiple), SkbProgId(2), DrvProgId(1)], Some((1, XdpMode::Multiple))),
            (vec![Attached(XdpAttached::None)], None),
            (Vec::new(), None),
        ];
        for (attributes, expected) in rows {
            let expected = expected.map(|(program_id, mode)| AttachedXdp { program_id, mode });
            assert_eq!(attached(&attributes), expected, "{attributes:?}");
        }
    }

    #[test]
    fn a_bridge_port_is_not_an_interface() {
        let mut message = message(LinkLayerType::Ether, &[2, 0, 0, 0, 0, 1], Vec::new());
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(Interface::from_message(&message), None);
    }

    #[test]
    fn names_that_no_interface_can_have() {
        assert!(by_name("").is_none());
        assert!(by_name("sixteen-letters-").is_none());
        assert!(by_name("fifteen-letters").is_some());
    }
}
