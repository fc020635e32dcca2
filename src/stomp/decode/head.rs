//! The search for the end of a head, line by line, under its limits.

use std::mem;

use bytes::{Buf, Bytes};
use memchr::memchr2;

use super::body::Body;
use super::{parse_head, takes_crlf};
use crate::stomp::decode_error::DecodeError;
use crate::stomp::{Limits, Version};

/// A head that is not complete yet.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The octets of earlier chunks.
    earlier: Vec<u8>,
    /// Complete lines, the command's included.
    lines: usize,
    /// Where the current line begins, from the head's first octet.
    line_start: usize,
}

impl Head {
    /// Octets of it that are there.
    pub(super) fn held_bytes(&self) -> usize {
        self.earlier.len()
    }

    /// Looks for the blank line; gives the offset behind it in the chunk. Without one the
    /// chunk is kept and emptied.
    pub(super) fn scan(
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
    pub(super) fn finish(
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

/// The part of [`Limits`] that the wire needs, in little space.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) command: usize,
    pub(super) headers: usize,
    pub(super) header_line: usize,
    pub(super) head: usize,
    pub(super) body: usize,
    pub(super) unconnected: usize,
}

impl Bounds {
    pub(super) fn head_max(&self, version: Option<Version>) -> usize {
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
