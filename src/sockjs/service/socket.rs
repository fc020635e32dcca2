//! [`Socket`]: a connection as a program wants it that has no sessions of its own kind.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Sleep;

use crate::message::Image;
use crate::net::clock;
use crate::net::io::{Close, Ended, Incoming, MessageIo};

/// Messages both ways over any transport of the service. Dropped, it closes with
/// `3000 "Go away!"` after what waits; over a WebSocket its client has a second to take that and
/// to close too.
pub struct Socket {
    /// There until it is dropped.
    ends: Option<Ends>,
    /// A task of its own waits for what is dropped.
    parting: Option<oneshot::Sender<Ends>>,
}

impl Socket {
    /// Takes over what [`super::Connections::accept`] was given; called there.
    pub fn new(io: Box<dyn MessageIo>) -> Self {
        let (parting, dropped) = oneshot::channel::<Ends>();
        tokio::task::spawn_local(async {
            if let Ok(ends) = dropped.await {
                ends.part(GO_AWAY, "Go away!").await;
            }
        });
        Self { ends: Some(Ends::new(io)), parting: Some(parting) }
    }

    /// The client's next message; none after the end. It also sends what waits, and is all that
    /// does: a program is always in here when it does nothing else. While more than
    /// 64 KiB wait for the client, none of its messages are taken.
    ///
    /// # Cancel safety
    /// A message is never lost.
    pub async fn recv(&mut self) -> Option<Bytes> {
        poll_fn(|cx| self.ends.as_mut().map_or(Poll::Ready(None), |ends| ends.poll(cx))).await
    }

    /// Takes a message for the client. It must be UTF-8 unless the transport is a raw
    /// WebSocket; other octets become U+FFFD.
    pub fn send(&mut self, message: &[u8]) {
        if let Some(ends) = &mut self.ends {
            ends.send(message);
        }
    }

    /// How many octets wait for the client: who sends unasked looks first.
    pub fn waiting_bytes(&self) -> usize {
        self.ends.as_ref().map_or(0, |ends| ends.queued_bytes)
    }

    /// Closes with a SockJS code and reason, after what waits; returns when the client has them
    /// or took too long, over a WebSocket when it has closed too. A raw WebSocket says 1000 for
    /// a code outside 3000..=4999.
    pub async fn close(mut self, code: u16, reason: &str) {
        if let Some(ends) = self.ends.take() {
            ends.part(code, reason).await;
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(ends), Some(parting)) = (self.ends.take(), self.parting.take())
            && !ends.is_gone()
        {
            // Without the task, its whole shard is gone.
            let _ = parting.send(ends);
        }
    }
}

/// The transport, and what waits for it.
struct Ends {
    io: Box<dyn MessageIo>,
    queue: VecDeque<Image>,
    queued_bytes: usize,
    is_blocked: bool,
    state: State,
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The farewell is in the queue, or the client closed.
    Over,
    /// The client broke the transport's rules; the farewell for that is in the queue.
    Violated,
    /// Nothing more can be written.
    Lost,
}

impl Ends {
    fn new(io: Box<dyn MessageIo>) -> Self {
        Self { io, queue: VecDeque::new(), queued_bytes: 0, is_blocked: false, state: State::Open, timer: None }
    }

    fn is_gone(&self) -> bool {
        self.state == State::Lost
    }

    fn send(&mut self, message: &[u8]) {
        if self.state == State::Open {
            let is_text = std::str::from_utf8(message).is_ok();
            self.push(self.io.framing().whole(message, is_text));
            self.flush();
        }
    }

    /// The farewell, unless the end has come already; then what waits, and the client's own end.
    async fn part(mut self, code: u16, reason: &str) {
        if self.state == State::Open {
            let websocket_code = if CODES_OF_APPLICATIONS.contains(&code) { code } else { 1000 };
            let close = Close { websocket_code, sockjs_code: code, reason: reason.into() };
            // What the transport says first, such as `o`, goes before the farewell.
            let _ = poll_fn(|cx| Poll::Ready(self.poll(cx))).await;
            if self.state == State::Open {
                self.io.farewell(&close, &mut self.queue);
                self.state = State::Over;
            }
        }
        let closing = async {
            poll_fn(|cx| self.poll_flushed(cx)).await;
            if self.state == State::Violated {
                self.io.close_our_side();
            }
            if WEBSOCKETS.contains(&self.io.transport()) {
                poll_fn(|cx| self.poll_peer_closed(cx)).await;
            }
        };
        let _ = tokio::time::timeout(LINGER, closing).await;
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.flush();
        // Over HTTP the session keeps what is left for the next receiver.
        while !self.is_gone() && self.poll_unblock(cx) {
            self.flush();
        }
        if self.is_gone() || self.queue.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// RFC 6455 section 7.1.1: a WebSocket's stream ends after both sides have closed. Ended
    /// before, the peer's close meets a reset, which may take the farewell with it.
    fn poll_peer_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.is_gone() {
            // Nothing follows our close frame: no echo of the peer's, no pong.
            if let Incoming::Ended(Ended::Closed | Ended::Finished | Ended::Lost(_)) = ready!(self.io.poll_read(cx)) {
                self.state = State::Lost;
            }
        }
        Poll::Ready(())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            self.flush();
            if self.state != State::Open {
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

    /// Answers whether there is news for [`Ends::flush`].
    fn poll_unblock(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.is_blocked {
            return false;
        }
        let Poll::Ready(ready) = self.io.poll_write_ready(cx) else { return false };
        self.is_blocked = false;
        if ready.is_err() {
            self.state = State::Lost;
        }
        true
    }

    fn on_incoming(&mut self, incoming: Incoming) -> Option<Bytes> {
        match incoming {
            Incoming::Octets(octets) => return Some(octets),
            Incoming::Reply(octets) => self.push(octets.into()),
            Incoming::Ended(ended) => {
                let state = match ended {
                    Ended::Violation { farewell, .. } => {
                        self.push(farewell.into());
                        State::Violated
                    }
                    Ended::Closed | Ended::Finished => State::Over,
                    Ended::Lost(_) => State::Lost,
                };
                self.flush();
                if self.state == State::Open {
                    self.state = state;
                }
            }
        }
        None
    }

    fn push(&mut self, image: Image) {
        self.queued_bytes += image.len();
        self.queue.push_back(image);
    }

    fn flush(&mut self) {
        if self.is_blocked || self.is_gone() || self.queue.is_empty() {
            return;
        }
        match self.io.try_write(&mut self.queue) {
            Ok(written) => self.is_blocked = written.is_blocked,
            Err(_) => self.state = State::Lost,
        }
        self.queued_bytes = self.queue.iter().map(Image::len).sum();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
    }
}

/// Beyond this, a client that only sends is not listened to.
const WAITING_BYTES: usize = 64 * 1024;

/// The SockJS code of a server that is done.
const GO_AWAY: u16 = 3000;

/// RFC 6455 section 7.4.2: what a program may say in a close frame.
const CODES_OF_APPLICATIONS: RangeInclusive<u16> = 3000..=4999;

/// The transports that end with a closing handshake.
const WEBSOCKETS: [&str; 2] = ["websocket", "raw-websocket"];

/// How long a farewell may take.
const LINGER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io;
    use std::rc::Rc;
    use std::task::Waker;

    use tokio::task::LocalSet;

    use super::*;
    use crate::message::{Framing, Plain};
    use crate::net::io::Written;

    #[test]
    fn a_dropped_websocket_says_farewell_and_waits_for_the_clients_close() {
        with_pretender(async |peer, socket| {
            drop(socket);
            settle().await;
            assert_eq!((peer.written(), peer.is_gone()), ("o,3000 Go away!".into(), false));
            peer.close();
            settle().await;
            assert!(peer.is_gone());
        });
    }

    #[test]
    fn a_client_that_does_not_close_is_waited_for_a_second() {
        with_pretender(async |peer, socket| {
            drop(socket);
            tokio::time::sleep(Duration::from_millis(999)).await;
            assert!(!peer.is_gone());
            tokio::time::sleep(Duration::from_millis(2)).await;
            assert!(peer.is_gone());
        });
    }

    #[test]
    fn a_client_that_broke_the_rules_is_told_so_before_the_stream_ends() {
        with_pretender(async |peer, mut socket| {
            peer.break_rules();
            assert_eq!(socket.recv().await, None);
            socket.send(b"too late");
            drop(socket);
            settle().await;
            assert_eq!((peer.written(), peer.is_gone()), ("o,broken".into(), false));
            assert!(peer.0.our_side_is_closed.get());
            peer.close();
            settle().await;
            assert!(peer.is_gone());
        });
    }

    /// What the other end of a pretended WebSocket sees and does.
    #[derive(Clone, Default)]
    struct Peer(Rc<Pretence>);

    #[derive(Default)]
    struct Pretence {
        written: RefCell<Vec<String>>,
        opened: Cell<bool>,
        incoming: RefCell<Option<Ended>>,
        reader: RefCell<Option<Waker>>,
        our_side_is_closed: Cell<bool>,
        is_gone: Cell<bool>,
    }

    impl Peer {
        fn written(&self) -> String {
            self.0.written.borrow().join(",")
        }

        fn is_gone(&self) -> bool {
            self.0.is_gone.get()
        }

        fn close(&self) {
            self.bring(Ended::Closed);
        }

        fn break_rules(&self) {
            self.bring(Ended::Violation {
                reason: String::new(),
                farewell: Bytes::from_static(b"broken"),
                limit: None,
            });
        }

        fn bring(&self, ended: Ended) {
            *self.0.incoming.borrow_mut() = Some(ended);
            if let Some(reader) = self.0.reader.take() {
                reader.wake();
            }
        }
    }

    struct Pretender(Peer);

    impl MessageIo for Pretender {
        fn framing(&self) -> &'static dyn Framing {
            &Plain
        }

        fn transport(&self) -> &'static str {
            "websocket"
        }

        fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
            let text = |image: Image| String::from_utf8_lossy(&image.head).into_owned();
            self.0.0.written.borrow_mut().extend(queue.drain(..).map(text));
            Ok(Written { bytes: 1, is_blocked: false, is_cut: false })
        }

        fn poll_write_ready(&self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming> {
            if !self.0.0.opened.replace(true) {
                return Poll::Ready(Incoming::Reply(Bytes::from_static(b"o")));
            }
            if let Some(ended) = self.0.0.incoming.take() {
                return Poll::Ready(Incoming::Ended(ended));
            }
            *self.0.0.reader.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        }

        fn close_our_side(&self) {
            self.0.0.our_side_is_closed.set(true);
        }

        fn farewell(&self, close: &Close, queue: &mut VecDeque<Image>) {
            queue.push_back(Bytes::from(format!("{} {}", close.sockjs_code, close.reason)).into());
        }
    }

    impl Drop for Pretender {
        fn drop(&mut self) {
            self.0.0.is_gone.set(true);
        }
    }

    fn with_pretender(script: impl AsyncFnOnce(Peer, Socket)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let peer = Peer::default();
            let socket = Socket::new(Box::new(Pretender(peer.clone())));
            script(peer, socket).await;
        });
    }

    async fn settle() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}
