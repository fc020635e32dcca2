//! One parsed unit of the protocol.

use std::fmt;

use bytes::Bytes;

use super::Version;
use crate::message::Header;

/// A frame: what it asks, its headers (unescaped, each name once) and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it asks or tells.
    pub command: Command,
    /// The headers in their order.
    pub headers: Vec<Header>,
    /// The body; octets, never assumed to be UTF-8.
    pub body: Bytes,
}

impl Frame {
    /// A frame without headers and body.
    pub fn new(command: Command) -> Self {
        Self { command, headers: Vec::new(), body: Bytes::new() }
    }

    /// The frame with one header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The frame with that body.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| &**n == name).map(|(_, value)| &**value)
    }

    /// Octets that the frame holds in memory: names, values and body.
    pub fn size(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() + self.body.len()
    }
}

/// The command of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// A client opens the session.
    Connect,
    /// The same, in a word that tells STOMP from HTTP.
    Stomp,
    /// A client publishes.
    Send,
    /// A client wants the messages of a destination.
    Subscribe,
    /// A client no longer wants them.
    Unsubscribe,
    /// A client has dealt with a message.
    Ack,
    /// A client could not deal with a message.
    Nack,
    /// A client opens a transaction.
    Begin,
    /// A client carries a transaction out.
    Commit,
    /// A client gives a transaction up.
    Abort,
    /// A client ends the session.
    Disconnect,
    /// The server has opened the session.
    Connected,
    /// The server delivers a message.
    Message,
    /// The server has done what a frame asked.
    Receipt,
    /// The server ends the session.
    Error,
}

impl Command {
    /// As it stands on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Disconnect => "DISCONNECT",
            Self::Connected => "CONNECTED",
            Self::Message => "MESSAGE",
            Self::Receipt => "RECEIPT",
            Self::Error => "ERROR",
        }
    }

    /// The command of that spelling; lower case is unknown.
    pub fn parse(octets: &[u8]) -> Option<Self> {
        ALL.into_iter().find(|command| command.as_str().as_bytes() == octets)
    }

    // STOMP 1.2 "Body": only the SEND, MESSAGE, and ERROR frames may have a body.
    /// Whether a frame of this command may have a body.
    pub fn carries_body(self) -> bool {
        matches!(self, Self::Send | Self::Message | Self::Error)
    }

    /// How the headers of this command are escaped in that version; `None` is before
    /// CONNECTED, when only CONNECT may come and ERROR may go.
    pub fn escaping(self, version: Option<Version>) -> Escaping {
        // STOMP 1.2 "Value Encoding": CONNECT and CONNECTED are not escaped, for 1.0's sake.
        if matches!(self, Self::Connect | Self::Stomp | Self::Connected) {
            return Escaping::None;
        }
        match version {
            None | Some(Version::V1_0) => Escaping::None,
            Some(Version::V1_1) => Escaping::V1_1,
            Some(Version::V1_2) => Escaping::V1_2,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which escapes headers are written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escaping {
    /// None at all.
    None,
    /// `\n`, `\c` and `\\`.
    V1_1,
    /// Those and `\r`.
    V1_2,
}

const ALL: [Command; 15] = [
    Command::Send,
    Command::Message,
    Command::Ack,
    Command::Subscribe,
    Command::Unsubscribe,
    Command::Connect,
    Command::Stomp,
    Command::Disconnect,
    Command::Nack,
    Command::Begin,
    Command::Commit,
    Command::Abort,
    Command::Connected,
    Command::Receipt,
    Command::Error,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_parsed_as_it_is_written_and_in_no_other_case() {
        for command in ALL {
            assert_eq!(Command::parse(command.as_str().as_bytes()), Some(command));
            assert_eq!(Command::parse(command.as_str().to_lowercase().as_bytes()), None);
        }
    }
}
