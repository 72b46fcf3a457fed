//! What a driver can of XDP, as the kernel tells by generic netlink, family `netdev` (Linux 6.3, linux/netdev.h).

use super::interface::Native;
use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt,
        socket, sockopt::ReceiveTimeout,
    },
    sys::time::TimeVal,
};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// `GENL_ID_CTRL` of linux/genetlink.h, with `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID` and `CTRL_ATTR_FAMILY_NAME`.
const CONTROL: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// `NETDEV_CMD_DEV_GET` of linux/netdev.h, with `NETDEV_A_DEV_IFINDEX` and `NETDEV_A_DEV_XDP_FEATURES`.
const GET_DEVICE: u8 = 1;
const IFINDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;
/// `NETDEV_XDP_ACT_BASIC` and `NETDEV_XDP_ACT_REDIRECT`.
const BASIC: u64 = 1 << 0;
const REDIRECT: u64 = 1 << 1;
/// `NLMSG_ERROR`, `NLM_F_REQUEST` (linux/netlink.h).
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
/// Bytes of a netlink header, and of it with a generic one.
const HEADER: usize = 16;
const HEADERS: usize = 20;

/// What the interface's driver can.
pub fn native(ifindex: u32) -> Native {
    match features(ifindex) {
        Ok(features) if features & BASIC == 0 => Native::Not,
        Ok(features) if features & REDIRECT == 0 => Native::Basic,
        Ok(_) => Native::Whole,
        Err(_) => Native::Unknown,
    }
}

fn features(ifindex: u32) -> Result<u64, Errno> {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkGeneric)?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(2, 0))?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let family = ask(&socket, CONTROL, GET_FAMILY, FAMILY_NAME, b"netdev\0")?;
    let family = attribute(&family, FAMILY_ID).and_then(|id| Some(u16::from_ne_bytes(id.try_into().ok()?)));
    let device = ask(&socket, family.ok_or(Errno::EPROTO)?, GET_DEVICE, IFINDEX, &ifindex.to_ne_bytes())?;
    let features = attribute(&device, XDP_FEATURES);
    features.and_then(|bits| Some(u64::from_ne_bytes(bits.try_into().ok()?))).ok_or(Errno::EPROTO)
}

/// Sends a request with one attribute; gives the attributes of the answer.
fn ask(socket: &OwnedFd, family: u16, command: u8, attribute: u16, value: &[u8]) -> Result<Vec<u8>, Errno> {
    let padded = value.len().next_multiple_of(4);
    let mut request = Vec::with_capacity(HEADERS + 4 + padded);
    request.extend((HEADERS as u32 + 4 + padded as u32).to_ne_bytes());
    request.extend(family.to_ne_bytes());
    request.extend(REQUEST.to_ne_bytes());
    // Sequence number, port: one request at a time on a socket of its own.
    request.extend([0; 8]);
    request.extend([command, 1, 0, 0]);
    request.extend((4 + value.len() as u16).to_ne_bytes());
    request.extend(attribute.to_ne_bytes());
    request.extend(value);
    request.resize(HEADERS + 4 + padded, 0);
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = vec![0; 1 << 14];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    answer.truncate(length);
    let kind = answer.get(4..6).and_then(|kind| Some(u16::from_ne_bytes(kind.try_into().ok()?)));
    if kind == Some(ERROR) {
        let number =
            answer.get(HEADER..HEADERS).and_then(|code| Some(i32::from_ne_bytes(code.try_into().ok()?)));
        return Err(Errno::from_raw(number.unwrap_or_default().saturating_neg()));
    }
    Ok(answer.split_off(HEADERS.min(answer.len())))
}

/// The value of an attribute, of those that lie one after the other, each filled up to four bytes.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16::from_ne_bytes(attributes.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(attributes.get(2..4)?.try_into().ok()?);
        let value = attributes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::attribute;

    #[test]
    fn attributes_are_found_behind_others_and_never_past_the_end() {
        let mut bytes = Vec::new();
        bytes.extend([5u16, 7].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend([9, 0, 0, 0]);
        bytes.extend([8u16, 3].iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend([1, 2, 3, 4]);
        assert_eq!(attribute(&bytes, 7), Some(&[9][..]));
        assert_eq!(attribute(&bytes, 3), Some(&[1, 2, 3, 4][..]));
        assert_eq!(attribute(&bytes, 4), None);
        for end in 0..bytes.len() {
            assert_eq!(attribute(&bytes[..end], 3), None);
        }
        assert_eq!(attribute(&[0, 0, 0, 0], 3), None);
    }
}
