//! What lies below STOMP and SockJS: WebSocket frames, and the chunks of HTTP/1.1.

use std::io;

/// A server's WebSocket frames, in any cut.
#[derive(Default)]
pub(super) struct WebSocket {
    head: [u8; 10],
    head_len: usize,
    /// Octets of the frame's payload that are to come; `None` within a head.
    left: Option<u64>,
    control: Vec<u8>,
    is_compressed: bool,
}

/// What a WebSocket frame brought.
pub(super) enum Part<'a> {
    /// A part of a message.
    Data(&'a [u8]),
    /// The message's end, and whether it is compressed.
    End(bool),
    /// A ping, to be answered with the same octets.
    Ping(&'a [u8]),
}

impl WebSocket {
    pub(super) fn feed(
        &mut self,
        mut octets: &[u8],
        take: &mut impl FnMut(Part<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let left = match self.left {
                Some(left) => left,
                None => match self.read_head(&mut octets) {
                    Some(left) => left,
                    None => return Ok(()),
                },
            };
            let count = usize::try_from(left).unwrap_or(usize::MAX).min(octets.len());
            let (payload, rest) = octets.split_at(count);
            octets = rest;
            let left = left - count as u64;
            self.left = Some(left);
            let opcode = self.head[0] & 0x0f;
            if opcode == 1 || opcode == 2 {
                self.is_compressed = self.head[0] & RSV1 != 0;
            }
            if opcode < 8 {
                take(Part::Data(payload))?;
            } else {
                self.control.extend_from_slice(payload);
            }
            if left > 0 {
                return Ok(());
            }
            self.left = None;
            match opcode {
                0..8 if self.head[0] & 0x80 != 0 => take(Part::End(self.is_compressed))?,
                8 => return Err(closed(&self.control)),
                9 => take(Part::Ping(&self.control))?,
                _ => {}
            }
            self.control.clear();
        }
    }

    /// The payload's length, as soon as the head is whole.
    fn read_head(&mut self, octets: &mut &[u8]) -> Option<u64> {
        loop {
            let extended = match self.head[1] & 0x7f {
                126 if self.head_len >= 2 => 2,
                127 if self.head_len >= 2 => 8,
                _ => 0,
            };
            let wanted = 2 + extended - self.head_len;
            let count = wanted.min(octets.len());
            let (now, rest) = octets.split_at(count);
            self.head[self.head_len..self.head_len + count].copy_from_slice(now);
            *octets = rest;
            self.head_len += count;
            if count < wanted {
                return None;
            }
            if self.head_len > 2 || self.head[1] & 0x7f < 126 {
                self.head_len = 0;
                let length = self.head[2..2 + extended].iter().fold(0, |length, octet| length << 8 | u64::from(*octet));
                return Some(if extended == 0 { u64::from(self.head[1] & 0x7f) } else { length });
            }
        }
    }
}

/// RFC 7692 section 6: the message is compressed.
const RSV1: u8 = 0x40;

fn closed(payload: &[u8]) -> io::Error {
    let text = match payload.split_first_chunk::<2>() {
        Some((code, reason)) => format!("{} {}", u16::from_be_bytes(*code), String::from_utf8_lossy(reason)),
        None => "no code".into(),
    };
    io::Error::other(format!("the broker closed: {text}"))
}

/// The body of a chunked HTTP response, in any cut.
#[derive(Default)]
pub(super) struct Chunks {
    place: InChunks,
    line: Vec<u8>,
    is_over: bool,
}

#[derive(Default, Clone, Copy)]
enum InChunks {
    #[default]
    Head,
    Size,
    Data(usize),
    /// The empty line behind a chunk; of the last one, the end.
    Behind(bool),
}

impl Chunks {
    pub(super) fn feed(&mut self, mut octets: &[u8], take: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        while !octets.is_empty() {
            if let InChunks::Data(left) = self.place {
                let (data, rest) = octets.split_at(left.min(octets.len()));
                octets = rest;
                take(data)?;
                let left = left - data.len();
                self.place = if left == 0 { InChunks::Behind(false) } else { InChunks::Data(left) };
                continue;
            }
            let end = memchr::memchr(b'\n', octets);
            let (line, rest) = octets.split_at(end.map_or(octets.len(), |end| end + 1));
            octets = rest;
            self.line.extend_from_slice(line);
            if end.is_some() {
                self.on_line()?;
            }
        }
        Ok(())
    }

    /// Whether the response has ended since the last time it was asked.
    pub(super) fn take_over(&mut self) -> bool {
        std::mem::take(&mut self.is_over)
    }

    fn on_line(&mut self) -> io::Result<()> {
        let line = String::from_utf8_lossy(self.line.trim_ascii()).into_owned();
        self.line.clear();
        self.place = match self.place {
            InChunks::Head if line.starts_with("HTTP/") && !line.contains(" 200") => {
                return Err(io::Error::other(format!("the broker answered: {line}")));
            }
            InChunks::Head if line.is_empty() => InChunks::Size,
            InChunks::Head => InChunks::Head,
            InChunks::Size => {
                let size = line.split(';').next().unwrap_or("");
                match usize::from_str_radix(size, 16) {
                    Ok(0) => InChunks::Behind(true),
                    Ok(size) => InChunks::Data(size),
                    Err(_) => return Err(io::Error::other(format!("{line:?} is not the size of a chunk"))),
                }
            }
            InChunks::Behind(is_last) => {
                self.is_over |= is_last;
                if is_last { InChunks::Head } else { InChunks::Size }
            }
            InChunks::Data(_) => self.place,
        };
        Ok(())
    }
}
