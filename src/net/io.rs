//! [`MessageIo`]: what a transport is to the task that drives a session.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use crate::message::{Framing, Image};

/// A transport that carries messages both ways.
///
/// All of one shard and one thread, hence `&self` throughout: the shard writes to the socket
/// directly while the connection's own task waits for it to become readable.
pub trait MessageIo {
    /// How octets are wrapped before they are written.
    fn framing(&self) -> &'static dyn Framing;

    /// The transport's name for logs and counters, as SockJS names it.
    fn transport(&self) -> &'static str;

    /// Whom the certificate names that the client showed in TLS; `None` without one.
    fn subject(&self) -> Option<Arc<str>> {
        None
    }

    /// Writes from the front of `queue` what the peer takes now, and removes that; never waits.
    ///
    /// # Errors
    /// The transport is gone.
    fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written>;

    /// As [`MessageIo::try_write`], for one image with nothing in front of it: what is left of
    /// it is what the peer did not take.
    ///
    /// # Errors
    /// The transport is gone.
    fn try_write_one(&self, image: &mut Image) -> io::Result<Written> {
        let mut queue = VecDeque::from([std::mem::take(image)]);
        let written = self.try_write(&mut queue)?;
        *image = queue.pop_front().unwrap_or_default();
        Ok(written)
    }

    /// Takes back what was taken by [`MessageIo::try_write`] and has not begun to leave, where
    /// the transport itself keeps such.
    fn withdraw(&self) {}

    /// Ready when [`MessageIo::try_write`] may get on after it was blocked.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer can send anything at all.
    fn is_two_way(&self) -> bool {
        true
    }

    /// The next thing the peer sent.
    fn poll_read(&self, cx: &mut Context<'_>) -> Poll<Incoming>;

    /// Whether it has octets of the peer's that wait for others: that nothing more is read
    /// meanwhile is not the peer's silence.
    fn is_behind(&self) -> bool {
        false
    }

    /// When [`MessageIo::handle_timeout`] is due.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Does what is due: octets to write, wrapped already, or the end.
    fn handle_timeout(&self, _now: Instant) -> Option<Incoming> {
        None
    }

    /// Adds the transport's own farewell to `queue`, or takes what is left of `queue` and says
    /// farewell itself; what the peer sends from now on counts only as far as it closes.
    fn farewell(&self, close: &Close, queue: &mut VecDeque<Image>);

    /// Says that nothing more comes, after all that was written: the peer of a broken
    /// conversation need not wait to be left.
    fn close_our_side(&self) {}
}

/// What one [`MessageIo::try_write`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Octets that left.
    pub bytes: usize,
    /// Whether some of the queue is still there because the peer takes no more now.
    pub is_blocked: bool,
    /// Whether some of those octets were of the image that is now the front of the queue.
    pub is_cut: bool,
}

/// What came from the peer.
#[derive(Debug)]
pub enum Incoming {
    /// Octets for the session.
    Octets(Bytes),
    /// The transport's own answer, to be written after what is being written already.
    Reply(Bytes),
    /// The peer closed, or the transport broke; nothing more comes.
    Ended(Ended),
}

/// How a transport came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The peer closed, as it should.
    Closed,
    /// The peer sends no more; it may still read what it is answered.
    Finished,
    /// The transport broke.
    Lost(io::ErrorKind),
    /// The peer broke the transport's rules; the octets say so to it and go last.
    Violation {
        /// What was wrong.
        reason: String,
        /// The transport's farewell, wrapped already.
        farewell: Bytes,
        /// The limit that it went beyond, if it was one.
        limit: Option<&'static str>,
    },
}

/// Why the server closes, in the words of each transport.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// The WebSocket close code.
    pub websocket_code: u16,
    /// The SockJS close code.
    pub sockjs_code: u16,
    /// The reason, short.
    pub reason: String,
}
