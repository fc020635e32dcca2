//! The body of a frame: counted, or up to the first NUL.

use std::mem;

use bytes::{Buf, Bytes};
use memchr::memchr;

use super::head::Bounds;
use crate::stomp::Version;
use crate::stomp::decode_error::{DecodeError, clipped};
use crate::stomp::frame::{Command, Frame};

/// A frame whose body is not complete yet.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) frame: Frame,
    length: Option<usize>,
    pub(super) earlier: Vec<u8>,
    bound: BodyBound,
}

impl Body {
    pub(super) fn new(
        frame: Frame,
        head_len: usize,
        limits: &Bounds,
        version: Option<Version>,
    ) -> Result<Self, DecodeError> {
        // STOMP 1.0 "SEND", "MESSAGE", "ERROR": only they have one. Clients of that time send all
        // headers of a MESSAGE back with its ACK.
        let is_counted = version != Some(Version::V1_0) || frame.command.carries_body();
        let length = if is_counted { content_length(&frame, version)? } else { None };
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

    /// Takes what the chunk has, which was `pushed` octets when it came; says whether the frame is
    /// complete.
    pub(super) fn take(&mut self, chunk: &mut Bytes, pushed: usize) -> Result<bool, DecodeError> {
        match self.length {
            Some(length) => self.take_counted(length, chunk, pushed),
            None => self.take_to_nul(chunk, pushed),
        }
    }

    // STOMP 1.2 "Header content-length": counts octets, so that a body may hold NULs.
    fn take_counted(&mut self, length: usize, chunk: &mut Bytes, pushed: usize) -> Result<bool, DecodeError> {
        if self.earlier.is_empty() && chunk.len() > length {
            self.frame.body = split_to(chunk, length, pushed);
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

    fn take_to_nul(&mut self, chunk: &mut Bytes, pushed: usize) -> Result<bool, DecodeError> {
        let nul = memchr(0, chunk);
        let len = nul.unwrap_or(chunk.len());
        self.bound.check(self.earlier.len() + len, self.bound.max() + 1, self.frame.command)?;
        if nul.is_some() && self.earlier.is_empty() {
            self.frame.body = split_to(chunk, len, pushed);
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

/// A body that is most of what was pushed is a slice of it. A smaller one is copied: it may be kept
/// for long, in places that count its own octets and not those that a slice would keep with it.
fn split_to(chunk: &mut Bytes, len: usize, pushed: usize) -> Bytes {
    if len == 0 {
        return Bytes::new();
    }
    let body = chunk.split_to(len);
    if len >= pushed / 2 { body } else { Bytes::copy_from_slice(&body) }
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

fn content_length(frame: &Frame, version: Option<Version>) -> Result<Option<usize>, DecodeError> {
    let Some(value) = frame.header("content-length") else { return Ok(None) };
    let digits = if version.is_none() { value.trim_matches([' ', '\t']) } else { value };
    let is_number = !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit());
    match digits.parse() {
        Ok(length) if is_number => Ok(Some(length)),
        _ => Err(DecodeError::BadContentLength { value: clipped(value) }),
    }
}
