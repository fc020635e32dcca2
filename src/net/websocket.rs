//! WebSocket (RFC 6455): the raw transport, whose messages are the application's own octets.
//!
//! tungstenite gives the handshake and the frame heads; messages are assembled here over a
//! read buffer that all connections of a shard share, because tungstenite's own reader keeps
//! its largest buffer for ever.

mod compressing;
pub mod deflate;
pub mod handshake;
mod inflating;
pub mod reader;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use self::deflate::Agreed;
use self::reader::{Event, Reader, Violation};
use super::clock;
use super::io::{Close, Ended, Incoming, MessageIo, Written};
use super::stream::{READ_BUFFER_BYTES, Stream};
use super::turn::give_way;
use crate::message::{Framing, Image, Tail};

/// What a WebSocket needs to know from the settings.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Octets of one message from the client.
    pub max_message_bytes: usize,
    /// How long a client may be silent before it is pinged, and again until it is given up;
    /// zero: never.
    pub ping: Duration,
    /// How messages are compressed for clients that offer it; `None`: not at all.
    pub deflate: Option<deflate::Settings>,
}

/// A WebSocket after its handshake. Messages are handed up and down as they are.
#[derive(Debug)]
pub struct WebSocket {
    stream: Stream,
    reader: RefCell<Reader>,
    events: RefCell<VecDeque<Event>>,
    deflate: Option<Agreed>,
    ping: Duration,
    last_read: Cell<Instant>,
    pinged: Cell<bool>,
    /// The end, told after the events that came before it.
    ended: RefCell<Option<Ended>>,
    /// After a violation, what the client still sends is read and thrown away: a socket closed
    /// over unread octets is reset, and the farewell lost with it.
    discards: Cell<bool>,
    /// How much is read at once: less from a peer whose octets are many frames and few messages.
    read_most: Cell<u32>,
}

impl WebSocket {
    /// Takes a stream after the handshake, with what was agreed on in it and what was read
    /// beyond it.
    pub fn new(stream: Stream, read_ahead: &[u8], settings: &Settings, deflate: Option<Agreed>) -> Self {
        let reader = Reader::new(settings.max_message_bytes);
        let socket = Self {
            stream,
            reader: RefCell::new(if deflate.is_some() { reader.inflating() } else { reader }),
            events: RefCell::default(),
            deflate,
            ping: settings.ping,
            last_read: Cell::new(clock::now()),
            pinged: Cell::new(false),
            ended: RefCell::default(),
            discards: Cell::new(false),
            read_most: Cell::new(READ_MOST),
        };
        socket.feed(&mut read_ahead.to_vec());
        socket
    }

    /// How messages are wrapped for this client, where `plain` is how they are without
    /// compression: in one final, unmasked frame each.
    pub fn framing(&self, plain: &'static dyn Framing) -> &'static dyn Framing {
        self.deflate.map_or(plain, |agreed| agreed.framing(plain))
    }

    /// The next message or end; pings are answered on the way.
    pub fn poll_event(&self, cx: &mut Context<'_>) -> Poll<SocketEvent> {
        let mut fills = 0;
        loop {
            match self.pop_event() {
                Some(Event::Text(text)) => return Poll::Ready(SocketEvent::Text(text)),
                Some(Event::Binary(octets)) => return Poll::Ready(SocketEvent::Binary(octets)),
                Some(Event::Ping(octets)) => return Poll::Ready(SocketEvent::Reply(control(Control::Pong, &octets))),
                Some(Event::Pong) => {}
                // RFC 6455 section 5.5.1: the code is echoed, and nothing after a close counts
                Some(Event::Close(code)) => {
                    self.events.take();
                    *self.ended.borrow_mut() = Some(Ended::Closed);
                    return Poll::Ready(SocketEvent::Reply(close_frame(code, "")));
                }
                None => {
                    let mut ended = self.ended.borrow_mut();
                    match &*ended {
                        Some(Ended::Violation { .. }) => {
                            self.discards.set(true);
                            if let Some(violation) = ended.take() {
                                return Poll::Ready(SocketEvent::Ended(violation));
                            }
                        }
                        Some(ended) => return Poll::Ready(SocketEvent::Ended(ended.clone())),
                        None => {}
                    }
                    drop(ended);
                    if self.reader.borrow().is_behind() {
                        ready!(self.poll_resume(cx));
                        continue;
                    }
                    // Fragments and pongs without an end are no event: others have their turn between reads.
                    if fills == FILLS_WITHOUT_EVENT {
                        give_way(cx);
                        return Poll::Pending;
                    }
                    fills += 1;
                    ready!(self.poll_fill(cx));
                }
            }
        }
    }

    /// Whom the certificate names that the client showed in TLS.
    pub fn subject(&self) -> Option<Arc<str>> {
        self.stream.subject()
    }

    /// Octets written from the front of `queue`, all in one call where they fit.
    pub fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        self.stream.try_write(queue)
    }

    /// Says that nothing more comes, after all that was written. RFC 6455 section 7.1.7: who broke
    /// the rules is left at once; what it still sends is read and thrown away.
    pub fn close_our_side(&self) {
        self.stream.close_our_side();
    }

    /// As [`WebSocket::try_write`], for one image with nothing in front of it.
    pub fn try_write_one(&self, image: &mut Image) -> io::Result<Written> {
        self.stream.try_write_one(image)
    }

    /// Ready when the socket takes octets again.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_write_ready(cx)
    }

    /// When the client has been silent long enough to be pinged or given up.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = if self.pinged.get() { self.ping * 2 } else { self.ping };
        (!self.ping.is_zero()).then(|| self.last_read.get() + waits)
    }

    /// Pings a silent client, and gives one up that did not answer.
    pub fn handle_timeout(&self, now: Instant) -> Option<Incoming> {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return None;
        }
        if self.pinged.replace(true) {
            return Some(Incoming::Ended(Ended::Lost(io::ErrorKind::TimedOut)));
        }
        Some(Incoming::Reply(control(Control::Ping, b"")))
    }

    fn pop_event(&self) -> Option<Event> {
        let mut events = self.events.borrow_mut();
        let event = events.pop_front();
        if event.is_some() && events.is_empty() {
            *events = VecDeque::new();
        }
        event
    }

    fn poll_fill(&self, cx: &mut Context<'_>) -> Poll<()> {
        let most = self.read_most.get() as usize;
        let read = ready!(self.stream.poll_read_most(cx, most, |octets| {
            if octets.is_empty() {
                return self.on_lost(io::ErrorKind::UnexpectedEof);
            }
            self.last_read.set(clock::now());
            self.pinged.set(false);
            self.feed(octets);
        }));
        if let Err(error) = read {
            self.on_lost(error.kind());
        }
        Poll::Ready(())
    }

    fn feed(&self, octets: &mut [u8]) {
        if self.discards.get() {
            return;
        }
        match self.reader.borrow_mut().feed(octets, &mut self.events.borrow_mut()) {
            Ok(idle_frames) => self.read_most.set(read_most(octets.len(), idle_frames)),
            Err(violation) => self.on_violation(&violation),
        }
    }

    /// Goes on with what was read already; others have their turn before what is left of it.
    fn poll_resume(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut reader = self.reader.borrow_mut();
        ready!(reader.poll_turn(cx));
        if let Err(violation) = reader.resume(&mut self.events.borrow_mut()) {
            self.on_violation(&violation);
        } else if reader.is_behind() {
            give_way(cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn on_violation(&self, violation: &Violation) {
        *self.ended.borrow_mut() = Some(Ended::Violation {
            farewell: close_frame(Some(violation.close_code()), &violation.to_string()),
            reason: violation.to_string(),
            limit: matches!(violation, Violation::TooLong { .. }).then_some("payload_bytes"),
        });
    }

    fn on_lost(&self, kind: io::ErrorKind) {
        *self.ended.borrow_mut() = Some(Ended::Lost(kind));
    }
}

/// What a WebSocket brought.
#[derive(Debug)]
pub enum SocketEvent {
    /// A text message.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
    /// The answer to a ping or close, to be written.
    Reply(Bytes),
    /// The end; it is told again whenever one asks, but a violation once.
    Ended(Ended),
}

/// The raw transport: STOMP frames as WebSocket messages, nothing around them.
#[derive(Debug)]
pub struct RawWebSocket(pub WebSocket);

impl MessageIo for RawWebSocket {
    fn framing(&self) -> &'static dyn Framing {
        self.0.framing(&WebSocketFraming)
    }

    fn transport(&self) -> &'static str {
        "raw-websocket"
    }

    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        self.0.try_write(queue)
    }

    fn try_write_one(&self, image: &mut Image) -> io::Result<Written> {
        self.0.try_write_one(image)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx)
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        Poll::Ready(match ready!(self.0.poll_event(cx)) {
            SocketEvent::Text(octets) | SocketEvent::Binary(octets) => Incoming::Octets(octets),
            SocketEvent::Reply(octets) => Incoming::Reply(octets),
            SocketEvent::Ended(ended) => Incoming::Ended(ended),
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }

    fn handle_timeout(&self, now: Instant) -> Option<Incoming> {
        self.0.handle_timeout(now)
    }

    fn close_our_side(&self) {
        self.0.close_our_side();
    }

    fn farewell(&self, close: &Close, queue: &mut VecDeque<Image>) {
        queue.push_back(close_frame(Some(close.websocket_code), &close.reason).into());
    }
}

/// How much to read next, where the last octets had that many frames that ended no message: as
/// much as is likely to have [`IDLE_FRAMES`] of them. A flood of empty frames, six octets each,
/// would otherwise make thousands of one read, and the shard's others wait for them.
fn read_most(octets: usize, idle_frames: usize) -> u32 {
    let most = (octets * IDLE_FRAMES).checked_div(idle_frames).and_then(|most| u32::try_from(most).ok());
    most.map_or(READ_MOST, |most| most.min(READ_MOST))
}

/// How many frames that end no message are taken from one read.
const IDLE_FRAMES: usize = 256;

const READ_MOST: u32 = READ_BUFFER_BYTES as u32;

/// How often the socket is read in one turn while no event comes of it.
const FILLS_WITHOUT_EVENT: u32 = 1;

/// One unmasked, final WebSocket frame a message: text where it is UTF-8, else binary.
#[derive(Debug, Clone, Copy)]
pub struct WebSocketFraming;

impl Framing for WebSocketFraming {
    fn row(&self) -> usize {
        1
    }

    fn carries_binary(&self) -> bool {
        true
    }

    fn tail(&self, tail: &Bytes, _is_text: bool) -> Tail {
        tail.clone().into()
    }

    fn head(&self, head: &[u8], tail: &Tail, is_text: bool) -> Bytes {
        let opcode = OpCode::Data(if is_text { Data::Text } else { Data::Binary });
        frame(opcode, head, tail.octets.len())
    }
}

/// A close frame; the reason is cut to what a control frame holds.
pub fn close_frame(code: Option<u16>, reason: &str) -> Bytes {
    let mut payload = Vec::new();
    if let Some(code) = code {
        payload.extend(code.to_be_bytes());
        payload.extend(&reason.as_bytes()[..reason.floor_char_boundary(MAX_REASON_BYTES)]);
    }
    control(Control::Close, &payload)
}

fn control(control: Control, payload: &[u8]) -> Bytes {
    frame(OpCode::Control(control), payload, 0)
}

/// A frame's head and the beginning of its payload; `more` octets of it follow elsewhere.
fn frame(opcode: OpCode, payload: &[u8], more: usize) -> Bytes {
    let payload_len = payload.len() + more;
    let mut octets = Vec::with_capacity(head_len(payload_len) + payload.len());
    put_head(&mut octets, opcode, false, payload_len);
    octets.extend_from_slice(payload);
    octets.into()
}

/// The head of a final, unmasked frame.
fn put_head(octets: &mut Vec<u8>, opcode: OpCode, is_compressed: bool, payload_len: usize) {
    // RFC 7692 section 6
    let header = FrameHeader { opcode, rsv1: is_compressed, ..FrameHeader::default() };
    // Writing into a Vec does not fail.
    let _ = header.format(payload_len as u64, octets);
}

/// RFC 6455 section 5.2: how long that head is.
fn head_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// RFC 6455 section 5.5: 125 octets of payload, two of them the code.
const MAX_REASON_BYTES: usize = 123;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_final_unmasked_frame_of_the_right_kind() {
        assert_eq!(WebSocketFraming.whole(b"abc", true).head, &b"\x81\x03abc"[..]);
        assert_eq!(WebSocketFraming.whole(b"abc", false).head, &b"\x82\x03abc"[..]);
    }

    #[test]
    fn of_frames_that_end_no_message_few_are_read_at_once() {
        assert_eq!(read_most(65_536, 0), READ_MOST);
        assert_eq!(read_most(65_536, 1), READ_MOST);
        assert_eq!(read_most(65_536, 10_922), 1_536);
        // As long as it goes on
        assert_eq!(read_most(1_536, 256), 1_536);
        assert_eq!(read_most(1_536, 0), READ_MOST);
    }

    #[test]
    fn the_head_announces_the_length_of_the_tail_too() {
        let of_len = |len| Tail::from(Bytes::from(vec![b'x'; len]));
        let head = WebSocketFraming.head(b"abc", &of_len(70_000), true);
        assert_eq!(&head[..], b"\x81\x7f\x00\x00\x00\x00\x00\x01\x11\x73abc");
        assert_eq!(WebSocketFraming.head(b"abc", &of_len(200), true), &b"\x81\x7e\x00\xcbabc"[..]);
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character_to_fit_a_control_frame() {
        let frame = close_frame(Some(1002), &"ü".repeat(100));
        assert_eq!(frame[..2], [0x88, 2 + 122]);
        assert_eq!(close_frame(None, "x"), &b"\x88\x00"[..]);
    }
}
