//! What a broker sent, without a socket: octets in any cut to the beginnings of STOMP frames.
//!
//! A generator that keeps whole messages measures its own memory bandwidth. Of each frame only
//! the head and the stamp behind it are kept; the rest is passed over.

mod layers;

use std::io;

use memchr::memmem;

use self::layers::{Chunks, Part, WebSocket};
use crate::net::websocket::deflate;

/// Takes one connection's octets apart.
pub(super) struct Scanner {
    layer: Layer,
    frames: Frames,
    /// What is to be written for it: answers to pings.
    pub(super) reply: Vec<u8>,
    /// Whether the HTTP response has ended.
    pub(super) is_over: bool,
}

enum Layer {
    None,
    WebSocket(WebSocket),
    Http(Chunks),
}

enum Frames {
    /// Each message is a frame.
    Messages(Vec<u8>),
    SockJs(SockJs),
    Stream(Stream),
}

impl Scanner {
    /// STOMP over WebSocket.
    pub(super) fn raw() -> Self {
        Self::new(Layer::WebSocket(WebSocket::default()), Frames::Messages(Vec::new()))
    }

    /// STOMP over SockJS over WebSocket.
    pub(super) fn sockjs_websocket() -> Self {
        Self::new(Layer::WebSocket(WebSocket::default()), Frames::SockJs(SockJs::default()))
    }

    /// STOMP over SockJS in the chunks of an HTTP response.
    pub(super) fn sockjs_streaming() -> Self {
        Self::new(Layer::Http(Chunks::default()), Frames::SockJs(SockJs::default()))
    }

    /// STOMP over TCP.
    pub(super) fn stream() -> Self {
        Self::new(Layer::None, Frames::Stream(Stream::default()))
    }

    fn new(layer: Layer, frames: Frames) -> Self {
        Self { layer, frames, reply: Vec::new(), is_over: false }
    }

    /// Shows the beginning of each frame that is complete to `found`; heart-beats are none.
    ///
    /// # Errors
    /// The broker closed, or sent what no broker may.
    pub(super) fn feed(&mut self, octets: &[u8], found: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let Self { layer, frames, reply, is_over } = self;
        match layer {
            Layer::None => frames.feed(octets, found),
            Layer::WebSocket(layer) => layer.feed(octets, &mut |part| match part {
                Part::Data(data) => frames.feed(data, found),
                Part::End(is_compressed) => {
                    frames.end(is_compressed, found);
                    Ok(())
                }
                Part::Ping(data) => {
                    reply.extend_from_slice(&masked(PONG, data));
                    Ok(())
                }
            }),
            Layer::Http(layer) => {
                layer.feed(octets, &mut |data| frames.feed(data, found))?;
                *is_over = layer.take_over();
                Ok(())
            }
        }
    }
}

impl Frames {
    fn feed(&mut self, data: &[u8], found: &mut impl FnMut(&[u8])) -> io::Result<()> {
        match self {
            Self::Messages(kept) => {
                kept.extend_from_slice(&data[..data.len().min(KEPT_BYTES - kept.len())]);
                Ok(())
            }
            Self::SockJs(frames) => frames.feed(data, found),
            Self::Stream(frames) => {
                frames.feed(data, found);
                Ok(())
            }
        }
    }

    /// The end of a WebSocket message.
    fn end(&mut self, is_compressed: bool, found: &mut impl FnMut(&[u8])) {
        if let Self::Messages(kept) = self {
            if is_compressed {
                *kept = deflate::beginning(kept, KEPT_BYTES);
            }
            if !matches!(kept.as_slice(), b"\n" | b"\r\n" | b"") {
                found(kept);
            }
            kept.clear();
        }
    }
}

/// Quoted STOMP frames within `a[…]`.
#[derive(Default)]
struct SockJs {
    place: InSockJs,
    kept: Vec<u8>,
    is_escape: bool,
    /// Where the stamp is complete; 0 as long as the head's end was not seen.
    enough: usize,
    /// How much of [`QUOTED_NUL`] the last octets were.
    matched: usize,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum InSockJs {
    #[default]
    Outside,
    Head,
    Body,
    /// Behind the NUL, within the string.
    Tail,
}

impl SockJs {
    fn feed(&mut self, mut data: &[u8], found: &mut impl FnMut(&[u8])) -> io::Result<()> {
        while let Some((&octet, rest)) = data.split_first() {
            if self.place == InSockJs::Body {
                data = self.pass_over(data);
                continue;
            }
            data = rest;
            match (self.place, octet) {
                (InSockJs::Outside, b'"') => {
                    self.kept.clear();
                    self.enough = 0;
                    self.place = InSockJs::Head;
                }
                (InSockJs::Outside, b'c') => return Err(io::Error::other("the broker closed the SockJS session")),
                (InSockJs::Outside | InSockJs::Body, _) => {}
                (InSockJs::Head | InSockJs::Tail, b'"') if !self.is_escape => {
                    self.place = InSockJs::Outside;
                    self.found(found)?;
                }
                (InSockJs::Head | InSockJs::Tail, _) => self.on_quoted(octet),
            }
        }
        Ok(())
    }

    fn on_quoted(&mut self, octet: u8) {
        let was_escape = self.is_escape;
        self.is_escape = octet == b'\\' && !was_escape;
        if self.place == InSockJs::Tail {
            return;
        }
        self.kept.push(octet);
        if self.enough == 0 && was_escape && octet == b'n' && self.kept.ends_with(br"\n\n") {
            self.enough = self.kept.len() + STAMP_BYTES;
        }
        if !self.is_escape && (self.kept.len() == self.enough || self.kept.len() >= KEPT_BYTES) {
            self.matched = 0;
            self.place = InSockJs::Body;
        }
    }

    /// Looks for the NUL that ends each STOMP frame; answers what is behind it.
    fn pass_over<'a>(&mut self, mut data: &'a [u8]) -> &'a [u8] {
        while self.matched > 0 && self.matched < QUOTED_NUL.len() {
            let Some((&octet, rest)) = data.split_first() else { return data };
            data = rest;
            self.matched =
                if octet == QUOTED_NUL[self.matched] { self.matched + 1 } else { usize::from(octet == b'\\') };
        }
        if self.matched == 0 {
            match memmem::find(data, QUOTED_NUL) {
                Some(at) => data = &data[at + QUOTED_NUL.len()..],
                None => {
                    let is_end = |count: &usize| data.ends_with(&QUOTED_NUL[..*count]);
                    self.matched = (1..QUOTED_NUL.len()).rev().find(is_end).unwrap_or(0);
                    return &[];
                }
            }
        }
        self.place = InSockJs::Tail;
        data
    }

    fn found(&mut self, found: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let quoted = [b"\"", self.kept.as_slice(), b"\""].concat();
        let text: String = serde_json::from_slice(&quoted)?;
        if !matches!(text.as_str(), "\n" | "\r\n") {
            found(text.as_bytes());
        }
        Ok(())
    }
}

/// STOMP frames one after the other.
#[derive(Default)]
struct Stream {
    place: InStream,
    kept: Vec<u8>,
}

#[derive(Default, Clone, Copy)]
enum InStream {
    #[default]
    Between,
    Head,
    /// That many octets of the body are to come, and the NUL.
    Counted(usize),
    UntilNul,
}

impl Stream {
    fn feed(&mut self, mut data: &[u8], found: &mut impl FnMut(&[u8])) {
        while let Some((&octet, rest)) = data.split_first() {
            match self.place {
                InStream::Between => {
                    if octet == b'\n' || octet == b'\r' {
                        data = rest;
                    } else {
                        self.kept.clear();
                        self.place = InStream::Head;
                    }
                }
                InStream::Head => {
                    data = rest;
                    self.kept.push(octet);
                    if self.kept.ends_with(b"\n\n") || self.kept.ends_with(b"\n\r\n") {
                        self.place = content_length(&self.kept).map_or(InStream::UntilNul, InStream::Counted);
                    }
                }
                InStream::Counted(left) => {
                    let take = left.min(data.len());
                    self.keep(&data[..take]);
                    data = &data[take..];
                    self.place = if take < left || data.is_empty() {
                        InStream::Counted(left - take)
                    } else {
                        InStream::UntilNul
                    };
                }
                InStream::UntilNul => {
                    let end = memchr::memchr(0, data);
                    self.keep(&data[..end.unwrap_or(data.len())]);
                    data = &data[end.map_or(data.len(), |end| end + 1)..];
                    if end.is_some() {
                        self.place = InStream::Between;
                        found(&self.kept);
                    }
                }
            }
        }
    }

    fn keep(&mut self, body: &[u8]) {
        let room = KEPT_BYTES.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&body[..body.len().min(room)]);
    }
}

fn content_length(head: &[u8]) -> Option<usize> {
    let head = std::str::from_utf8(head).ok()?;
    head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
}

/// A client's WebSocket frame.
pub(super) fn masked(first_octet: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(first_octet);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(length @ ..126), _) => frame.push(0x80 | length),
        (_, Ok(length)) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        _ => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(octet, key)| octet ^ key));
    frame
}

/// A final text frame's first octet, RFC 6455 section 5.2.
pub(super) const TEXT: u8 = 0x81;

const PONG: u8 = 0x8a;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// Enough for the heads of all brokers that were looked at, and the stamp.
const KEPT_BYTES: usize = 1024;

/// From the body's first octet to behind the stamp, with quotes escaped.
const STAMP_BYTES: usize = 48;

const QUOTED_NUL: &[u8] = br"\u0000";

#[cfg(test)]
mod tests;
