//! WebSocket frames in (RFC 6455), without a socket: octets to messages.

use std::collections::VecDeque;
use std::io::Cursor;

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::inflating::{self, InflateError};

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
        }
    }

    /// Takes compressed messages too, as RFC 7692 has them without context takeover.
    pub fn inflating(self) -> Self {
        Self { inflates: true, ..self }
    }

    /// Takes octets in any cut, unmasks them in place, and adds what is complete to `events`.
    /// Answers how many frames ended that ended no message.
    ///
    /// # Errors
    /// The client broke the protocol; the connection is to be closed with
    /// [`Violation::close_code`].
    pub fn feed(&mut self, mut octets: &mut [u8], events: &mut VecDeque<Event>) -> Result<usize, Violation> {
        let mut idle_frames = 0;
        loop {
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
            self.on_payload(frame, payload, events)?;
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
            OpCode::Data(data) => self.on_data(data, &frame, payload, is_complete && frame.is_final, events),
        }
    }

    fn on_data(
        &mut self,
        data: Data,
        frame: &Frame,
        payload: &[u8],
        ends_message: bool,
        events: &mut VecDeque<Event>,
    ) -> Result<(), Violation> {
        let opcode = *self.message_opcode.get_or_insert(data);
        let is_text = opcode == Data::Text;
        let message = if ends_message && self.message.is_empty() {
            let message = if self.is_compressed { self.inflated(payload)? } else { Bytes::copy_from_slice(payload) };
            if is_text && std::str::from_utf8(&message).is_err() {
                return Err(Violation::NotUtf8);
            }
            message
        } else {
            if self.message.is_empty() {
                // The peer's word is taken for a message of usual size only.
                let announced = usize::try_from(frame.left).unwrap_or(usize::MAX).saturating_add(payload.len());
                self.message.reserve(announced.min(ANNOUNCED_BYTES));
            }
            self.message.extend_from_slice(payload);
            if is_text && !self.is_compressed {
                self.check_utf8(ends_message)?;
            }
            if !ends_message {
                return Ok(());
            }
            let message = std::mem::take(&mut self.message);
            if self.is_compressed {
                let message = self.inflated(&message)?;
                if is_text && std::str::from_utf8(&message).is_err() {
                    return Err(Violation::NotUtf8);
                }
                message
            } else {
                message.freeze()
            }
        };
        self.message_opcode = None;
        self.is_compressed = false;
        self.checked = 0;
        events.push_back(if is_text { Event::Text(message) } else { Event::Binary(message) });
        Ok(())
    }

    fn inflated(&self, message: &[u8]) -> Result<Bytes, Violation> {
        let max = self.max_message_bytes;
        inflating::inflate(message, max).map_err(|error| match error {
            InflateError::Invalid => Violation::NotDeflate,
            InflateError::TooLong => Violation::TooLong { size: max as u64 + 1, max },
        })
    }

    /// Looks at each octet once, and refuses a wrong one as soon as it is there.
    fn check_utf8(&mut self, ends_message: bool) -> Result<(), Violation> {
        match std::str::from_utf8(&self.message[self.checked..]) {
            Ok(_) => self.checked = self.message.len(),
            Err(error) if error.error_len().is_some() || ends_message => return Err(Violation::NotUtf8),
            Err(error) => self.checked += error.valid_up_to(),
        }
        Ok(())
    }
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: u8 = 0x81;
    const BINARY: u8 = 0x82;

    #[test]
    fn a_message_arrives_whole_in_any_cut() {
        let mut octets = frame(TEXT, "grüße".as_bytes());
        octets.extend(frame(BINARY, &[0xff; 300]));
        octets.extend(frame(0x89, b"ping"));
        let expected = [
            Event::Text(Bytes::from("grüße")),
            Event::Binary(Bytes::from(vec![0xff; 300])),
            Event::Ping(Bytes::from("ping")),
        ];
        assert_eq!(read(&octets, octets.len()), Ok(expected.to_vec()));
        assert_eq!(read(&octets, 1), Ok(expected.to_vec()));
    }

    #[test]
    fn fragments_are_joined_and_control_frames_may_come_between() {
        let mut octets = frame(0x01, b"a");
        octets.extend(frame(0x89, b"p"));
        octets.extend(frame(0x00, b"b"));
        octets.extend(frame(0x80, b"c"));
        let expected = [Event::Ping(Bytes::from("p")), Event::Text(Bytes::from("abc"))];
        assert_eq!(read(&octets, octets.len()), Ok(expected.to_vec()));
    }

    #[test]
    fn what_the_protocol_forbids_is_refused() {
        let unmasked = [TEXT, 1, b'a'];
        let cases: [(&str, Vec<u8>); 11] = [
            ("unmasked", unmasked.to_vec()),
            ("reserved bit", frame(TEXT | 0x40, b"a")),
            ("reserved data opcode", frame(0x83, b"a")),
            ("reserved control opcode", frame(0x8b, b"a")),
            ("fragmented ping", frame(0x09, b"a")),
            ("ping of 126", frame(0x89, &[0; 126])),
            ("continuation of nothing", frame(0x80, b"a")),
            ("text within a message", [frame(0x01, b"a"), frame(TEXT, b"b")].concat()),
            ("close of one octet", frame(0x88, &[3])),
            ("close code 1005", frame(0x88, &1005_u16.to_be_bytes())),
            ("close code 2999", frame(0x88, &2999_u16.to_be_bytes())),
        ];
        for (name, octets) in cases {
            let code = read(&octets, octets.len()).map_err(|violation| violation.close_code());
            assert_eq!(code, Err(1002), "{name}");
        }
    }

    #[test]
    fn frames_that_end_no_message_are_counted() {
        let octets = [frame(0x01, b"a"), frame(0x00, b""), frame(0x8a, b""), frame(0x80, b"b"), frame(TEXT, b"")];
        let mut octets = octets.concat();
        assert_eq!(Reader::new(100).feed(&mut octets, &mut VecDeque::new()), Ok(3));
    }

    #[test]
    fn a_ping_of_125_octets_is_taken() {
        assert_eq!(read(&frame(0x89, &[7; 125]), 9), Ok(vec![Event::Ping(Bytes::from(vec![7; 125]))]));
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_as_soon_as_the_wrong_octet_is_there() {
        assert_eq!(read(&frame(TEXT, &[0xc3]), 100), Err(Violation::NotUtf8));
        let mut reader = Reader::new(100);
        let mut events = VecDeque::new();
        let mut octets = frame(0x01, &[b'a', 0xf4, 0x90]);
        assert_eq!(reader.feed(&mut octets, &mut events), Err(Violation::NotUtf8));
        assert_eq!(
            read(&[frame(0x01, &[0xc3]), frame(0x80, &[0xbc])].concat(), 100),
            Ok(vec![Event::Text("ü".into())])
        );
    }

    #[test]
    fn a_message_of_the_limit_is_taken_and_one_octet_more_is_not() {
        assert!(read(&frame(BINARY, &[0; 1000]), 100).is_ok());
        assert_eq!(read(&frame(BINARY, &[0; 1001]), 100), Err(Violation::TooLong { size: 1001, max: 1000 }));
        let fragments = [frame(0x02, &[0; 600]), frame(0x80, &[0; 401])].concat();
        assert_eq!(read(&fragments, 100), Err(Violation::TooLong { size: 1001, max: 1000 }));
    }

    #[test]
    fn a_reader_between_messages_holds_no_memory() {
        let mut reader = Reader::new(100_000);
        let mut events = VecDeque::new();
        let mut octets = frame(BINARY, &[0; 50_000]);
        for piece in octets.chunks_mut(1000) {
            reader.feed(piece, &mut events).unwrap();
        }
        assert_eq!(events.len(), 1);
        assert_eq!((reader.message.capacity(), reader.control.capacity()), (0, 0));
    }

    #[test]
    fn a_length_that_was_only_announced_takes_little_memory() {
        let mut reader = Reader::new(usize::MAX);
        let mut head = vec![BINARY, 0x80 | 127];
        head.extend((1_u64 << 40).to_be_bytes());
        head.extend([1, 2, 3, 4, 5]);
        reader.feed(&mut head, &mut VecDeque::new()).unwrap();
        assert!(reader.message.capacity() <= 2 * ANNOUNCED_BYTES);
    }

    /// "Hello", as RFC 7692 section 7.2.3.1 has it.
    const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

    // RFC 7692 section 7.2.3.1
    #[test]
    fn a_compressed_message_arrives_whole_in_one_frame_or_in_fragments() {
        let whole = frame(0xc1, &HELLO);
        let fragments = [frame(0x41, &HELLO[..3]), frame(0x89, b"p"), frame(0x80, &HELLO[3..])].concat();
        let (hello, ping) = (Event::Text(Bytes::from("Hello")), Event::Ping(Bytes::from("p")));
        for cut in [1, 2, 100] {
            assert_eq!(inflate(&whole, cut), Ok(vec![hello.clone()]));
            assert_eq!(inflate(&fragments, cut), Ok(vec![ping.clone(), hello.clone()]));
        }
        let plain_and_compressed = [frame(TEXT, b"plain"), whole, frame(TEXT, b"plain")].concat();
        let plain = Event::Text(Bytes::from("plain"));
        assert_eq!(inflate(&plain_and_compressed, 100), Ok(vec![plain.clone(), hello, plain]));
    }

    // RFC 7692 section 6.1
    #[test]
    fn only_the_first_frame_of_a_message_may_say_that_it_is_compressed() {
        for octets in [[frame(0x41, &HELLO), frame(0xc0, &[])].concat(), frame(0xc9, b"p"), frame(0xc8, &[])] {
            assert_eq!(inflate(&octets, 100).unwrap_err().close_code(), 1002);
        }
        assert_eq!(read(&frame(0xc1, &HELLO), 100).unwrap_err().close_code(), 1002);
        assert_eq!(inflate(&frame(0xa1, &HELLO), 100).unwrap_err().close_code(), 1002);
    }

    #[test]
    fn compressed_text_must_be_utf8_and_compressed_by_deflate() {
        // "\xff" stored
        let stored = [0x00, 0x01, 0x00, 0xfe, 0xff, 0xff, 0x00];
        assert_eq!(inflate(&frame(0xc1, &stored), 100), Err(Violation::NotUtf8));
        assert_eq!(
            inflate(&[frame(0x41, &stored[..2]), frame(0x80, &stored[2..])].concat(), 100),
            Err(Violation::NotUtf8)
        );
        assert_eq!(inflate(&frame(0xc2, &stored), 100), Ok(vec![Event::Binary(Bytes::from_static(b"\xff"))]));
        assert_eq!(inflate(&frame(0xc1, &[0xff; 9]), 100).unwrap_err().close_code(), 1007);
    }

    #[test]
    fn a_message_over_the_limit_when_decompressed_is_refused_without_being_held() {
        for (size, is_taken) in [(1000, true), (1001, false), (1 << 24, false)] {
            let bomb = super::super::compressing::deflate(&vec![b'a'; size], 9, 15).unwrap();
            let read = inflate(&frame(0xc1, &bomb[..bomb.len().min(0xffff)]), 100);
            assert_eq!(read.is_ok(), is_taken, "{size}");
            assert!(is_taken || read.unwrap_err().close_code() == 1009);
        }
        let mut reader = Reader::new(1000).inflating();
        let mut head = vec![0xc1, 0x80 | 126, 0x10, 0x00, 0, 0, 0, 0];
        assert_eq!(reader.feed(&mut head, &mut VecDeque::new()).unwrap_err().close_code(), 1009);
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_any_cut_reads_the_same(octets in proptest::collection::vec(any::<u8>(), 0..200), cut in 1..200_usize) {
            let whole = read(&octets, 1000);
            prop_assert_eq!(read(&octets, cut).map_err(|v| v.close_code()), whole.map_err(|v| v.close_code()));
        }
    }

    fn inflate(octets: &[u8], cut: usize) -> Result<Vec<Event>, Violation> {
        read_by(Reader::new(1000).inflating(), octets, cut)
    }

    fn read(octets: &[u8], cut: usize) -> Result<Vec<Event>, Violation> {
        read_by(Reader::new(1000), octets, cut)
    }

    fn read_by(mut reader: Reader, octets: &[u8], cut: usize) -> Result<Vec<Event>, Violation> {
        let mut events = VecDeque::new();
        for piece in octets.to_vec().chunks_mut(cut) {
            reader.feed(piece, &mut events)?;
        }
        Ok(events.into())
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut octets = vec![first];
        match payload.len() {
            len @ 0..=125 => octets.push(0x80 | len as u8),
            len => {
                octets.push(0x80 | 126);
                octets.extend((len as u16).to_be_bytes());
            }
        }
        octets.extend(mask);
        octets.extend(payload.iter().zip(mask.iter().cycle()).map(|(octet, key)| octet ^ key));
        octets
    }
}
