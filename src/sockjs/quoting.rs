//! How messages are quoted for each kind of receiver, once per message for all of them.

use bytes::Bytes;

use super::frame::escape_into;
use super::framing::SOCKJS_QUOTED;
use crate::message::{Framing, Making, Tail};

/// How a session over HTTP quotes its messages: as its first receiver wants them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quoting {
    /// JSON strings: `xhr` and `xhr_streaming`.
    #[default]
    Json,
    /// JSON strings, percent-encoded: `eventsource`.
    Event,
    /// JSON strings within a script's string: `htmlfile` and `jsonp`.
    Script,
}

impl Quoting {
    /// What makes a message's shared image.
    pub fn framing(self) -> &'static dyn Framing {
        match self {
            Self::Json => &SOCKJS_QUOTED,
            Self::Event => &SOCKJS_EVENT,
            Self::Script => &SOCKJS_SCRIPT,
        }
    }

    /// Quotes a piece of a frame that is not quoted yet; it does not end within a character.
    pub(super) fn quote(self, piece: Bytes) -> Bytes {
        match self {
            Self::Json => piece,
            Self::Event => percent_encoded(piece),
            Self::Script => {
                let mut out = Vec::with_capacity(piece.len() * 9 / 8);
                script_into(&mut out, &piece);
                out.into()
            }
        }
    }

    /// Takes the quoting off again, for a receiver of another kind than the session's first.
    pub(super) fn unquote(self, piece: Bytes) -> Bytes {
        let text = String::from_utf8_lossy(&piece);
        match self {
            Self::Json => piece,
            // Nothing else that is encoded is ever in a JSON string.
            Self::Event => text.replace("%25", "%").into(),
            Self::Script => serde_json::from_str::<String>(&format!("\"{text}\"")).unwrap_or_default().into(),
        }
    }
}

/// SockJS by server-sent events: what [`super::framing::SockJsQuoted`] makes, percent-encoded.
#[derive(Debug, Clone, Copy)]
pub struct SockJsEvent;

/// The one [`SockJsEvent`].
pub static SOCKJS_EVENT: SockJsEvent = SockJsEvent;

impl Framing for SockJsEvent {
    fn row(&self) -> usize {
        5
    }

    fn carries_binary(&self) -> bool {
        false
    }

    fn tail(&self, tail: &Bytes, is_text: bool) -> Tail {
        percent_encoded(SOCKJS_QUOTED.tail(tail, is_text).octets).into()
    }

    fn making(&self, tail: &Bytes, _is_text: bool) -> Option<Box<dyn Making>> {
        let append = |out: &mut Vec<u8>, text: &str| out.extend_from_slice(&percent_encoded(escaped(text)));
        Some(Box::new(TailQuoting::new(tail, append, "\"")))
    }

    fn takes_steps(&self, octets: usize) -> bool {
        octets > AT_ONCE_BYTES
    }

    fn head(&self, head: &[u8], tail: &Tail, is_text: bool) -> Bytes {
        percent_encoded(SOCKJS_QUOTED.head(head, tail, is_text))
    }
}

/// SockJS by scripts: what [`super::framing::SockJsQuoted`] makes, as the inside of a script's
/// string.
#[derive(Debug, Clone, Copy)]
pub struct SockJsScript;

/// The one [`SockJsScript`].
pub static SOCKJS_SCRIPT: SockJsScript = SockJsScript;

impl Framing for SockJsScript {
    fn row(&self) -> usize {
        6
    }

    fn carries_binary(&self) -> bool {
        false
    }

    fn tail(&self, tail: &Bytes, is_text: bool) -> Tail {
        scripted(&SOCKJS_QUOTED.tail(tail, is_text).octets).into()
    }

    fn making(&self, tail: &Bytes, _is_text: bool) -> Option<Box<dyn Making>> {
        let append = |out: &mut Vec<u8>, text: &str| script_into(out, &escaped(text));
        Some(Box::new(TailQuoting::new(tail, append, "\\\"")))
    }

    fn takes_steps(&self, octets: usize) -> bool {
        octets > AT_ONCE_BYTES
    }

    fn head(&self, head: &[u8], tail: &Tail, is_text: bool) -> Bytes {
        scripted(&SOCKJS_QUOTED.head(head, tail, is_text))
    }
}

/// The end of a message that is quoted a piece at a time.
pub(super) struct TailQuoting {
    rest: Bytes,
    out: Vec<u8>,
    append: fn(&mut Vec<u8>, &str),
    /// What follows the last piece.
    end: &'static str,
}

impl TailQuoting {
    pub(super) fn new(tail: &Bytes, append: fn(&mut Vec<u8>, &str), end: &'static str) -> Self {
        Self { rest: tail.clone(), out: Vec::with_capacity(tail.len() + tail.len() / 8 + end.len()), append, end }
    }
}

impl Making for TailQuoting {
    fn advance(&mut self, budget: &mut usize) -> Option<Tail> {
        let is_within_character = |at: &usize| self.rest.get(*at).is_some_and(|octet| octet & 0xc0 == 0x80);
        let mut end = self.rest.len().min(PIECE_BYTES);
        while is_within_character(&end) {
            end += 1;
        }
        let piece = self.rest.split_to(end);
        (self.append)(&mut self.out, &String::from_utf8_lossy(&piece));
        // An octet takes half as long as one to be compressed, or less.
        *budget = budget.saturating_sub(piece.len().div_ceil(2).max(1));
        if !self.rest.is_empty() {
            return None;
        }
        self.out.extend_from_slice(self.end.as_bytes());
        self.out.shrink_to_fit();
        Some(Bytes::from(std::mem::take(&mut self.out)).into())
    }
}

/// From so many octets on a message is quoted in pieces: these take less than half a millisecond.
pub(super) const AT_ONCE_BYTES: usize = 64 * 1024;
const PIECE_BYTES: usize = 32 * 1024;

fn escaped(text: &str) -> Bytes {
    let mut out = Vec::new();
    escape_into(&mut out, text);
    out.into()
}

fn scripted(quoted: &[u8]) -> Bytes {
    let mut out = Vec::new();
    script_into(&mut out, quoted);
    out.shrink_to_fit();
    out.into()
}

// sockjs-client takes each event through decodeURI, so that a lone `%` would break it.
fn percent_encoded(piece: Bytes) -> Bytes {
    let is_special = |byte: &u8| b"%\r\n\0".contains(byte);
    let count = piece.iter().filter(|byte| is_special(byte)).count();
    if count == 0 {
        return piece;
    }
    let mut out = Vec::with_capacity(piece.len() + 2 * count);
    for &byte in &piece {
        match byte {
            b'%' => out.extend_from_slice(b"%25"),
            b'\r' => out.extend_from_slice(b"%0D"),
            b'\n' => out.extend_from_slice(b"%0A"),
            b'\0' => out.extend_from_slice(b"%00"),
            _ => out.push(byte),
        }
    }
    out.into()
}

/// Appends a piece as the inside of a script's string. `<` is escaped too, or else a message
/// could end the script element and bring one of its own.
fn script_into(out: &mut Vec<u8>, piece: &[u8]) {
    for (n, part) in String::from_utf8_lossy(piece).split('<').enumerate() {
        if n > 0 {
            out.extend_from_slice(b"\\u003c");
        }
        escape_into(out, part);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::framing::SOCKJS_WEBSOCKET;
    use super::*;

    const ALL: [Quoting; 3] = [Quoting::Json, Quoting::Event, Quoting::Script];

    #[test]
    fn an_event_has_no_percent_sign_line_end_or_nul_of_its_own() {
        assert_eq!(percent_encoded(Bytes::from("a\r\n\0%é")), "a%0D%0A%00%25é");
    }

    #[test]
    fn each_quoting_has_a_row_of_its_own() {
        let rows = ALL.map(|quoting| (quoting.framing().row(), quoting.framing().carries_binary()));
        assert_eq!(rows, [(4, false), (5, false), (6, false)]);
    }

    proptest! {
        #[test]
        fn an_image_is_quoted_as_a_frame_is_and_unquotes_to_json(head in any::<String>(), tail in "[%<\"\\\\\r\né\u{2028}😀]*") {
            let tail = Bytes::from(tail);
            let json = image(Quoting::Json, &head, &tail);
            for quoting in ALL {
                let quoted = image(quoting, &head, &tail);
                prop_assert_eq!(&quoted, &quoting.quote(json.clone()));
                prop_assert_eq!(&quoting.unquote(quoted), &json);
            }
        }
    }

    #[test]
    fn a_large_message_is_quoted_in_pieces_that_end_with_a_character() {
        let framings = ALL.map(Quoting::framing).into_iter().chain([&SOCKJS_WEBSOCKET as &dyn Framing]);
        for framing in framings {
            assert!(framing.takes_steps(AT_ONCE_BYTES + 1) && !framing.takes_steps(AT_ONCE_BYTES));
            for text in ["a\"é\u{2028}😀%<\n", "€"] {
                for more in 0..4 {
                    let tail = Bytes::from(["x".repeat(more), text.repeat(20_000)].concat());
                    let mut making = framing.making(&tail, true).unwrap();
                    let (made, steps) = (1..).find_map(|step| Some((making.advance(&mut 1)?, step))).unwrap();
                    assert!(made == framing.tail(&tail, true), "{framing:?} {text}");
                    assert_eq!(steps, tail.len().div_ceil(PIECE_BYTES));
                }
            }
        }
    }

    fn image(quoting: Quoting, head: &str, tail: &Bytes) -> Bytes {
        let framing = quoting.framing();
        let tail = framing.tail(tail, true);
        [framing.head(head.as_bytes(), &tail, true), tail.octets].concat().into()
    }
}
