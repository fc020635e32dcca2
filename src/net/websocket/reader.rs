//! WebSocket frames in (RFC 6455), without a socket: octets to messages.

use std::collections::VecDeque;
use std::io::Cursor;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::inflating::{InflateError, Inflating, Permit, READ_BYTES, TURN_BYTES};

/// Assembles a client's frames to messages. Holds no memory between messages.
#[derive(Debug)]
pub struct Reader {
    max_message_bytes: usize,
    /// Whether permessage-deflate was agreed on.
    inflates: bool,
    /// Whether the message whose fragments are coming is compressed.
    is_compressed: bool,
    head: [u8; MAX_HEAD_BYTES],
    head_len: u8,
    frame: Option<Frame>,
    /// The opcode of the message whose fragments are coming.
    message_opcode: Option<Data>,
    message: BytesMut,
    /// How much of a text message is known to be UTF-8.
    checked: usize,
    control: BytesMut,
    behind: Option<Box<Behind>>,
}

/// A compressed message that takes more than one turn.
#[derive(Debug)]
struct Behind {
    /// Nothing as long as others have the permit.
    begun: Option<Begun>,
    /// Once it was asked for.
    permit: Option<Permit>,
    is_text: bool,
    /// The message as it came, and how much of it was taken.
    message: Bytes,
    used: usize,
    /// What came after it.
    rest: BytesMut,
}

/// A compressed message of which something may be made already.
#[derive(Debug)]
struct Begun {
    inflating: Inflating,
    max: usize,
    is_text: bool,
    /// How much of a text message is known to be UTF-8.
    checked: usize,
}

/// What a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole text message; it is UTF-8.
    Text(Bytes),
    /// A whole binary message.
    Binary(Bytes),
    /// A ping, to be answered with the same octets.
    Ping(Bytes),
    /// A pong.
    Pong,
    /// The client closes, with this code if it gave one.
    Close(Option<u16>),
}

/// What a client did against the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame that RFC 6455 does not allow.
    #[error("{0}")]
    Protocol(&'static str),
    /// A text message or close reason that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A compressed message that cannot be decompressed.
    #[error("a compressed message is not what DEFLATE makes")]
    NotDeflate,
    /// A message over the limit.
    #[error("the message has {size} octets or more; at most {max} are allowed")]
    TooLong {
        /// Octets known so far.
        size: u64,
        /// The limit.
        max: usize,
    },
}

impl Violation {
    /// RFC 6455 section 7.4.1.
    pub fn close_code(&self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::NotUtf8 | Self::NotDeflate => 1007,
            Self::TooLong { .. } => 1009,
        }
    }
}

/// The frame whose payload is coming.
#[derive(Debug, Clone, Copy)]
struct Frame {
    opcode: OpCode,
    is_final: bool,
    mask: [u8; 4],
    left: u64,
}

impl Reader {
    /// Makes a reader that refuses messages over that many octets, decompressed.
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            inflates: false,
            is_compressed: false,
            head: [0; MAX_HEAD_BYTES],
            head_len: 0,
            frame: None,
            message_opcode: None,
            message: BytesMut::new(),
            checked: 0,
            control: BytesMut::new(),
            behind: None,
        }
    }

    /// Takes compressed messages too, as RFC 7692 has them without context takeover.
    pub fn inflating(self) -> Self {
        Self { inflates: true, ..self }
    }

    /// Takes octets in any cut, unmasks them in place, and adds what is complete to `events`.
    /// Answers how many frames ended that ended no message. Where that would take longer than
    /// others can wait for, it [is behind](Self::is_behind) and keeps what it did not come to.
    ///
    /// # Errors
    /// The client broke the protocol; the connection is to be closed with
    /// [`Violation::close_code`].
    pub fn feed(&mut self, octets: &mut [u8], events: &mut VecDeque<Event>) -> Result<usize, Violation> {
        let mut budget = READ_BYTES;
        self.read(octets, events, &mut budget)
    }

    /// Whether octets wait that were given to it already.
    pub fn is_behind(&self) -> bool {
        self.behind.is_some()
    }

    /// Asks for the permit to go on where it is behind. As long as others have that, what was made of
    /// the message is given up: who waits holds no more than it was sent.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn ask(&mut self) {
        if let Some(behind) = &mut self.behind
            && behind.permit.is_none()
        {
            let permit = behind.permit.insert(Permit::ask());
            if !permit.is_held() {
                behind.set_back();
            }
        }
    }

    /// Ready when [`Reader::resume`] may be called.
    ///
    /// # Panics
    /// As [`Reader::ask`].
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ask();
        let permit = self.behind.as_mut().and_then(|behind| behind.permit.as_mut());
        permit.map_or(Poll::Ready(()), |permit| permit.poll(cx))
    }

    /// Goes on with what waits, for one more turn. Answers how many octets it came to behind the
    /// message, and how many frames ended among them that ended no message.
    ///
    /// # Errors
    /// As for [`Reader::feed`].
    pub fn resume(&mut self, events: &mut VecDeque<Event>) -> Result<(usize, usize), Violation> {
        let Some(mut behind) = self.behind.take() else { return Ok((0, 0)) };
        let mut budget = TURN_BYTES;
        let Some(event) = behind.advance(self.max_message_bytes, &mut budget)? else {
            self.behind = Some(behind);
            return Ok((0, 0));
        };
        events.push_back(event);
        let mut rest = std::mem::take(&mut behind.rest);
        Ok((rest.len(), self.read(&mut rest, events, &mut budget)?))
    }

    fn read(
        &mut self,
        mut octets: &mut [u8],
        events: &mut VecDeque<Event>,
        budget: &mut usize,
    ) -> Result<usize, Violation> {
        let mut idle_frames = 0;
        loop {
            if let Some(behind) = &mut self.behind {
                behind.rest.extend_from_slice(octets);
                return Ok(idle_frames);
            }
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.read_head(&mut octets)? {
                    Some(frame) => frame,
                    None => return Ok(idle_frames),
                },
            };
            let take = usize::try_from(frame.left).unwrap_or(usize::MAX).min(octets.len());
            let (payload, rest) = std::mem::take(&mut octets).split_at_mut(take);
            octets = rest;
            self.on_payload(frame, payload, events, budget)?;
            match self.frame {
                None if frame.is_final && matches!(frame.opcode, OpCode::Data(_)) => {}
                None => idle_frames += 1,
                Some(_) if octets.is_empty() => return Ok(idle_frames),
                Some(_) => {}
            }
        }
    }

    /// Reads a frame's head, and checks it before a payload octet is kept.
    fn read_head(&mut self, octets: &mut &mut [u8]) -> Result<Option<Frame>, Violation> {
        let had = usize::from(self.head_len);
        let take = octets.len().min(MAX_HEAD_BYTES - had);
        self.head[had..had + take].copy_from_slice(&octets[..take]);
        let mut cursor = Cursor::new(&self.head[..had + take]);
        let parsed =
            FrameHeader::parse(&mut cursor).map_err(|_| Violation::Protocol("a frame has a reserved opcode"))?;
        let Some((header, payload_len)) = parsed else {
            self.head_len = u8::try_from(had + take).unwrap_or(0);
            *octets = &mut [];
            return Ok(None);
        };
        let used = usize::try_from(cursor.position()).unwrap_or(0) - had;
        *octets = &mut std::mem::take(octets)[used..];
        self.head_len = 0;
        let frame = self.check_head(&header, payload_len)?;
        self.frame = Some(frame);
        Ok(self.frame)
    }

    fn check_head(&mut self, header: &FrameHeader, payload_len: u64) -> Result<Frame, Violation> {
        // RFC 6455 section 5.2
        if header.rsv2 || header.rsv3 || (header.rsv1 && !self.inflates) {
            return Err(Violation::Protocol("a frame has reserved bits set, and no extension was agreed on"));
        }
        // RFC 7692 section 6.1
        if header.rsv1 && !matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary)) {
            return Err(Violation::Protocol("only the first frame of a message says that it is compressed"));
        }
        // RFC 6455 section 5.1
        let Some(mask) = header.mask else {
            return Err(Violation::Protocol("a client's frames must be masked"));
        };
        match header.opcode {
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                return Err(Violation::Protocol("a frame has a reserved opcode"));
            }
            // RFC 6455 section 5.5
            OpCode::Control(_) if !header.is_final => {
                return Err(Violation::Protocol("a control frame must not be fragmented"));
            }
            OpCode::Control(_) if payload_len > 125 => {
                return Err(Violation::Protocol("a control frame has at most 125 octets"));
            }
            OpCode::Control(_) => {}
            // RFC 6455 section 5.4
            OpCode::Data(Data::Continue) if self.message_opcode.is_none() => {
                return Err(Violation::Protocol("a continuation frame continues nothing"));
            }
            OpCode::Data(Data::Text | Data::Binary) if self.message_opcode.is_some() => {
                return Err(Violation::Protocol("a new message began before the last one ended"));
            }
            OpCode::Data(data) => {
                let is_compressed = if data == Data::Continue { self.is_compressed } else { header.rsv1 };
                let size = payload_len.saturating_add(self.message.len() as u64);
                // What cannot be compressed becomes a little longer.
                let slack = if is_compressed { self.max_message_bytes / 1024 + DEFLATE_SLACK_BYTES } else { 0 };
                if size > self.max_message_bytes.saturating_add(slack) as u64 {
                    return Err(Violation::TooLong { size, max: self.max_message_bytes });
                }
                self.is_compressed = is_compressed;
            }
        }
        Ok(Frame { opcode: header.opcode, is_final: header.is_final, mask, left: payload_len })
    }

    fn on_payload(
        &mut self,
        mut frame: Frame,
        payload: &mut [u8],
        events: &mut VecDeque<Event>,
        budget: &mut usize,
    ) -> Result<(), Violation> {
        unmask(payload, frame.mask);
        frame.mask.rotate_left(payload.len() % 4);
        frame.left -= payload.len() as u64;
        let is_complete = frame.left == 0;
        self.frame = (!is_complete).then_some(frame);
        match frame.opcode {
            OpCode::Control(control) => {
                if !is_complete {
                    self.control.extend_from_slice(payload);
                    return Ok(());
                }
                let event = if self.control.is_empty() {
                    control_event(control, payload)?
                } else {
                    self.control.extend_from_slice(payload);
                    control_event(control, &std::mem::take(&mut self.control))?
                };
                events.push_back(event);
                Ok(())
            }
            OpCode::Data(data) => self.on_data(data, &frame, payload, events, budget),
        }
    }

    fn on_data(
        &mut self,
        data: Data,
        frame: &Frame,
        payload: &[u8],
        events: &mut VecDeque<Event>,
        budget: &mut usize,
    ) -> Result<(), Violation> {
        let is_text = *self.message_opcode.get_or_insert(data) == Data::Text;
        let ends_message = frame.left == 0 && frame.is_final;
        if !ends_message || !self.message.is_empty() {
            if self.message.is_empty() {
                // The peer's word is taken for a message of usual size only.
                let announced = usize::try_from(frame.left).unwrap_or(usize::MAX).saturating_add(payload.len());
                self.message.reserve(announced.min(ANNOUNCED_BYTES));
            }
            self.message.extend_from_slice(payload);
            if is_text && !self.is_compressed {
                check_utf8(&self.message, &mut self.checked, ends_message)?;
            }
            if !ends_message {
                return Ok(());
            }
        }
        let joined = std::mem::take(&mut self.message);
        self.message_opcode = None;
        self.checked = 0;
        if std::mem::take(&mut self.is_compressed) {
            return self.on_compressed(joined.freeze(), payload, is_text, events, budget);
        }
        let message = if joined.is_empty() {
            if is_text {
                check_utf8(payload, &mut 0, true)?;
            }
            Bytes::copy_from_slice(payload)
        } else {
            joined.freeze()
        };
        events.push_back(Event::message(message, is_text));
        Ok(())
    }

    /// Takes a message from its fragments, or where there is only one, from that.
    fn on_compressed(
        &mut self,
        joined: Bytes,
        payload: &[u8],
        is_text: bool,
        events: &mut VecDeque<Event>,
        budget: &mut usize,
    ) -> Result<(), Violation> {
        let message = if joined.is_empty() { payload } else { &joined };
        if message.is_empty() {
            events.push_back(Event::message(Bytes::new(), is_text));
            return Ok(());
        }
        let mut left = message;
        let mut begun = Begun::new(self.max_message_bytes, is_text);
        if begun.advance(&mut left, budget)? {
            events.push_back(begun.finish());
            return Ok(());
        }
        let used = message.len() - left.len();
        let message = if joined.is_empty() { Bytes::copy_from_slice(payload) } else { joined };
        let behind = Behind { begun: Some(begun), permit: None, is_text, message, used, rest: BytesMut::new() };
        self.behind = Some(Box::new(behind));
        Ok(())
    }
}

impl Behind {
    /// Decompresses more of it; answers the message once it is whole.
    fn advance(&mut self, max: usize, budget: &mut usize) -> Result<Option<Event>, Violation> {
        let mut begun = self.begun.take().unwrap_or_else(|| Begun::new(max, self.is_text));
        let mut left = &self.message[self.used..];
        if begun.advance(&mut left, budget)? {
            return Ok(Some(begun.finish()));
        }
        self.used = self.message.len() - left.len();
        self.begun = Some(begun);
        Ok(None)
    }

    fn set_back(&mut self) {
        if let Some(begun) = self.begun.take() {
            begun.inflating.abandon();
        }
        self.used = 0;
    }
}

impl Begun {
    fn new(max: usize, is_text: bool) -> Self {
        Self { inflating: Inflating::new(max), max, is_text, checked: 0 }
    }

    /// Takes from the front of `message`; answers whether all of it is decompressed.
    fn advance(&mut self, message: &mut &[u8], budget: &mut usize) -> Result<bool, Violation> {
        let max = self.max;
        let is_whole = self.inflating.advance(message, budget).map_err(|error| match error {
            InflateError::Invalid => Violation::NotDeflate,
            InflateError::TooLong => Violation::TooLong { size: max as u64 + 1, max },
        })?;
        if self.is_text {
            check_utf8(self.inflating.octets(), &mut self.checked, is_whole)?;
        }
        Ok(is_whole)
    }

    fn finish(self) -> Event {
        Event::message(self.inflating.finish(), self.is_text)
    }
}

impl Event {
    fn message(octets: Bytes, is_text: bool) -> Self {
        if is_text { Self::Text(octets) } else { Self::Binary(octets) }
    }
}

/// Looks at each octet of a message once, and refuses a wrong one as soon as it is there.
fn check_utf8(message: &[u8], checked: &mut usize, is_whole: bool) -> Result<(), Violation> {
    match std::str::from_utf8(&message[*checked..]) {
        Ok(_) => *checked = message.len(),
        Err(error) if error.error_len().is_some() || is_whole => return Err(Violation::NotUtf8),
        Err(error) => *checked += error.valid_up_to(),
    }
    Ok(())
}

fn control_event(control: Control, payload: &[u8]) -> Result<Event, Violation> {
    match control {
        Control::Ping => Ok(Event::Ping(Bytes::copy_from_slice(payload))),
        Control::Pong => Ok(Event::Pong),
        Control::Close => close_event(payload),
        Control::Reserved(_) => Err(Violation::Protocol("a frame has a reserved opcode")),
    }
}

/// RFC 6455 sections 5.5.1 and 7.4.
fn close_event(payload: &[u8]) -> Result<Event, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload.len() {
            0 => Ok(Event::Close(None)),
            _ => Err(Violation::Protocol("a close frame has no whole code")),
        };
    };
    let code = u16::from_be_bytes(*code);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => {}
        _ => return Err(Violation::Protocol("a close frame has a code that is not allowed")),
    }
    if std::str::from_utf8(reason).is_err() {
        return Err(Violation::NotUtf8);
    }
    Ok(Event::Close(Some(code)))
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        for (octet, key) in word.iter_mut().zip(mask) {
            *octet ^= key;
        }
    }
    for (octet, key) in words.into_remainder().iter_mut().zip(mask) {
        *octet ^= key;
    }
}

/// RFC 6455 section 5.2: 2 octets, 8 of extended length, 4 of mask.
const MAX_HEAD_BYTES: usize = 14;

/// What a compressed message may be longer than the limit, apart from a thousandth of that.
const DEFLATE_SLACK_BYTES: usize = 64;

/// How much memory an announced length gets before its octets are there.
const ANNOUNCED_BYTES: usize = 128 * 1024;

#[cfg(test)]
mod tests;
