//! Octets to frames, however the octets are cut.
//!
//! Each octet is looked at once: the scan for line ends remembers how far it came, and the
//! head is parsed when it is complete. A body that lies whole in one pushed `Bytes` is a
//! slice of it; any other is copied once, into memory that is taken when its first octet came.

use std::collections::VecDeque;
use std::mem;

use bytes::{Buf, Bytes};
use memchr::{memchr, memchr2};

use super::decode_error::{DecodeError, clipped};
use super::escape::unescape;
use super::frame::{Command, Escaping, Frame};
use super::{Limits, Version};
use crate::message::Header;

/// Takes octets in any cut and gives frames.
///
/// Line ends between frames are heart-beats and are swallowed.
#[derive(Debug)]
pub struct Decoder {
    limits: Bounds,
    version: Option<Version>,
    failed: bool,
    chunk: Bytes,
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
            self.chunk = octets;
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
                self.chunk = chunk;
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
                if !body.take(&mut self.chunk)? {
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
        if body.take(&mut self.chunk)? {
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

/// A head that is not complete yet.
#[derive(Debug, Default)]
struct Head {
    /// The octets of earlier chunks.
    earlier: Vec<u8>,
    /// Complete lines, the command's included.
    lines: usize,
    /// Where the current line begins, from the head's first octet.
    line_start: usize,
}

impl Head {
    /// Looks for the blank line; gives the offset behind it in the chunk. Without one the
    /// chunk is kept and emptied.
    fn scan(
        &mut self,
        chunk: &mut Bytes,
        limits: &Bounds,
        version: Option<Version>,
    ) -> Result<Option<usize>, DecodeError> {
        let mut from = 0;
        while let Some(found) = memchr2(b'\n', 0, &chunk[from..]) {
            let end = from + found;
            let line = self.line_len(chunk, end, version);
            self.check_line(line, limits, version)?;
            if chunk[end] == 0 {
                return Err(if self.lines == 0 { DecodeError::NulBeforeHeaders } else { DecodeError::NulInHead });
            }
            if line == 1 && self.lines > 0 && self.last(chunk, end) == Some(&b'\r') {
                return Err(DecodeError::CrlfBefore1_2);
            }
            from = end + 1;
            if line > 0 {
                self.lines += 1;
                self.check_count(limits)?;
                self.line_start = self.earlier.len() + from;
            } else if self.lines > 0 {
                return Ok(Some(from));
            } else {
                // STOMP 1.2 "Heart-beating": an EOL between frames is one.
                self.earlier.clear();
                chunk.advance(from);
                from = 0;
            }
        }
        let line = self.line_len(chunk, chunk.len(), version);
        self.check_line(line, limits, version)?;
        self.earlier.extend_from_slice(chunk);
        *chunk = Bytes::new();
        Ok(None)
    }

    /// The current line's length up to `end` in the chunk, less the CR of its EOL.
    fn line_len(&self, chunk: &[u8], end: usize, version: Option<Version>) -> usize {
        let len = self.earlier.len() + end - self.line_start;
        // A CRLF between frames is no harm in any version.
        let crlf = takes_crlf(version) || (self.lines == 0 && len == 1);
        if len > 0 && crlf && self.last(chunk, end) == Some(&b'\r') { len - 1 } else { len }
    }

    /// The octet in front of `end` in the chunk.
    fn last<'a>(&'a self, chunk: &'a [u8], end: usize) -> Option<&'a u8> {
        if end > 0 { chunk.get(end - 1) } else { self.earlier.last() }
    }

    /// Names the limit that was crossed first, so that the error does not depend on the cut.
    fn check_line(&self, len: usize, limits: &Bounds, version: Option<Version>) -> Result<(), DecodeError> {
        let line_max = if self.lines == 0 { limits.command } else { limits.header_line };
        let head_max = limits.head_max(version);
        if len > line_max && self.line_start + line_max <= head_max {
            let (size, max) = (line_max + 1, line_max);
            return Err(if self.lines == 0 {
                DecodeError::CommandTooLong { size, max }
            } else {
                DecodeError::HeaderTooLong { size, max }
            });
        }
        if self.line_start + len > head_max {
            let (size, max) = (head_max + 1, head_max);
            return Err(if head_max < limits.head {
                DecodeError::FrameTooLongBeforeConnected { size, max }
            } else {
                DecodeError::HeadTooLong { size, max }
            });
        }
        Ok(())
    }

    fn check_count(&self, limits: &Bounds) -> Result<(), DecodeError> {
        let count = self.lines - 1;
        if count > limits.headers {
            return Err(DecodeError::TooManyHeaders { count, max: limits.headers });
        }
        Ok(())
    }

    /// Parses the complete head and leaves the chunk at the body.
    fn finish(
        &mut self,
        end: usize,
        chunk: &mut Bytes,
        limits: &Bounds,
        version: Option<Version>,
    ) -> Result<Body, DecodeError> {
        let Self { mut earlier, .. } = mem::take(self);
        let (frame, head_len) = if earlier.is_empty() {
            (parse_head(&chunk[..end], version)?, end)
        } else {
            earlier.extend_from_slice(&chunk[..end]);
            (parse_head(&earlier, version)?, earlier.len())
        };
        chunk.advance(end);
        Body::new(frame, head_len, limits, version)
    }
}

/// A frame whose body is not complete yet.
#[derive(Debug)]
struct Body {
    frame: Frame,
    length: Option<usize>,
    earlier: Vec<u8>,
    bound: BodyBound,
}

impl Body {
    fn new(frame: Frame, head_len: usize, limits: &Bounds, version: Option<Version>) -> Result<Self, DecodeError> {
        let length = content_length(&frame, version)?;
        let bound = if version == Some(Version::V1_2) && !frame.command.carries_body() {
            BodyBound::Forbidden
        } else if version.is_none() && limits.unconnected.saturating_sub(head_len) < limits.body {
            BodyBound::Unconnected { head_len, max: limits.unconnected }
        } else {
            BodyBound::Body { max: limits.body }
        };
        // STOMP 1.2 "Size Limits": known before any octet of the body came.
        if let Some(length) = length {
            bound.check(length, length, frame.command)?;
        }
        Ok(Self { frame, length, earlier: Vec::new(), bound })
    }

    /// Takes what the chunk has; says whether the frame is complete.
    fn take(&mut self, chunk: &mut Bytes) -> Result<bool, DecodeError> {
        match self.length {
            Some(length) => self.take_counted(length, chunk),
            None => self.take_to_nul(chunk),
        }
    }

    // STOMP 1.2 "Header content-length": counts octets, so that a body may hold NULs.
    fn take_counted(&mut self, length: usize, chunk: &mut Bytes) -> Result<bool, DecodeError> {
        if self.earlier.is_empty() && chunk.len() > length {
            if length > 0 {
                self.frame.body = chunk.split_to(length);
            }
        } else {
            if chunk.is_empty() {
                return Ok(false);
            }
            // The system hands out large memory page by page as it is written to, so a
            // promise of octets that never come costs next to nothing.
            if self.earlier.capacity() == 0 {
                self.earlier.reserve_exact(length);
            }
            let taken = chunk.len().min(length - self.earlier.len());
            self.earlier.extend_from_slice(&chunk[..taken]);
            chunk.advance(taken);
            if chunk.is_empty() {
                return Ok(false);
            }
            self.frame.body = Bytes::from(mem::take(&mut self.earlier));
        }
        if chunk.first() != Some(&0) {
            return Err(DecodeError::NoNulAfterBody { length });
        }
        chunk.advance(1);
        Ok(true)
    }

    fn take_to_nul(&mut self, chunk: &mut Bytes) -> Result<bool, DecodeError> {
        let nul = memchr(0, chunk);
        let len = nul.unwrap_or(chunk.len());
        self.bound.check(self.earlier.len() + len, self.bound.max() + 1, self.frame.command)?;
        if nul.is_some() && self.earlier.is_empty() {
            if len > 0 {
                self.frame.body = chunk.split_to(len);
            }
        } else {
            self.earlier.extend_from_slice(&chunk[..len]);
            chunk.advance(len);
        }
        if nul.is_none() {
            return Ok(false);
        }
        if !self.earlier.is_empty() {
            self.frame.body = Bytes::from(mem::take(&mut self.earlier));
        }
        chunk.advance(1);
        Ok(true)
    }
}

/// How long a body may be, and what it means if it is longer.
#[derive(Debug, Clone, Copy)]
enum BodyBound {
    Forbidden,
    Unconnected { head_len: usize, max: usize },
    Body { max: usize },
}

impl BodyBound {
    fn max(self) -> usize {
        match self {
            Self::Forbidden => 0,
            Self::Unconnected { head_len, max } => max.saturating_sub(head_len),
            Self::Body { max } => max,
        }
    }

    /// `size` is what the error says.
    fn check(self, len: usize, size: usize, command: Command) -> Result<(), DecodeError> {
        if len <= self.max() {
            return Ok(());
        }
        Err(match self {
            // STOMP 1.2 "Body": all other frames must not have a body.
            Self::Forbidden => DecodeError::BodyNotAllowed { command },
            Self::Unconnected { head_len, max } => {
                DecodeError::FrameTooLongBeforeConnected { size: head_len.saturating_add(size), max }
            }
            Self::Body { max } => DecodeError::BodyTooLong { size, max },
        })
    }
}

/// The part of [`Limits`] that the wire needs, in little space.
#[derive(Debug)]
struct Bounds {
    command: usize,
    headers: usize,
    header_line: usize,
    head: usize,
    body: usize,
    unconnected: usize,
}

impl Bounds {
    fn head_max(&self, version: Option<Version>) -> usize {
        if version.is_none() { self.head.min(self.unconnected) } else { self.head }
    }
}

impl From<&Limits> for Bounds {
    fn from(limits: &Limits) -> Self {
        Self {
            command: limits.command_bytes,
            headers: limits.headers,
            header_line: limits.header_line_bytes,
            head: limits.head_bytes,
            body: limits.body_bytes,
            unconnected: limits.unconnected_frame_bytes,
        }
    }
}

/// Parses a head that ends with its blank line.
fn parse_head(head: &[u8], version: Option<Version>) -> Result<Frame, DecodeError> {
    let (mut rest, command) = line(head, version);
    let Some(command) = Command::parse(command) else {
        return Err(DecodeError::UnknownCommand { command: clipped(&String::from_utf8_lossy(command)) });
    };
    let mut frame = Frame::new(command);
    let escaping = command.escaping(version);
    loop {
        let (after, text) = line(rest, version);
        if text.is_empty() {
            return Ok(frame);
        }
        let (name, value) = header(text, version, escaping)?;
        // STOMP 1.2 "Repeated Header Entries": only the first counts.
        if frame.header(&name).is_none() {
            frame.headers.push((name, value));
        }
        rest = after;
    }
}

/// One line without its EOL, and what follows it. A text without EOL is a line, too.
fn line(input: &[u8], version: Option<Version>) -> (&[u8], &[u8]) {
    use nom::Parser as _;
    let split: Result<_, nom::Err<nom::error::Error<&[u8]>>> =
        nom::sequence::terminated(nom::bytes::complete::take_until("\n"), nom::bytes::complete::tag("\n")).parse(input);
    let (rest, line) = split.unwrap_or((&[], input));
    // STOMP 1.2 "Augmented BNF": EOL is [CR] LF. Before 1.2 a CR belongs to the text.
    let line = if takes_crlf(version) { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
    (rest, line)
}

/// One header line: `name:value`, split at the first colon.
fn header(line: &[u8], version: Option<Version>, escaping: Escaping) -> Result<Header, DecodeError> {
    use nom::Parser as _;
    if version == Some(Version::V1_2) && memchr(b'\r', line).is_some() {
        return Err(DecodeError::LoneCarriageReturn { line: clipped(&String::from_utf8_lossy(line)) });
    }
    let Ok(text) = std::str::from_utf8(line) else {
        return Err(DecodeError::HeaderNotUtf8 { line: clipped(&String::from_utf8_lossy(line)) });
    };
    let parts: Result<(&str, (&str, &str)), nom::Err<nom::error::Error<&str>>> = nom::sequence::separated_pair(
        nom::bytes::complete::take_until1(":"),
        nom::bytes::complete::tag(":"),
        nom::combinator::rest,
    )
    .parse(text);
    let Ok((_, (mut name, mut value))) = parts else {
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

fn content_length(frame: &Frame, version: Option<Version>) -> Result<Option<usize>, DecodeError> {
    let Some(value) = frame.header("content-length") else { return Ok(None) };
    let digits = if version.is_none() { value.trim_matches([' ', '\t']) } else { value };
    let is_number = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    match digits.parse() {
        Ok(length) if is_number => Ok(Some(length)),
        _ => Err(DecodeError::BadContentLength { value: clipped(value) }),
    }
}

/// Before CONNECTED the version is not known, so a CRLF is taken there, too.
fn takes_crlf(version: Option<Version>) -> bool {
    matches!(version, None | Some(Version::V1_2))
}

#[cfg(test)]
mod tests;
