//! Octets to frames, however the octets are cut.
//!
//! Each octet is looked at once: the scan for line ends remembers how far it came, and the
//! head is parsed when it is complete. A body that lies whole in one pushed `Bytes`, and is most of
//! it, is a slice of it; any other is copied once, into memory of its own.

use std::collections::VecDeque;
use std::mem;

use bytes::Bytes;
use memchr::memchr;
use nom::bytes::complete::{tag, take_until, take_until1};
use nom::combinator::rest;
use nom::sequence::{separated_pair, terminated};
use nom::{IResult, Parser as _};

use self::body::Body;
use self::head::{Bounds, Head};
use super::decode_error::{DecodeError, clipped};
use super::escape::unescape;
use super::frame::{Command, Escaping, Frame};
use super::{Limits, Version};
use crate::message::Header;

mod body;
mod head;

/// Takes octets in any cut and gives frames.
///
/// Line ends between frames are heart-beats and are swallowed.
#[derive(Debug)]
pub struct Decoder {
    limits: Bounds,
    version: Option<Version>,
    failed: bool,
    chunk: Bytes,
    /// Octets of the chunk when it was pushed, up to 4 GiB: what a slice of it keeps in memory.
    pushed: u32,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    state: State,
}

impl Decoder {
    /// A decoder before CONNECTED. Limits beyond 4 GiB count as 4 GiB.
    pub fn new(limits: &Limits) -> Self {
        Self {
            limits: Bounds::from(limits),
            version: None,
            failed: false,
            chunk: Bytes::new(),
            pushed: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            state: State::Head(Head::default()),
        }
    }

    /// The version of all that follows.
    pub fn set_version(&mut self, version: Version) {
        self.version = Some(version);
    }

    /// Takes octets; they wait, uncopied, until [`Decoder::next`] comes to them.
    pub fn push(&mut self, octets: Bytes) {
        if self.failed || octets.is_empty() {
            return;
        }
        if self.chunk.is_empty() {
            self.set_chunk(octets);
        } else {
            self.waiting_bytes += octets.len() + size_of::<Bytes>();
            self.waiting.push_back(octets);
        }
    }

    /// Octets of memory for what was pushed and not yet looked at: a flood of tiny pieces
    /// costs more than its octets.
    pub fn waiting_bytes(&self) -> usize {
        self.chunk.len() + self.waiting_bytes
    }

    /// As [`Decoder::waiting_bytes`], with what is there of a frame that is not complete.
    pub fn held_bytes(&self) -> usize {
        let of_frame = match &self.state {
            State::Head(head) => head.held_bytes(),
            State::Body(body) => body.earlier.len(),
        };
        self.waiting_bytes() + of_frame
    }

    /// The next frame; `None` when more octets are needed, and for ever after an error.
    ///
    /// # Errors
    /// What the peer did wrong. Nothing can be decoded after it.
    #[expect(clippy::should_implement_trait, reason = "an error ends it, and `None` does not")]
    pub fn next(&mut self) -> Result<Option<Frame>, DecodeError> {
        loop {
            if self.chunk.is_empty() {
                let Some(chunk) = self.waiting.pop_front() else {
                    self.release();
                    return Ok(None);
                };
                self.waiting_bytes -= chunk.len() + size_of::<Bytes>();
                self.set_chunk(chunk);
            }
            match self.step() {
                Ok(None) => {}
                Ok(frame) => return Ok(frame),
                Err(error) => {
                    self.failed = true;
                    self.clear();
                    return Err(error);
                }
            }
        }
    }

    /// Forgets all octets, for a session that ends.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
        self.state = State::Head(Head::default());
        self.release();
    }

    fn set_chunk(&mut self, chunk: Bytes) {
        self.pushed = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        self.chunk = chunk;
    }

    /// An empty `Bytes` may still hold on to the transport's read buffer.
    fn release(&mut self) {
        self.chunk = Bytes::new();
        if self.waiting.capacity() > 0 {
            self.waiting = VecDeque::new();
        }
    }

    fn step(&mut self) -> Result<Option<Frame>, DecodeError> {
        let mut body = match &mut self.state {
            State::Body(body) => {
                if !body.take(&mut self.chunk, self.pushed as usize)? {
                    return Ok(None);
                }
                let frame = mem::replace(&mut body.frame, Frame::new(Command::Send));
                self.state = State::Head(Head::default());
                return Ok(Some(frame));
            }
            State::Head(head) => match head.scan(&mut self.chunk, &self.limits, self.version)? {
                Some(end) => head.finish(end, &mut self.chunk, &self.limits, self.version)?,
                None => return Ok(None),
            },
        };
        if body.take(&mut self.chunk, self.pushed as usize)? {
            return Ok(Some(body.frame));
        }
        self.state = State::Body(Box::new(body));
        Ok(None)
    }
}

#[derive(Debug)]
enum State {
    Head(Head),
    Body(Box<Body>),
}

/// Parses a head that ends with its blank line.
fn parse_head(head: &[u8], version: Option<Version>) -> Result<Frame, DecodeError> {
    let (mut unparsed, command) = line(head, version);
    let Some(command) = Command::parse(command) else {
        return Err(DecodeError::UnknownCommand { command: clipped(&String::from_utf8_lossy(command)) });
    };
    let mut frame = Frame::new(command);
    let escaping = command.escaping(version);
    loop {
        let (after, text) = line(unparsed, version);
        if text.is_empty() {
            return Ok(frame);
        }
        let (name, value) = header(text, version, escaping)?;
        // STOMP 1.2 "Repeated Header Entries": only the first counts.
        if frame.header(&name).is_none() {
            frame.headers.push((name, value));
        }
        unparsed = after;
    }
}

/// One line without its EOL, and what follows it. A text without EOL is a line, too.
fn line(input: &[u8], version: Option<Version>) -> (&[u8], &[u8]) {
    let (rest, line) = ended(input).unwrap_or((&[], input));
    // STOMP 1.2 "Augmented BNF": EOL is [CR] LF. Before 1.2 a CR belongs to the text.
    let line = if takes_crlf(version) { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
    (rest, line)
}

/// One header line: `name:value`, split at the first colon.
fn header(line: &[u8], version: Option<Version>, escaping: Escaping) -> Result<Header, DecodeError> {
    if version == Some(Version::V1_2) && memchr(b'\r', line).is_some() {
        return Err(DecodeError::LoneCarriageReturn { line: clipped(&String::from_utf8_lossy(line)) });
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Err(DecodeError::HeaderNotUtf8 { line: clipped(&String::from_utf8_lossy(line)) });
    };
    let Ok((_, (mut name, mut value))) = parted(text) else {
        return Err(DecodeError::NotAHeader { line: clipped(text) });
    };
    if version == Some(Version::V1_0) {
        // STOMP 1.0 writes `destination: /queue/a` in its own examples.
        (name, value) = (name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        if name.is_empty() {
            return Err(DecodeError::NotAHeader { line: clipped(text) });
        }
    }
    let plain = |part| {
        unescape(part, escaping)
            .map_err(|undefined| DecodeError::UndefinedEscape { escaped: undefined.escaped, line: clipped(text) })
    };
    Ok((plain(name)?.into(), plain(value)?.into()))
}

fn ended(input: &[u8]) -> IResult<&[u8], &[u8]> {
    terminated(take_until("\n"), tag("\n")).parse(input)
}

fn parted(line: &str) -> IResult<&str, (&str, &str)> {
    separated_pair(take_until1(":"), tag(":"), rest).parse(line)
}

/// Before CONNECTED the version is not known, so a CRLF is taken there, too.
fn takes_crlf(version: Option<Version>) -> bool {
    matches!(version, None | Some(Version::V1_2))
}

#[cfg(test)]
mod tests;
