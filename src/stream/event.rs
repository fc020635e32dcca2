//! Server-Sent Events: how an object is written as events, and under which names.

use bytes::Bytes;

use super::envelope::{Envelope, Kind};
use super::position::Position;
use crate::message::{Framing, Image, Tail};

/// Under which names an object is sent.
///
/// A browser hands an event with a name only to listeners of that name, and one without only to
/// `onmessage`. Both are in use, so by default each object is sent in both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Names {
    /// Once without a name and once with it.
    #[default]
    Both,
    /// Under its name alone.
    Named,
    /// Without a name.
    Unnamed,
}

impl Names {
    /// Reads `events=` of a query; `None` if it is none of the words.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "both" => Some(Self::Both),
            "named" => Some(Self::Named),
            "message" => Some(Self::Unnamed),
            _ => None,
        }
    }

    /// The dialect of the image cache.
    pub(super) fn dialect(self) -> usize {
        match self {
            Self::Both => 1,
            Self::Named => 2,
            Self::Unnamed => 3,
        }
    }
}

/// The event's name: of a log line, by its level.
fn name(envelope: &Envelope) -> &'static str {
    match (envelope.kind, envelope.level.as_str()) {
        (Kind::Log, "error") => "error_log",
        (Kind::Log, "warn") => "warning_log",
        (kind, _) => kind.name(),
    }
}

/// An object as events with that position.
pub(super) fn events(envelope: &Envelope, position: Position<'_>, names: Names) -> Bytes {
    let mut out = Vec::with_capacity(2 * envelope.json.len() + 128);
    if names != Names::Named {
        // A client that loses the connection between the two gets the second when it comes again.
        let is_half = names == Names::Both;
        write(&mut out, None, Position { is_half, ..position }, &envelope.json);
    }
    if names != Names::Unnamed {
        write(&mut out, Some(name(envelope)), position, &envelope.json);
    }
    out.into()
}

/// One event.
pub(super) fn event(name: &str, position: Position<'_>, json: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len() + 64);
    write(&mut out, Some(name), position, json.as_bytes());
    out
}

fn write(out: &mut Vec<u8>, name: Option<&str>, position: Position<'_>, json: &[u8]) {
    out.extend_from_slice(format!("id: {position}\n").as_bytes());
    if let Some(name) = name {
        out.extend_from_slice(format!("event: {name}\n").as_bytes());
    }
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

/// Nothing around the octets: HTTP's chunks are the transport's.
#[derive(Debug, Clone, Copy)]
pub struct EventFraming;

/// The one [`EventFraming`].
pub static EVENT_FRAMING: EventFraming = EventFraming;

impl Framing for EventFraming {
    /// As octets without any framing: the dialects are others.
    fn row(&self) -> usize {
        0
    }

    fn carries_binary(&self) -> bool {
        false
    }

    fn tail(&self, tail: &Bytes, _is_text: bool) -> Tail {
        tail.clone().into()
    }

    fn head(&self, head: &[u8], _tail: &Tail, _is_text: bool) -> Bytes {
        Bytes::copy_from_slice(head)
    }

    fn whole(&self, octets: &[u8], _is_text: bool) -> Image {
        Bytes::copy_from_slice(octets).into()
    }
}
