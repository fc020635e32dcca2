//! [`Socket`]: a connection as a program wants it that has no sessions of its own kind.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Sleep;

use crate::message::Image;
use crate::net::clock;
use crate::net::io::{Close, Ended, Incoming, MessageIo};

/// Messages both ways over any transport of the service. Dropped, it closes with
/// `3000 "Go away!"` over HTTP and just closes over a WebSocket.
pub struct Socket {
    io: Box<dyn MessageIo>,
    queue: VecDeque<Image>,
    queued_bytes: usize,
    is_blocked: bool,
    is_over: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    /// Takes over what [`super::Connections::accept`] was given.
    pub fn new(io: Box<dyn MessageIo>) -> Self {
        Self { io, queue: VecDeque::new(), queued_bytes: 0, is_blocked: false, is_over: false, timer: None }
    }

    /// The client's next message; none after the end. It also sends what waits, and is all that
    /// does: a program is always in here when it does nothing else. While more than
    /// 64 KiB wait for the client, none of its messages are taken.
    ///
    /// # Cancel safety
    /// A message is never lost.
    pub async fn recv(&mut self) -> Option<Bytes> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Takes a message for the client. It must be UTF-8 unless the transport is a raw
    /// WebSocket; other octets become U+FFFD.
    pub fn send(&mut self, message: &[u8]) {
        if !self.is_over {
            let is_text = std::str::from_utf8(message).is_ok();
            self.push(self.io.framing().whole(message, is_text));
            self.flush();
        }
    }

    /// How many octets wait for the client: who sends unasked looks first.
    pub fn waiting_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Closes with a SockJS code and reason, after what waits; returns when the client has them
    /// or took too long, over a WebSocket when it has closed too. A raw WebSocket says 1000 for
    /// a code outside 3000..=4999.
    pub async fn close(mut self, code: u16, reason: &str) {
        let websocket_code = if CODES_OF_APPLICATIONS.contains(&code) { code } else { 1000 };
        let close = Close { websocket_code, sockjs_code: code, reason: reason.into() };
        // What the transport says first, such as `o`, goes before the farewell.
        let opened = poll_fn(|cx| Poll::Ready(self.poll(cx))).await;
        if self.is_over || matches!(opened, Poll::Ready(None)) {
            return;
        }
        self.io.farewell(&close, &mut self.queue);
        let closing = async {
            poll_fn(|cx| self.poll_flushed(cx)).await;
            if WEBSOCKETS.contains(&self.io.transport()) {
                poll_fn(|cx| self.poll_peer_closed(cx)).await;
            }
        };
        let _ = tokio::time::timeout(LINGER, closing).await;
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.flush();
        // Over HTTP the session keeps what is left for the next receiver.
        while !self.is_over && self.poll_unblock(cx) {
            self.flush();
        }
        if self.is_over || self.queue.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// RFC 6455 section 7.1.1: a WebSocket's stream ends after both sides have closed. Ended
    /// before, the peer's close meets a reset, which may take the farewell with it.
    fn poll_peer_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_over {
            // Nothing follows our close frame: no echo of the peer's, no pong.
            if let Incoming::Ended(Ended::Closed | Ended::Finished | Ended::Lost(_)) = ready!(self.io.poll_read(cx)) {
                self.is_over = true;
            }
        }
        Poll::Ready(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            self.flush();
            if self.is_over {
                return Poll::Ready(None);
            }
            if self.queued_bytes < WAITING_BYTES
                && let Poll::Ready(incoming) = self.io.poll_read(cx)
            {
                if let Some(message) = self.on_incoming(incoming) {
                    return Poll::Ready(Some(message));
                }
                continue;
            }
            if self.poll_unblock(cx) {
                continue;
            }
            let Some(deadline) = self.io.poll_timeout() else { return Poll::Pending };
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
            timer.as_mut().reset(deadline.into());
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(incoming) = self.io.handle_timeout(clock::now())
                && let Some(message) = self.on_incoming(incoming)
            {
                return Poll::Ready(Some(message));
            }
        }
    }

    /// Answers whether there is news for [`Socket::flush`].
    fn poll_unblock(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_blocked {
            return false;
        }
        let Poll::Ready(ready) = self.io.poll_write_ready(cx) else { return false };
        self.is_blocked = false;
        self.is_over = ready.is_err();
        true
    }

    fn on_incoming(&mut self, incoming: Incoming) -> Option<Bytes> {
        match incoming {
            Incoming::Octets(octets) => return Some(octets),
            Incoming::Reply(octets) => self.push(octets.into()),
            Incoming::Ended(Ended::Violation { farewell, .. }) => {
                self.push(farewell.into());
                self.flush();
                self.is_over = true;
            }
            Incoming::Ended(Ended::Closed | Ended::Finished | Ended::Lost(_)) => {
                self.flush();
                self.is_over = true;
            }
        }
        None
    }

    fn push(&mut self, image: Image) {
        self.queued_bytes += image.len();
        self.queue.push_back(image);
    }

    fn flush(&mut self) {
        if self.is_blocked || self.is_over || self.queue.is_empty() {
            return;
        }
        match self.io.try_write(&mut self.queue) {
            Ok(written) => self.is_blocked = written.is_blocked,
            Err(_) => self.is_over = true,
        }
        self.queued_bytes = self.queue.iter().map(Image::len).sum();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }
}

/// Beyond this, a client that only sends is not listened to.
const WAITING_BYTES: usize = 64 * 1024;

/// RFC 6455 section 7.4.2: what a program may say in a close frame.
const CODES_OF_APPLICATIONS: RangeInclusive<u16> = 3000..=4999;

/// The transports that end with a closing handshake.
const WEBSOCKETS: [&str; 2] = ["websocket", "raw-websocket"];

/// How long a farewell may take.
const LINGER: Duration = Duration::from_secs(1);
