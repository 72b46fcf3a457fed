//! One netlink request and all its answers.

use std::time::Duration;

use futures::StreamExt;
use nix::errno::Errno;
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};

use super::error::{NetlinkError, ResolveError};

/// The kernel answers within microseconds. The limit is for an answer that the parser could not read: that is
/// dropped below us and would never arrive.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// `NLM_F_DUMP_INTR`: the table changed during the dump, some records may be missing.
const DUMP_INTERRUPTED: u16 = 0x10;

/// A dump that keeps being interrupted is taken as it is after so many tries; the change that interrupted it
/// reaches the caller through its watch.
const DUMP_TRIES: usize = 4;

/// A netlink route socket, served by a task of the runtime.
#[derive(Clone, Debug)]
pub(crate) struct Netlink(rtnetlink::Handle);

impl Netlink {
    /// Opens a socket in the network namespace of this thread. The task ends with the last clone.
    pub(crate) fn open() -> Result<Self, ResolveError> {
        let runtime = runtime()?;
        // Strict: a filter that the kernel does not know is an error, not ignored.
        let (connection, handle, _unsolicited) =
            rtnetlink::new_connection_with_strict_check().map_err(ResolveError::socket)?;
        runtime.spawn(connection);
        Ok(Self(handle))
    }

    /// Asks for one record.
    pub(super) async fn get(
        &self,
        message: RouteNetlinkMessage,
    ) -> Result<RouteNetlinkMessage, NetlinkError> {
        let (mut answers, _) = self.request(message, NLM_F_REQUEST).await?;
        answers.pop().ok_or(NetlinkError::NoAnswer)
    }

    /// Asks for all records of a table.
    pub(crate) async fn dump(
        &self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        for _ in 1..DUMP_TRIES {
            let (answers, interrupted) = self.request(message.clone(), NLM_F_REQUEST | NLM_F_DUMP).await?;
            if !interrupted {
                return Ok(answers);
            }
        }
        Ok(self.request(message, NLM_F_REQUEST | NLM_F_DUMP).await?.0)
    }

    /// Asks for a change, with `flags` besides request and acknowledgement.
    pub(crate) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> Result<(), NetlinkError> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags).await.map(drop)
    }

    /// All answers to a request, and whether a dump was interrupted.
    async fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), NetlinkError> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = flags;
        let answers = self.0.clone().request(message).map_err(|_closed| NetlinkError::Closed)?;
        tokio::time::timeout(ANSWER_LIMIT, collect(answers)).await.unwrap_or(Err(NetlinkError::NoAnswer))
    }
}

/// The current runtime; a socket opened outside of one could not be served.
pub(super) fn runtime() -> Result<tokio::runtime::Handle, ResolveError> {
    tokio::runtime::Handle::try_current().map_err(|error| ResolveError::socket(std::io::Error::other(error)))
}

async fn collect(
    mut answers: impl futures::Stream<Item = NetlinkMessage<RouteNetlinkMessage>> + Unpin,
) -> Result<(Vec<RouteNetlinkMessage>, bool), NetlinkError> {
    let mut records = Vec::new();
    let mut interrupted = false;
    while let Some(answer) = answers.next().await {
        interrupted |= answer.header.flags & DUMP_INTERRUPTED != 0;
        match answer.payload {
            NetlinkPayload::InnerMessage(record) => records.push(record),
            // The code is a negative errno; 0 is an acknowledgement.
            NetlinkPayload::Error(error) if error.raw_code() != 0 => {
                return Err(NetlinkError::Kernel(Errno::from_raw(error.raw_code().wrapping_neg())));
            }
            _ => {}
        }
    }
    Ok((records, interrupted))
}
