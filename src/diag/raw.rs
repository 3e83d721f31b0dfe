//! Sockets as the monitor takes them from dumps and events: only what it needs is decoded, straight
//! from the receive buffer.

use std::io;

use crate::kernel::Kernel;
use crate::netlink::{Answer, Attributes, MalformedReply, word};

use super::abi::{INET_DIAG_INFO, InetDiagMsg, SOCK_DIAG_BY_FAMILY};
use super::channel::Channel;
use super::dump::Sockets;
use super::events::{Events, Taken};
use super::query::{IpFamily, Query};
use super::socket::Socket;

/// The payload of one reply or event.
#[derive(Clone, Copy)]
pub(crate) struct RawSocket<'b> {
    payload: &'b [u8],
    bytes: &'b [u8; InetDiagMsg::LEN],
}

impl<'b> RawSocket<'b> {
    fn new(payload: &'b [u8]) -> Result<Self, MalformedReply> {
        let bytes = payload.first_chunk();
        let len = payload.len();
        let bytes = bytes.ok_or(MalformedReply::Payload { kind: SOCK_DIAG_BY_FAMILY, len })?;
        Ok(Self { payload, bytes })
    }

    pub(crate) fn cookie(&self) -> u64 {
        u64::from(word(self.bytes, 48)) << 32 | u64::from(word(self.bytes, 44))
    }

    pub(crate) fn local_port(&self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    fn is_of(&self, family: IpFamily) -> bool {
        self.decode().is_ok_and(|socket| family.includes(socket.local))
    }

    /// The bytes of `TCP_INFO`. Absent in TIME_WAIT and the like.
    #[inline]
    pub(crate) fn info(&self) -> Option<&'b [u8]> {
        let attributes = Attributes(&self.payload[InetDiagMsg::LEN..]);
        let mut known = attributes.map_while(Result::ok);
        known.find(|(kind, _)| *kind == INET_DIAG_INFO).map(|(_, content)| content)
    }

    pub(crate) fn decode(&self) -> Result<Socket, MalformedReply> {
        Socket::decode(self.payload, Kernel::running())
    }
}

/// One query, asked again and again through one netlink socket, and so always in one network
/// namespace.
pub(crate) struct RepeatedDump(Sockets);

impl RepeatedDump {
    /// Opens the netlink socket, in the namespace of the query or of the calling thread.
    pub(crate) fn open(query: Query) -> io::Result<Self> {
        Ok(Self(Sockets::idle(Channel::open(query.namespace())?, query)))
    }

    pub(crate) fn query(&self) -> &Query {
        &self.0.query
    }

    /// Asks the kernel now, and shows every socket to `see`. Returns whether the dump is complete:
    /// the kernel did not say that its tables changed, and every reply could be decoded.
    pub(crate) fn run(&mut self, mut see: impl FnMut(RawSocket<'_>)) -> io::Result<bool> {
        let sockets = &mut self.0;
        sockets.restart()?;
        let family = sockets.query.family();
        let mut is_whole = true;
        while !sockets.finished {
            let step = sockets.step(|payload| {
                let Ok(socket) = RawSocket::new(payload) else { return false };
                if family.is_none_or(|family| socket.is_of(family)) {
                    see(socket);
                }
                true
            });
            match step {
                Ok(seen) => is_whole &= seen.unwrap_or(true),
                Err(error) => {
                    sockets.finished = true;
                    return Err(error);
                }
            }
        }
        Ok(is_whole && !sockets.was_interrupted())
    }
}

/// What [`Events`] has next.
pub(crate) enum RawEvent<R> {
    /// A socket ended, and this came of it.
    Ended(R),
    /// Events were dropped.
    Lost,
    /// There is none so far.
    Nothing,
}

impl Events {
    /// Shows the next event to `see`, without waiting for it.
    pub(crate) fn try_see<R>(
        &mut self,
        see: impl FnOnce(RawSocket<'_>) -> R,
    ) -> io::Result<RawEvent<R>> {
        let mut see = Some(see);
        loop {
            let taken = self.take(|message| match message.answer()? {
                Answer::Data { kind: SOCK_DIAG_BY_FAMILY, payload } => {
                    let socket = RawSocket::new(payload)?;
                    Ok(see.take().map(|see| see(socket)))
                }
                _ => Ok(None),
            });
            return Ok(match taken? {
                Taken::Message(None) => continue,
                Taken::Message(Some(seen)) => RawEvent::Ended(seen),
                Taken::Lost => RawEvent::Lost,
                Taken::Nothing => RawEvent::Nothing,
            });
        }
    }
}
