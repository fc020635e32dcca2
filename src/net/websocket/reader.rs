//! WebSocket frames in (RFC 6455), without a socket: octets to messages.

use std::collections::VecDeque;
use std::io::Cursor;

use bytes::{Bytes, BytesMut};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Assembles a client's frames to messages. Holds no memory between messages.
#[derive(Debug)]
pub struct Reader {
    max_message_bytes: usize,
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
            Self::NotUtf8 => 1007,
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
    /// Makes a reader that refuses messages over that many octets.
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            head: [0; MAX_HEAD_BYTES],
            head_len: 0,
            frame: None,
            message_opcode: None,
            message: BytesMut::new(),
            checked: 0,
            control: BytesMut::new(),
        }
    }

    /// Takes octets in any cut, unmasks them in place, and adds what is complete to `events`.
    ///
    /// # Errors
    /// The client broke the protocol; the connection is to be closed with
    /// [`Violation::close_code`].
    pub fn feed(&mut self, mut octets: &mut [u8], events: &mut VecDeque<Event>) -> Result<(), Violation> {
        loop {
            let frame = match self.frame {
                Some(frame) => frame,
                None => match self.read_head(&mut octets)? {
                    Some(frame) => frame,
                    None => return Ok(()),
                },
            };
            let take = usize::try_from(frame.left).unwrap_or(usize::MAX).min(octets.len());
            let (payload, rest) = std::mem::take(&mut octets).split_at_mut(take);
            octets = rest;
            self.on_payload(frame, payload, events)?;
            if self.frame.is_some() && octets.is_empty() {
                return Ok(());
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

    fn check_head(&self, header: &FrameHeader, payload_len: u64) -> Result<Frame, Violation> {
        // RFC 6455 section 5.2
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Violation::Protocol("a frame has reserved bits set, and no extension was agreed on"));
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
            OpCode::Data(_) => {
                let size = payload_len.saturating_add(self.message.len() as u64);
                if size > self.max_message_bytes as u64 {
                    return Err(Violation::TooLong { size, max: self.max_message_bytes });
                }
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
            if is_text && std::str::from_utf8(payload).is_err() {
                return Err(Violation::NotUtf8);
            }
            Bytes::copy_from_slice(payload)
        } else {
            if self.message.is_empty() {
                // The peer's word is taken for a message of usual size only.
                let announced = usize::try_from(frame.left).unwrap_or(usize::MAX).saturating_add(payload.len());
                self.message.reserve(announced.min(ANNOUNCED_BYTES));
            }
            self.message.extend_from_slice(payload);
            if is_text {
                self.check_utf8(ends_message)?;
            }
            if !ends_message {
                return Ok(());
            }
            std::mem::take(&mut self.message).freeze()
        };
        self.message_opcode = None;
        self.checked = 0;
        events.push_back(if is_text { Event::Text(message) } else { Event::Binary(message) });
        Ok(())
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

    proptest! {
        #[test]
        fn garbage_never_panics_and_any_cut_reads_the_same(octets in proptest::collection::vec(any::<u8>(), 0..200), cut in 1..200_usize) {
            let whole = read(&octets, 1000);
            prop_assert_eq!(read(&octets, cut).map_err(|v| v.close_code()), whole.map_err(|v| v.close_code()));
        }
    }

    fn read(octets: &[u8], cut: usize) -> Result<Vec<Event>, Violation> {
        let mut reader = Reader::new(1000);
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
