//! STOMP over TCP, with TLS or without: the octets of the stream are the session's own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::accept::{Acceptor, Listener};
use super::clock;
use super::io::{Close, Ended, Incoming, MessageIo, Written};
use super::stream::Stream;
use crate::message::{Framing, Image, Plain};
use crate::session::Exceeded;

/// Accepts connections and hands each to `connect`, on the calling shard, until `shutdown`.
/// With an identity, TLS is spoken and nothing else.
pub async fn serve(listener: Listener, shutdown: CancellationToken, connect: impl Fn(Box<dyn MessageIo>, SocketAddr)) {
    let strangers = Rc::new(Strangers::default());
    let mut acceptor = Acceptor::new(listener, refusal);
    while let Some((stream, peer)) = acceptor.accept(&shutdown).await {
        connect(Box::new(Tcp::new(stream, peer, Rc::clone(&strangers))), peer);
    }
}

fn refusal(exceeded: &Exceeded) -> String {
    let text = exceeded.to_string();
    format!("ERROR\nmessage:Limit exceeded\ncontent-type:text/plain\ncontent-length:{}\n\n{text}\0\n", text.len())
}

/// A TCP stream that carries STOMP frames, nothing around them.
#[derive(Debug)]
pub struct Tcp {
    stream: Stream,
    peer: SocketAddr,
    strangers: Rc<Strangers>,
    /// The first octets, as long as they may be another protocol's; `None` once it is known.
    opening: RefCell<Option<BytesMut>>,
    /// Whether our side is closed as soon as all is written.
    is_closing: Cell<bool>,
    is_blocked: Cell<bool>,
    peer_ended: Cell<bool>,
}

impl Tcp {
    fn new(stream: Stream, peer: SocketAddr, strangers: Rc<Strangers>) -> Self {
        Self {
            stream,
            peer,
            strangers,
            opening: RefCell::new(Some(BytesMut::new())),
            is_closing: Cell::new(false),
            is_blocked: Cell::new(false),
            peer_ended: Cell::new(false),
        }
    }

    /// What those octets mean; `None` if more are needed to tell.
    fn on_octets(&self, octets: &[u8]) -> Option<Incoming> {
        let mut opening = self.opening.borrow_mut();
        let Some(first) = opening.as_mut() else {
            // Who lacks TLS was told; nothing of it may reach a session.
            return (!self.stream.lacks_tls()).then(|| Incoming::Octets(Bytes::copy_from_slice(octets)));
        };
        first.extend_from_slice(octets);
        let protocol = match Guess::of(first) {
            Guess::Open => return None,
            Guess::Stomp if self.stream.lacks_tls() => Foreign::PlainStomp,
            Guess::Stomp => return opening.take().map(|first| Incoming::Octets(first.freeze())),
            Guess::Foreign(protocol) => protocol,
        };
        *opening = None;
        let port = if self.stream.is_tls() { "TLS" } else { "plain" };
        self.strangers.log(protocol, port, self.peer);
        let reason = format!("{} on the {port} STOMP port", protocol.what());
        Some(self.on_violation(reason, protocol.farewell()))
    }

    fn on_violation(&self, reason: String, farewell: &'static [u8]) -> Incoming {
        self.is_closing.set(true);
        Incoming::Ended(Ended::Violation { reason, farewell: Bytes::from_static(farewell), limit: None })
    }

    fn on_end(&self) -> Incoming {
        self.peer_ended.set(true);
        Incoming::Ended(Ended::Finished)
    }
}

impl MessageIo for Tcp {
    fn framing(&self) -> &'static dyn Framing {
        &Plain
    }

    fn transport(&self) -> &'static str {
        if self.stream.is_tls() { "tls" } else { "tcp" }
    }

    fn subject(&self) -> Option<Arc<str>> {
        self.stream.subject()
    }

    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        let written = self.stream.try_write(queue)?;
        self.is_blocked.set(written.is_blocked);
        if self.is_closing.get() && queue.is_empty() {
            self.stream.close_our_side();
        }
        Ok(written)
    }

    fn try_write_one(&self, image: &mut Image) -> io::Result<Written> {
        let written = self.stream.try_write_one(image)?;
        self.is_blocked.set(written.is_blocked);
        if self.is_closing.get() && image.is_empty() {
            self.stream.close_our_side();
        }
        Ok(written)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_write_ready(cx))?;
        self.is_blocked.set(false);
        Poll::Ready(Ok(()))
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        loop {
            if self.peer_ended.get() {
                // What waits for it goes before its end is told again.
                return if self.is_blocked.get() { Poll::Pending } else { Poll::Ready(self.on_end()) };
            }
            let read = ready!(self.stream.poll_read(cx, |octets| {
                if octets.is_empty() { Some(self.on_end()) } else { self.on_octets(octets) }
            }));
            match read {
                Ok(Some(incoming)) => return Poll::Ready(incoming),
                Ok(None) => {}
                // TLS has sent its alert already.
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Poll::Ready(self.on_violation(format!("TLS: {error}"), b""));
                }
                Err(error) => return Poll::Ready(Incoming::Ended(Ended::Lost(error.kind()))),
            }
        }
    }

    fn close_our_side(&self) {
        self.stream.close_our_side();
    }

    // STOMP 1.2 "ERROR": the server must close the connection just after it.
    fn farewell(&self, _close: &Close, queue: &mut VecDeque<Image>) {
        self.is_closing.set(true);
        if queue.is_empty() {
            self.stream.close_our_side();
        }
    }
}

/// Who took the port for another: for the log, so that a loop of retries does not fill it.
#[derive(Debug, Default)]
struct Strangers {
    tls: Cell<Option<Instant>>,
    http: Cell<Option<Instant>>,
    plain_stomp: Cell<Option<Instant>>,
    unsaid: Cell<u64>,
}

impl Strangers {
    /// Says so at once the first time, and at most every [`QUIET`] after that.
    fn log(&self, protocol: Foreign, port: &str, peer: SocketAddr) {
        let last = match protocol {
            Foreign::Tls => &self.tls,
            Foreign::Http => &self.http,
            Foreign::PlainStomp => &self.plain_stomp,
        };
        let now = clock::now();
        if last.get().is_some_and(|last| now.duration_since(last) < QUIET) {
            self.unsaid.set(self.unsaid.get() + 1);
            return;
        }
        last.set(Some(now));
        let unsaid = self.unsaid.take();
        warn!(%peer, unsaid, "{} came to the {port} STOMP port (tcp.listen): {}", protocol.what(), protocol.advice());
    }
}

/// A protocol that is not spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Foreign {
    Tls,
    Http,
    /// STOMP, where TLS had to come first.
    PlainStomp,
}

impl Foreign {
    fn what(self) -> &'static str {
        match self {
            Self::Tls => "a TLS ClientHello",
            Self::Http => "an HTTP request",
            Self::PlainStomp => "a client without TLS",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Tls => {
                "it speaks no TLS; switch TLS off in the client, or on here (tcp.tls_certificate, tcp.tls_key)"
            }
            Self::Http => "browsers and HTTP clients belong at the address of server.listen",
            Self::PlainStomp => "it speaks TLS alone (tcp.tls_certificate); switch TLS on in the client",
        }
    }

    /// What its clients understand.
    fn farewell(self) -> &'static [u8] {
        match self {
            // RFC 5246 section 7.2: a fatal alert, handshake_failure
            Self::Tls => b"\x15\x03\x01\x00\x02\x02\x28",
            Self::Http => {
                b"HTTP/1.1 400 Bad Request\r\n\
                connection: close\r\n\
                content-type: text/plain\r\n\
                content-length: 86\r\n\
                \r\n\
                This port speaks STOMP over TCP, not HTTP. Browsers connect to the broker's web port.\n"
            }
            Self::PlainStomp => {
                b"ERROR\n\
                message:TLS required\n\
                content-type:text/plain\n\
                content-length:68\n\
                \n\
                This port speaks STOMP over TLS. Switch TLS (SSL) on in the client.\n\0"
            }
        }
    }
}

/// What the first octets of a stream are.
#[derive(Debug, PartialEq, Eq)]
enum Guess {
    /// Too few to tell.
    Open,
    Stomp,
    Foreign(Foreign),
}

impl Guess {
    fn of(first: &[u8]) -> Self {
        let kinds = METHODS.iter().map(|method| (method.as_bytes(), Foreign::Http));
        let mut kinds = kinds.chain([(CLIENT_HELLO, Foreign::Tls)]);
        if let Some((_, protocol)) = kinds.clone().find(|(start, _)| first.starts_with(start)) {
            return Self::Foreign(protocol);
        }
        if kinds.any(|(start, _)| start.starts_with(first)) { Self::Open } else { Self::Stomp }
    }
}

/// The blank parts HTTP's CONNECT from STOMP's. `PRI * HTTP/2.0` begins HTTP/2.
const METHODS: [&str; 10] =
    ["GET ", "HEAD ", "POST ", "PUT ", "PATCH ", "DELETE ", "OPTIONS ", "TRACE ", "CONNECT ", "PRI * HTTP/2"];

/// RFC 8446 section 5.1: content type handshake, legacy version 3.x
const CLIENT_HELLO: &[u8] = b"\x16\x03";

const QUIET: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stomp_http_and_tls_are_told_apart_by_their_first_octets() {
        for (first, guess) in [
            (&b"CONNECT\n"[..], Guess::Stomp),
            (b"CONNECT\r\n", Guess::Stomp),
            (b"STOMP\n", Guess::Stomp),
            (b"\n", Guess::Stomp),
            (b"PUSH", Guess::Stomp),
            (b"GETTER", Guess::Stomp),
            (b"CONNECT", Guess::Open),
            (b"C", Guess::Open),
            (b"\x16", Guess::Open),
            (b"GET / HTTP/1.1\r\n", Guess::Foreign(Foreign::Http)),
            (b"CONNECT a:1 HTTP/1.1\r\n", Guess::Foreign(Foreign::Http)),
            (b"PRI * HTTP/2.0\r\n", Guess::Foreign(Foreign::Http)),
            (b"\x16\x03\x01\x02\x00", Guess::Foreign(Foreign::Tls)),
        ] {
            assert_eq!(Guess::of(first), guess, "{:?}", first.escape_ascii().to_string());
        }
    }

    #[test]
    fn the_answer_to_http_has_the_length_it_says() {
        let answer = std::str::from_utf8(Foreign::Http.farewell()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head} {}", body.len());
    }

    #[test]
    fn the_error_for_a_client_without_tls_has_the_length_it_says() {
        let error = std::str::from_utf8(Foreign::PlainStomp.farewell()).unwrap();
        let (head, body) = error.strip_suffix('\0').unwrap().split_once("\n\n").unwrap();
        assert!(head.ends_with(&format!("\ncontent-length:{}", body.len())), "{head} {}", body.len());
    }
}
