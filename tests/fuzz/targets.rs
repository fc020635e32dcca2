//! What must hold for any octets; each function panics where it does not.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stompbox::message::{Delivery, Destination, Message, MessageId, Plain, Principal, Publication, SubscriptionId};
use stompbox::net::websocket::reader::{Event, Reader};
use stompbox::sockjs::payload;
use stompbox::stomp::encode::encode;
use stompbox::stomp::escape::is_writable;
use stompbox::stomp::session::{Action, Refusal, Reply, Ticket};
use stompbox::stomp::{DecodeError, Decoder, Frame, Limits, Refusals, Session, Settings, Version};

/// The first octet says the version and the cut, the others are the stream. However it is cut,
/// the frames and the error are the same, and a frame that is written again reads the same.
pub(crate) fn decode(data: &[u8]) {
    let Some((&first, octets)) = data.split_first() else { return };
    let version = version(first);
    let limits = settings().limits;
    let whole = frames(&limits, version, [Bytes::copy_from_slice(octets)]);
    let cut = usize::from(first >> 2) + 1;
    assert_eq!(frames(&limits, version, octets.chunks(cut).map(Bytes::copy_from_slice)), whole);
    let Some(version) = version else { return };
    // Escapes may take more room than what they stand for did.
    let roomy = Limits { header_line_bytes: 1000, head_bytes: 10_000, ..limits };
    for frame in whole.0 {
        let length = frame.header("content-length").map(str::parse);
        let is_as_long = length.is_none_or(|length| length == Ok(frame.body.len()));
        let escaping = frame.command.escaping(Some(version));
        if !is_as_long || !frame.headers.iter().all(|(name, value)| is_writable(name, value, escaping)) {
            continue;
        }
        let again = encode(&frame, Some(version));
        assert_eq!(frames(&roomy, Some(version), [Bytes::from(again)]), (vec![frame], None));
    }
}

/// The first octet says the version and whether refusals are soft; steps follow, ended by 0xFF,
/// which no text holds. `@N` lets N × 100 ms pass, `*N` brings a message for subscription N,
/// `!` refuses the next request, `?` leaves it open; any other step is octets from the client.
pub(crate) fn session(data: &[u8]) {
    let Some((&first, script)) = data.split_first() else { return };
    let refusals = if first & 4 == 0 { Refusals::Soft } else { Refusals::Error };
    let mut peer = Peer::new(refusals);
    if let Some(version) = version(first) {
        let connect = format!("CONNECT\naccept-version:{}\nhost:h\nheart-beat:900,900\n\n\0", version.as_str());
        peer.step(connect.as_bytes());
        assert!(peer.session.is_connected());
    }
    for step in script.split(|&octet| octet == 0xff) {
        peer.step(step);
    }
    for request in std::mem::take(&mut peer.open) {
        peer.session.handle_reply(peer.now, request, Reply::Done);
        peer.perform();
    }
}

/// The first octet says the cut. However it is cut, the events are the same, and none is
/// longer than allowed.
pub(crate) fn websocket_reader(data: &[u8]) {
    let Some((&first, octets)) = data.split_first() else { return };
    let whole = events(octets, octets.len().max(1));
    assert_eq!(events(octets, usize::from(first) + 1), whole);
    for event in whole.0 {
        match event {
            Event::Text(text) => {
                assert!(text.len() <= MESSAGE_BYTES);
                assert!(std::str::from_utf8(&text).is_ok());
            }
            Event::Binary(octets) => assert!(octets.len() <= MESSAGE_BYTES),
            // RFC 6455 section 5.5
            Event::Ping(octets) => assert!(octets.len() <= 125),
            Event::Pong | Event::Close(_) => {}
        }
    }
}

/// What was read is read again from its JSON.
pub(crate) fn sockjs_payload(data: &[u8]) {
    let form = Some("application/x-www-form-urlencoded; charset=UTF-8");
    let read = [
        payload::xhr_send(data),
        payload::jsonp_send(form, data),
        payload::jsonp_send(None, data),
        payload::websocket(data),
    ];
    for messages in read.into_iter().flatten() {
        let json = serde_json::to_vec(&messages).unwrap();
        assert_eq!(payload::xhr_send(&json), Ok(messages));
    }
}

/// One session, its broker and its clock.
struct Peer {
    session: Session,
    now: Instant,
    open: Vec<Ticket>,
    refuses_next: bool,
    leaves_next: bool,
    messages: u64,
    is_closed: bool,
}

impl Peer {
    #[allow(clippy::disallowed_methods, reason = "an epoch; from there on the clock is the script's")]
    fn new(refusals: Refusals) -> Self {
        let settings = Settings { refusals, ..settings() };
        let now = Instant::now();
        let session = Session::new(Arc::new(settings), &Plain, "unguessable".into(), None, now);
        Self { session, now, open: Vec::new(), refuses_next: false, leaves_next: false, messages: 0, is_closed: false }
    }

    fn step(&mut self, step: &[u8]) {
        match step {
            [b'@', count, ..] => {
                self.now += Duration::from_millis(100) * u32::from(*count);
                self.session.handle_timeout(self.now);
            }
            [b'*', number, ..] => self.deliver(u32::from(*number)),
            [b'!', ..] => self.refuses_next = true,
            [b'?', ..] => self.leaves_next = true,
            octets => self.session.handle_bytes(self.now, Bytes::copy_from_slice(octets)),
        }
        self.perform();
    }

    fn deliver(&mut self, number: u32) {
        self.messages += 1;
        let destination = Destination::parse("/topic/a").unwrap();
        let publication = Publication { destination, headers: Vec::new(), body: Bytes::from_static(b"hi") };
        let message = Arc::new(Message::new(MessageId(self.messages), publication, 0, None));
        let subscription = SubscriptionId(number % 4);
        self.session
            .handle_delivery(self.now, Delivery { subscription, message, retained: false, dropped: 0, count: 0 });
    }

    fn perform(&mut self) {
        while let Some(action) = self.session.poll_action() {
            assert!(!self.is_closed, "{action:?} after Close");
            match action {
                Action::Transmit(image) => assert!(!image.is_empty()),
                Action::Authenticate { ticket, .. } => {
                    self.reply(ticket, Reply::Authenticated { principal: Principal::Anonymous, expires_at: None });
                }
                Action::Publish { ticket, .. }
                | Action::Subscribe { ticket, .. }
                | Action::Settle { ticket, .. }
                | Action::Commit { ticket, .. } => self.reply(ticket, Reply::Done),
                Action::CatchUp { .. } | Action::Pace { .. } => panic!("STOMP does not ask for it: {action:?}"),
                Action::Unsubscribe { .. } => {}
                Action::Close(_) => self.is_closed = true,
            }
        }
        let limits = &settings().limits;
        assert!(self.session.subscriptions() <= limits.subscriptions);
        assert!(self.session.unacked() <= limits.unacked);
        assert!(self.open.len() <= limits.open_tickets + 1);
        assert_eq!(self.session.is_closed(), self.is_closed);
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        if std::mem::take(&mut self.leaves_next) {
            return self.open.push(ticket);
        }
        let refused = std::mem::take(&mut self.refuses_next);
        let reply = if refused { Reply::Refused(Refusal::new(403, "not here")) } else { reply };
        self.session.handle_reply(self.now, ticket, reply);
    }
}

fn version(first: u8) -> Option<Version> {
    match first & 3 {
        0 => None,
        1 => Some(Version::V1_0),
        2 => Some(Version::V1_1),
        _ => Some(Version::V1_2),
    }
}

fn frames(
    limits: &Limits,
    version: Option<Version>,
    pieces: impl IntoIterator<Item = Bytes>,
) -> (Vec<Frame>, Option<DecodeError>) {
    let mut decoder = Decoder::new(limits);
    if let Some(version) = version {
        decoder.set_version(version);
    }
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// The events, and the code of the violation that ended them.
fn events(octets: &[u8], cut: usize) -> (Vec<Event>, Option<u16>) {
    let mut reader = Reader::new(MESSAGE_BYTES);
    let mut events = VecDeque::new();
    for piece in octets.to_vec().chunks_mut(cut) {
        if let Err(violation) = reader.feed(piece, &mut events) {
            return (events.into(), Some(violation.close_code()));
        }
    }
    (events.into(), None)
}

/// Small limits, which random input meets.
fn settings() -> Settings {
    Settings {
        limits: Limits {
            command_bytes: 12,
            headers: 8,
            header_line_bytes: 60,
            head_bytes: 200,
            body_bytes: 100,
            unconnected_frame_bytes: 150,
            subscriptions: 3,
            unacked: 4,
            transactions: 2,
            transaction_actions: 3,
            transaction_bytes: 200,
            open_tickets: 4,
        },
        heart_beat_send: Duration::from_secs(1),
        heart_beat_receive: Duration::from_secs(1),
        heart_beat_tolerance: 2.0,
        connect_timeout: Duration::from_secs(5),
        disconnect_timeout: Duration::from_secs(1),
        strict_host: false,
        hosts: Vec::new(),
        refusals: Refusals::Soft,
        encodes_binary: false,
        server: None,
    }
}

const MESSAGE_BYTES: usize = 200;
