//! SockJS over one WebSocket: a session of its own that ends with the socket.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::message::{Framing, Image};
use crate::net::clock;
use crate::net::io::{Close, Ended, Incoming, MessageIo, Written};
use crate::net::websocket::{SocketEvent, WebSocket, close_frame};
use crate::sockjs::frame::{self, Frame};
use crate::sockjs::framing::{SOCKJS_WEBSOCKET, websocket_text};
use crate::sockjs::payload;

/// The `websocket` transport.
pub(super) struct SockJsWebSocketIo {
    socket: WebSocket,
    heartbeat: Duration,
    last_write: Cell<Instant>,
    /// Messages of one payload that were not asked for yet.
    messages: RefCell<VecDeque<String>>,
    opened: Cell<bool>,
}

impl SockJsWebSocketIo {
    pub(super) fn new(socket: WebSocket, heartbeat: Duration) -> Self {
        Self {
            socket,
            heartbeat,
            last_write: Cell::new(clock::now()),
            messages: RefCell::default(),
            opened: Cell::new(false),
        }
    }

    fn pop_message(&self) -> Option<String> {
        let mut messages = self.messages.borrow_mut();
        let message = messages.pop_front();
        if messages.is_empty() {
            *messages = VecDeque::new();
        }
        message
    }

    fn heartbeat_at(&self) -> Instant {
        self.last_write.get() + self.heartbeat
    }
}

impl MessageIo for SockJsWebSocketIo {
    fn framing(&self) -> &'static dyn Framing {
        self.socket.framing(&SOCKJS_WEBSOCKET)
    }

    fn transport(&self) -> &'static str {
        "websocket"
    }

    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        let written = self.socket.try_write(queue)?;
        if written.bytes > 0 {
            self.last_write.set(clock::now());
        }
        Ok(written)
    }

    fn try_write_one(&self, image: &mut Image) -> io::Result<Written> {
        let written = self.socket.try_write_one(image)?;
        if written.bytes > 0 {
            self.last_write.set(clock::now());
        }
        Ok(written)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_write_ready(cx)
    }

    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
        if !self.opened.replace(true) {
            return Poll::Ready(Incoming::Reply(websocket_text(Frame::Open)));
        }
        loop {
            if let Some(message) = self.pop_message() {
                return Poll::Ready(Incoming::Octets(message.into()));
            }
            return Poll::Ready(match ready!(self.socket.poll_event(cx)) {
                SocketEvent::Text(text) | SocketEvent::Binary(text) => match payload::websocket(&text) {
                    Ok(messages) => {
                        self.messages.borrow_mut().extend(messages);
                        continue;
                    }
                    // sockjs-protocol test_broken_json: the connection ends abruptly, so no
                    // close frame of WebSocket's own is in between.
                    Err(error) => Incoming::Ended(Ended::Violation {
                        reason: error.to_string(),
                        farewell: websocket_text(Frame::Close(frame::Close::BROKEN_FRAMING)),
                        limit: None,
                    }),
                },
                SocketEvent::Reply(octets) => Incoming::Reply(octets),
                SocketEvent::Ended(ended) => Incoming::Ended(ended),
            });
        }
    }

    fn is_behind(&self) -> bool {
        self.socket.is_behind()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [Some(self.heartbeat_at()), self.socket.poll_timeout()].into_iter().flatten().min()
    }

    fn handle_timeout(&self, now: Instant) -> Option<Incoming> {
        if self.heartbeat_at() <= now {
            self.last_write.set(now);
            return Some(Incoming::Reply(websocket_text(Frame::Heartbeat)));
        }
        self.socket.handle_timeout(now)
    }

    fn close_our_side(&self) {
        self.socket.close_our_side();
    }

    fn farewell(&self, reason: &Close, queue: &mut VecDeque<Image>) {
        queue.push_back(close(frame::Close::new(reason.sockjs_code, &reason.reason)).into());
    }
}

/// The SockJS close frame, and WebSocket's own after it.
fn close(close: frame::Close) -> Bytes {
    [websocket_text(Frame::Close(close)), close_frame(Some(1000), "")].concat().into()
}
