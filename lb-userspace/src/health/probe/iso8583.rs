//! The backend answers a network management echo of ISO 8583.

use super::{Trouble, connect::Session};
use crate::{
    config,
    health::{
        iso8583::{DecodeError, Message, echo},
        report::Failure,
    },
};
use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// Longest answer without a length header, in bytes.
const MOST_UNFRAMED: usize = 4096;
/// What is read at once, in bytes: more than most answers.
const BUFFER: usize = 512;

/// The check of one service.
#[derive(Debug)]
pub(super) struct Echo {
    format: config::Iso8583,
    /// Running number, from which trace numbers are made.
    asked: AtomicU32,
}

impl Echo {
    pub const fn new(format: config::Iso8583) -> Self {
        Self { format, asked: AtomicU32::new(0) }
    }

    /// Asks over a connection.
    pub async fn check(&self, session: &mut Session, stream: TcpStream) -> Result<(), Trouble> {
        let mut stream = BufReader::with_capacity(BUFFER, stream);
        let judged = self.exchange(session, &mut stream).await;
        session.close(stream.into_inner());
        Ok(judged?)
    }

    async fn exchange(
        &self,
        session: &mut Session,
        stream: &mut BufReader<TcpStream>,
    ) -> Result<(), Failure> {
        let trace = echo::trace(self.asked.fetch_add(1, Ordering::Relaxed));
        let unsendable = |cause: &dyn ToString| {
            Failure::Protocol(format!("the request cannot be made: {}", cause.to_string()))
        };
        let request = echo::request(&trace, SystemTime::now());
        let request = request.encode(self.format.packing).map_err(|cause| unsendable(&cause))?;
        let request = self.format.header.frame(&request).map_err(|cause| unsendable(&cause))?;
        stream.write_all(&request).await.map_err(|error| broken(&error))?;
        session.asks();
        let answer = loop {
            let answer = self.message(session, stream).await?;
            // A host may speak first, to sign on for example; that is no answer. Without a length header it is not
            // known where such a message ends.
            if answer.kind / 10 % 2 == 1 || self.format.header.bytes() == 0 {
                break answer;
            }
        };
        echo::judge(&trace, &answer).map_err(|unfit| Failure::Protocol(unfit.to_string()))
    }

    /// The next message, as far as it is looked at.
    async fn message(
        &self,
        session: &mut Session,
        stream: &mut BufReader<TcpStream>,
    ) -> Result<Message, Failure> {
        if self.format.header.bytes() == 0 {
            return self.unframed(session, stream).await;
        }
        if stream.fill_buf().await.map_err(|error| broken(&error))?.is_empty() {
            return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
        }
        session.is_answered();
        let mut header = vec![0; self.format.header.bytes()];
        stream.read_exact(&mut header).await.map_err(|error| broken(&error))?;
        let length =
            self.format.header.length(&header).map_err(|error| Failure::Protocol(error.to_string()))?;
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).await.map_err(|error| broken(&error))?;
        self.decode(&bytes).map_err(|error| no_message(&error))
    }

    /// A message that is as long as its elements say.
    async fn unframed(
        &self,
        session: &mut Session,
        stream: &mut BufReader<TcpStream>,
    ) -> Result<Message, Failure> {
        let mut bytes = Vec::new();
        loop {
            let length = stream.read_buf(&mut bytes).await.map_err(|error| broken(&error))?;
            if length == 0 {
                return Err(broken(&io::ErrorKind::UnexpectedEof.into()));
            }
            session.is_answered();
            match self.decode(&bytes) {
                Err(DecodeError::Short) if bytes.len() < MOST_UNFRAMED => {}
                decoded => return decoded.map_err(|error| no_message(&error)),
            }
        }
    }

    /// Only as far as the response code: what comes behind it is private to the host as often as not.
    fn decode(&self, bytes: &[u8]) -> Result<Message, DecodeError> {
        Message::decode(bytes, self.format.packing, echo::RESPONSE).map(|(message, _)| message)
    }
}

fn no_message(error: &DecodeError) -> Failure {
    Failure::Protocol(format!(
        "the answer is not the expected message of ISO 8583: {error}; are encoding and bitmap others there?"
    ))
}

fn broken(error: &io::Error) -> Failure {
    Failure::Broken(match error.kind() {
        io::ErrorKind::UnexpectedEof => "closed by the backend".to_owned(),
        _ => error.to_string(),
    })
}
