//! Names and configured values beside the records that packets use, so that the pinned maps tell
//! what they hold: to the daemon that adopts them, to the command line without a daemon, to bpftool.

use crate::limits::NAME_BYTES;
use bytemuck::{Pod, Zeroable};

/// A name of at most [`NAME_BYTES`] bytes, filled up with zeros.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Name(pub [u8; NAME_BYTES]);

/// A record of `SERVICE_LABELS`, indexed by the service's identifier.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ServiceLabel {
    /// The service's name. Meant for identifiers that a record of SERVICES names; after a crash another may keep one.
    pub name: Name,
}

/// A record of `BACKEND_LABELS`, indexed by the backend's index.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct BackendLabel {
    /// The backend's name; empty: the index is free.
    pub name: Name,
    /// The configured weight.
    pub weight: u32,
    /// Identifier of the service that the backend belongs to.
    pub service: u32,
}

const _: () = assert!(size_of::<BackendLabel>() == 72);

impl Name {
    /// The name, or `None` when it is empty or longer than [`NAME_BYTES`].
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut bytes = [0; NAME_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
        (!name.is_empty()).then_some(Self(bytes))
    }

    /// The name as text; empty when the record is free or holds no valid UTF-8.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(NAME_BYTES);
        core::str::from_utf8(&self.0[..end]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{NAME_BYTES, Name};

    #[test]
    fn names_fit_or_are_refused() {
        let longest = [b'a'; NAME_BYTES];
        let longest = core::str::from_utf8(&longest).unwrap();
        assert_eq!(Name::new(longest).unwrap().as_str(), longest);
        assert_eq!(Name::new("card-auth").unwrap().as_str(), "card-auth");
        assert!(Name::new("").is_none());
        let longer = [b'a'; NAME_BYTES + 1];
        assert!(Name::new(core::str::from_utf8(&longer).unwrap()).is_none());
    }
}
