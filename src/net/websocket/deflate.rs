//! permessage-deflate (RFC 7692): what is agreed on, and messages that are compressed once for
//! all who get them.
//!
//! Neither side remembers anything from one message to the next ("no context takeover"). So a
//! broadcast is the same octets for every subscriber: the part they share is compressed once a
//! message, and each one's own head goes in front of it as a block that is stored as it is.

use std::cell::RefCell;

use bytes::Bytes;
use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

use super::compressing::{self, Deflating, Step};
use super::{head_len, inflating, put_head};
use crate::message::{Framing, Image, Making, PLAIN_FRAMINGS, Tail};

/// How the server compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// 1, the fastest, to 9, the smallest.
    pub level: u8,
    /// Octets from which on a message is compressed.
    pub min_bytes: usize,
}

/// What a client and the server agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    settings: Settings,
    window: Window,
}

/// How far back a compressed message may refer. There are few, since each needs images of its
/// own: who asks for less than the full window gets the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    /// 32 KiB.
    Full,
    /// 512 octets.
    Small,
    /// 256 octets, for which there is no compressor: messages leave as they are.
    None,
}

/// Agrees on the first of a request's offers that can be met; answers the header that says so.
pub fn negotiate(headers: &HeaderMap, settings: Settings) -> Option<(Agreed, HeaderValue)> {
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).into_iter().filter_map(|value| value.to_str().ok());
    let offer = values.flat_map(|value| split(value, ',')).find_map(Offer::parse)?;
    let mut answer = String::from("permessage-deflate; server_no_context_takeover; client_no_context_takeover");
    // RFC 7692 section 7.1.2.1: the same or less
    let (window, bits) = match offer.server_max_window_bits {
        None => (Window::Full, None),
        Some(15) => (Window::Full, Some(15)),
        Some(8) => (Window::None, Some(8)),
        Some(_) => (Window::Small, Some(SMALL_WINDOW_BITS)),
    };
    if let Some(bits) = bits {
        answer += &format!("; server_max_window_bits={bits}");
    }
    Some((Agreed { settings, window }, HeaderValue::from_str(&answer).ok()?))
}

/// The first octets, `max` at most, of a compressed message of which the beginning is there: for
/// readers that want no more of it.
pub fn beginning(message: &[u8], max: usize) -> Vec<u8> {
    inflating::beginning(message, max)
}

/// What a client would do, as far as it matters here.
struct Offer {
    server_max_window_bits: Option<u8>,
}

impl Offer {
    /// RFC 7692 section 7.1: an offer with a parameter that is unknown, wrong or there twice is
    /// declined.
    fn parse(offer: &str) -> Option<Self> {
        let mut parts = split(offer, ';');
        if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut parsed = Self { server_max_window_bits: None };
        let mut seen = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start()))),
                None => (part, None),
            };
            if seen.contains(&name) {
                return None;
            }
            seen.push(name);
            match (name, value) {
                ("server_no_context_takeover" | "client_no_context_takeover" | "client_max_window_bits", None) => {}
                // Any window of the client's fits into the decompressor's.
                ("client_max_window_bits", Some(bits)) => drop(window_bits(bits)?),
                ("server_max_window_bits", Some(bits)) => parsed.server_max_window_bits = Some(window_bits(bits)?),
                _ => return None,
            }
        }
        Some(parsed)
    }
}

/// RFC 7692 section 7.1.2: 8 to 15, without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    let bits: u8 = text.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (text == bits.to_string()).then_some(bits)
}

fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

/// The parts between the separators that stand outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let parts = text.split(move |at| {
        is_quoted ^= at == '"';
        at == separator && !is_quoted
    });
    parts.map(str::trim)
}

impl Agreed {
    /// Puts compression around a framing whose messages are one final, unmasked frame each.
    pub(super) fn framing(self, plain: &'static dyn Framing) -> &'static dyn Framing {
        let window_bits = match self.window {
            Window::Full => 15,
            Window::Small => SMALL_WINDOW_BITS,
            Window::None => return plain,
        };
        FRAMINGS.with_borrow_mut(|framings| {
            let is_it = |known: &&Deflated| {
                known.plain.row() == plain.row() && known.settings == self.settings && known.window_bits == window_bits
            };
            let known = framings.iter().copied().find(is_it);
            known.unwrap_or_else(|| {
                let made: &'static Deflated =
                    Box::leak(Box::new(Deflated { plain, settings: self.settings, window_bits }));
                framings.push(made);
                made
            })
        })
    }
}

/// A framing whose messages are compressed where that makes them shorter.
#[derive(Debug, Clone, Copy)]
struct Deflated {
    plain: &'static dyn Framing,
    settings: Settings,
    window_bits: u8,
}

impl Deflated {
    /// At once; what takes steps and has none leaves as it is, so that it does not keep others waiting.
    fn deflate(&self, octets: &Bytes) -> Option<Bytes> {
        let is_worth_it = (self.settings.min_bytes..=compressing::PIECE_BYTES).contains(&octets.len());
        is_worth_it.then(|| compressing::deflate(octets, self.settings.level, self.window_bits))?
    }

    fn compressing(&self, plain: Tail) -> CompressedTail {
        let deflating = Deflating::new(plain.octets.clone(), self.settings.level, self.window_bits);
        CompressedTail::Compressing { plain, deflating }
    }
}

impl Framing for Deflated {
    fn row(&self) -> usize {
        let of_window = if self.window_bits == SMALL_WINDOW_BITS { SMALL_WINDOW_ROWS } else { FULL_WINDOW_ROWS };
        of_window + self.plain.row()
    }

    fn carries_binary(&self) -> bool {
        self.plain.carries_binary()
    }

    fn tail(&self, tail: &Bytes, is_text: bool) -> Tail {
        let plain = self.plain.tail(tail, is_text);
        match self.deflate(&plain.octets) {
            Some(octets) => Tail { octets, is_compressed: true },
            None => plain,
        }
    }

    fn making(&self, tail: &Bytes, is_text: bool) -> Option<Box<dyn Making>> {
        if self.plain.takes_steps(tail.len())
            && let Some(wrapping) = self.plain.making(tail, is_text)
        {
            return Some(Box::new(CompressedTail::Wrapping(wrapping, *self)));
        }
        let plain = self.plain.tail(tail, is_text);
        (plain.octets.len() >= self.settings.min_bytes).then(|| Box::new(self.compressing(plain)) as Box<dyn Making>)
    }

    fn takes_steps(&self, octets: usize) -> bool {
        octets >= self.settings.min_bytes
    }

    fn head(&self, head: &[u8], tail: &Tail, is_text: bool) -> Bytes {
        if !tail.is_compressed {
            return self.plain.head(head, tail, is_text);
        }
        let plain = self.plain.head(head, &Tail::default(), is_text);
        let (opcode, payload) = unframed(&plain);
        let blocks = payload.chunks(STORED_BYTES);
        let stored = payload.len() + blocks.len() * STORED_HEAD_BYTES;
        let payload_len = stored + tail.octets.len();
        let mut out = Vec::with_capacity(head_len(payload_len) + stored);
        put_head(&mut out, opcode, true, payload_len);
        for block in blocks {
            let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
            // RFC 1951 section 3.2.4; not the last block, and what is before it ends at an octet
            out.push(0);
            out.extend(len.to_le_bytes());
            out.extend((!len).to_le_bytes());
            out.extend_from_slice(block);
        }
        out.into()
    }

    fn whole(&self, octets: &[u8], is_text: bool) -> Image {
        let plain = self.plain.whole(octets, is_text);
        if plain.len() < self.settings.min_bytes {
            return plain;
        }
        let joined = [&plain.head[..], &plain.tail].concat();
        let (opcode, payload) = unframed(&joined);
        let Some(compressed) = self.deflate(&Bytes::copy_from_slice(payload)) else { return plain };
        let mut head = Vec::with_capacity(head_len(compressed.len()));
        put_head(&mut head, opcode, true, compressed.len());
        Image { head: head.into(), tail: compressed }
    }
}

/// A tail that is being wrapped, and then compressed.
enum CompressedTail {
    Wrapping(Box<dyn Making>, Deflated),
    Compressing { plain: Tail, deflating: Deflating },
}

impl Making for CompressedTail {
    fn advance(&mut self, budget: &mut usize) -> Option<Tail> {
        match self {
            Self::Wrapping(wrapping, framing) => {
                *self = framing.compressing(wrapping.advance(budget)?);
                None
            }
            Self::Compressing { plain, deflating } => match deflating.step(budget) {
                Step::More => None,
                Step::Done(Some(octets)) => Some(Tail { octets, is_compressed: true }),
                Step::Done(None) => Some(std::mem::take(plain)),
            },
        }
    }
}

/// The opcode of an unmasked frame, and its payload.
fn unframed(frame: &[u8]) -> (OpCode, &[u8]) {
    let head_len = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    (OpCode::from(frame[0] & 0x0f), &frame[head_len..])
}

const SMALL_WINDOW_BITS: u8 = 9;

/// Where the rows of compressed framings begin; each plain framing has one in both.
const FULL_WINDOW_ROWS: usize = PLAIN_FRAMINGS;
const SMALL_WINDOW_ROWS: usize = 2 * PLAIN_FRAMINGS;

/// A stored block's length has 16 bits.
const STORED_BYTES: usize = 0xffff;
const STORED_HEAD_BYTES: usize = 5;

thread_local! {
    /// There are as many as there are settings, windows and plain framings: they stay.
    static FRAMINGS: RefCell<Vec<&'static Deflated>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests;
