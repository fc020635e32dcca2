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
#[cfg(test)]
mod rules;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::{Sleep, sleep_until};
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
    ended: RefCell<Option<Box<Ended>>>,
    /// After a violation, what the client still sends is read and thrown away: a socket closed
    /// over unread octets is reset, and the farewell lost with it.
    discards: Cell<bool>,
    /// How much is read at once: less from a peer whose octets are many frames and few messages.
    read_most: Cell<u32>,
    /// When those frames would have been few enough, and what is waited for where they are too many.
    idle_until: Cell<Instant>,
    rest: RefCell<Option<Pin<Box<Sleep>>>>,
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
            idle_until: Cell::new(clock::now()),
            rest: RefCell::default(),
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
                Some(Event::Ping(octets)) => return Poll::Ready(SocketEvent::Reply(self.pongs(&octets))),
                Some(Event::Pong) => {}
                // RFC 6455 section 5.5.1: the code is echoed, and nothing after a close counts
                Some(Event::Close(code)) => {
                    self.events.take();
                    *self.ended.borrow_mut() = Some(Box::new(Ended::Closed));
                    return Poll::Ready(SocketEvent::Reply(close_frame(code, "")));
                }
                None => {
                    let mut ended = self.ended.borrow_mut();
                    match ended.as_deref() {
                        Some(Ended::Violation { .. }) => {
                            self.discards.set(true);
                            if let Some(violation) = ended.take() {
                                return Poll::Ready(SocketEvent::Ended(*violation));
                            }
                        }
                        Some(ended) => return Poll::Ready(SocketEvent::Ended(ended.clone())),
                        None => {}
                    }
                    drop(ended);
                    if self.is_behind() {
                        ready!(self.poll_resume(cx));
                        continue;
                    }
                    // Fragments and pongs without an end are no event: others have their turn between reads.
                    if fills == FILLS_WITHOUT_EVENT {
                        give_way(cx);
                        return Poll::Pending;
                    }
                    fills += 1;
                    ready!(self.poll_rest(cx));
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

    /// Whether octets were read that wait for their turn.
    pub fn is_behind(&self) -> bool {
        self.reader.borrow().is_behind()
    }

    /// When the client has been silent long enough to be pinged or given up; never while it has sent
    /// more than was looked at.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waits = if self.pinged.get() { self.ping * 2 } else { self.ping };
        (!self.ping.is_zero() && !self.is_behind()).then(|| self.last_read.get() + waits)
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

    /// The answers to a ping and to those right behind it: each by itself would be a write of its own.
    fn pongs(&self, first: &[u8]) -> Bytes {
        let mut pongs = Vec::from(control(Control::Pong, first));
        while pongs.len() < PONGS_BYTES && matches!(self.events.borrow().front(), Some(Event::Ping(_))) {
            if let Some(Event::Ping(octets)) = self.pop_event() {
                pongs.extend(control(Control::Pong, &octets));
            }
        }
        pongs.into()
    }

    fn poll_rest(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut rest = self.rest.borrow_mut();
        if let Some(sleep) = &mut *rest {
            ready!(sleep.as_mut().poll(cx));
            *rest = None;
        }
        Poll::Ready(())
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
        let mut reader = self.reader.borrow_mut();
        match reader.feed(octets, &mut self.events.borrow_mut()) {
            Ok(idle_frames) => self.on_frames(octets.len(), idle_frames),
            Err(violation) => self.on_violation(&violation),
        }
        reader.ask();
    }

    /// Takes note of how many frames ended no message among so many octets.
    fn on_frames(&self, octets: usize, idle_frames: usize) {
        self.read_most.set(read_most(octets, idle_frames));
        if idle_frames == 0 {
            return;
        }
        let now = clock::now();
        let takes = IDLE_FRAME_TAKES * u32::try_from(idle_frames).unwrap_or(u32::MAX);
        let until = self.idle_until.get().max(now) + takes;
        self.idle_until.set(until);
        if let Some(ahead) = until.duration_since(now).checked_sub(IDLE_AHEAD) {
            *self.rest.borrow_mut() = Some(Box::pin(sleep_until((now + ahead).into())));
        }
    }

    /// Goes on with what was read already; others have their turn before what is left of it.
    fn poll_resume(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut reader = self.reader.borrow_mut();
        ready!(reader.poll_turn(cx));
        match reader.resume(&mut self.events.borrow_mut()) {
            Ok((0, _)) => {}
            Ok((octets, idle_frames)) => self.on_frames(octets, idle_frames),
            Err(violation) => self.on_violation(&violation),
        }
        if reader.is_behind() {
            reader.ask();
            give_way(cx);
            return Poll::Pending;
        }
        self.last_read.set(clock::now());
        Poll::Ready(())
    }

    fn on_violation(&self, violation: &Violation) {
        *self.ended.borrow_mut() = Some(Box::new(Ended::Violation {
            farewell: close_frame(Some(violation.close_code()), &violation.to_string()),
            reason: violation.to_string(),
            limit: matches!(violation, Violation::TooLong { .. }).then_some("payload_bytes"),
        }));
    }

    fn on_lost(&self, kind: io::ErrorKind) {
        *self.ended.borrow_mut() = Some(Box::new(Ended::Lost(kind)));
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

    fn is_behind(&self) -> bool {
        self.0.is_behind()
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

/// Who floods with such frames would keep a core busy, however few are taken at a time: 50,000 of
/// them are read in a second, and some hundred before that counts.
const IDLE_FRAME_TAKES: Duration = Duration::from_micros(20);
const IDLE_AHEAD: Duration = Duration::from_millis(10);

/// How long answers to pings become that leave together.
const PONGS_BYTES: usize = 4096;

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
    use std::future::poll_fn;

    use futures_util::poll;
    use http::HeaderMap;
    use http::header::SEC_WEBSOCKET_EXTENSIONS;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

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

    #[tokio::test(start_paused = true)]
    async fn a_client_whose_message_waits_for_others_is_not_silent() {
        let message = compressing::deflated(&[b'a'; 1 << 20], 6, 15).unwrap();
        let mut read_ahead = Vec::new();
        put_head(&mut read_ahead, OpCode::Data(Data::Text), true, message.len());
        // Masked, with zeros
        read_ahead[1] |= 0x80;
        read_ahead.extend([0; 4]);
        read_ahead.extend(message);
        let ping = Duration::from_secs(30);
        let offered = HeaderMap::from_iter([(SEC_WEBSOCKET_EXTENSIONS, "permessage-deflate".parse().unwrap())]);
        let (agreed, _) = deflate::negotiate(&offered, deflate::Settings { level: 6, min_bytes: 0 }).unwrap();

        let others = inflating::Permit::ask();
        let (socket, _near) = connected(&read_ahead, ping, Some(agreed)).await;
        let event = || poll_fn(|cx| socket.poll_event(cx));
        assert!(poll!(event()).is_pending());
        tokio::time::advance(3 * ping).await;
        assert!(socket.is_behind());
        assert_eq!(socket.poll_timeout(), None);
        assert!(socket.handle_timeout(clock::now()).is_none());
        drop(others);
        assert!(matches!(event().await, SocketEvent::Text(text) if text.len() == 1 << 20));
        assert_eq!(socket.poll_timeout(), Some(clock::now() + ping));
    }

    #[tokio::test(start_paused = true)]
    async fn pings_that_come_together_are_all_answered_at_once() {
        let pings: Vec<u8> = (0..10).flat_map(|n| [0x89, 0x81, 0, 0, 0, 0, n]).collect();
        let (socket, _near) = connected(&pings, Duration::ZERO, None).await;
        let SocketEvent::Reply(pongs) = poll_fn(|cx| socket.poll_event(cx)).await else { panic!("no answer") };
        assert_eq!(pongs, (0..10).flat_map(|n| [0x8a, 1, n]).collect::<Vec<u8>>());
        assert!(socket.pop_event().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_frames_that_end_no_message_is_read_slowly_and_some_are_at_once() {
        for (pongs, takes_ms) in [(500, 0..=0), (20_000, 380..=400)] {
            let (socket, mut near) = connected(b"", Duration::ZERO, None).await;
            let begun = clock::now();
            let flood = [0x8a, 0x80, 0, 0, 0, 0].repeat(pongs);
            near.write_all(&[&flood, &b"\x81\x81\0\0\0\0x"[..]].concat()).await.unwrap();
            let event = poll_fn(|cx| socket.poll_event(cx)).await;
            assert!(matches!(event, SocketEvent::Text(text) if *text == *b"x"));
            let took = clock::now().duration_since(begun).as_millis();
            assert!(takes_ms.contains(&took), "{pongs} pongs took {took} ms");
        }
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

    /// A WebSocket that was sent these octets already, and what its client has.
    async fn connected(read_ahead: &[u8], ping: Duration, agreed: Option<Agreed>) -> (WebSocket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let settings = Settings { max_message_bytes: 1 << 20, ping, deflate: None };
        (WebSocket::new(Stream::plain(far, None), read_ahead, &settings, agreed), near)
    }
}
