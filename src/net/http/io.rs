//! [`HttpIo`]: a stream as hyper reads and writes it, and [`Activity`], what it shows of itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};

use super::lane::{Lane, Shortcut};
use crate::net::limits::Seat;
use crate::net::stream::{self, Stream};

/// A stream as hyper reads and writes it.
pub(super) struct HttpIo {
    kind: Kind,
    /// What was decrypted and did not fit into hyper's buffer.
    ahead: BytesMut,
    activity: Arc<Activity>,
    /// Of a plain socket; TLS has its own.
    seat: Option<Seat>,
}

enum Kind {
    Plain(Arc<Lane>),
    Tls(Stream),
}

impl HttpIo {
    pub(super) fn new(stream: Stream, activity: Arc<Activity>) -> Self {
        let (kind, seat) = match stream.into_plain() {
            Ok((socket, seat)) => (Kind::Plain(Lane::new(socket)), seat),
            Err(stream) => (Kind::Tls(stream), None),
        };
        Self { kind, ahead: BytesMut::new(), activity, seat }
    }

    /// The way past hyper, where no TLS is in between.
    pub(super) fn shortcut(&self) -> Option<Shortcut> {
        match &self.kind {
            Kind::Plain(lane) => Some(Shortcut::new(lane)),
            Kind::Tls(_) => None,
        }
    }

    /// The stream, and what was read beyond what hyper had of it; none while a response is still
    /// being written past hyper, which the end of the response rules out.
    pub(super) fn into_parts(self) -> Option<(Stream, Bytes)> {
        let stream = match self.kind {
            Kind::Plain(lane) => Stream::plain(lane.into_socket()?, self.seat),
            Kind::Tls(stream) => stream,
        };
        Some((stream, self.ahead.freeze()))
    }
}

impl Read for HttpIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { kind, ahead, activity, .. } = &mut *self;
        let stream = match kind {
            Kind::Plain(lane) => {
                return stream::poll_read_most(&lane.socket, cx, buffer.remaining(), |octets| {
                    activity.hear();
                    buffer.put_slice(octets);
                });
            }
            Kind::Tls(stream) => stream,
        };
        if ahead.is_empty() {
            ready!(stream.poll_read(cx, |octets| {
                activity.hear();
                let fits = octets.len().min(buffer.remaining());
                buffer.put_slice(&octets[..fits]);
                ahead.extend_from_slice(&octets[fits..]);
            }))?;
            activity.lacks_tls.store(stream.lacks_tls(), Ordering::Relaxed);
            activity.subject.get_or_init(|| stream.subject());
            return Poll::Ready(Ok(()));
        }
        let fits = ahead.len().min(buffer.remaining());
        buffer.put_slice(&ahead[..fits]);
        ahead.advance(fits);
        if ahead.is_empty() {
            *ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for HttpIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(octets)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &self.kind {
            Kind::Plain(lane) => stream::poll_write_slices(&lane.socket, cx, slices),
            Kind::Tls(stream) => stream.poll_write_slices(cx, slices),
        };
        self.activity.is_blocked.store(written.is_pending(), Ordering::Relaxed);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = match &self.kind {
            Kind::Plain(lane) => {
                lane.on_flushed();
                Poll::Ready(Ok(()))
            }
            Kind::Tls(stream) => stream.poll_flush(cx),
        };
        self.activity.is_blocked.store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Plain(lane) => stream::close_our_side(&lane.socket),
            Kind::Tls(stream) => {
                ready!(stream.poll_flush(cx))?;
                stream.close_our_side();
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What a connection is doing. Atomic only because hyper wants its streams to be `Send`.
#[derive(Debug, Default)]
pub(super) struct Activity {
    requests: AtomicUsize,
    /// Whether all that came was a request that is answered.
    is_answered: AtomicBool,
    is_blocked: AtomicBool,
    lacks_tls: AtomicBool,
    subject: OnceLock<Option<Arc<str>>>,
}

impl Activity {
    /// Notes a request whose head is complete, until the answer is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Notes octets that came.
    fn hear(&self) {
        self.is_answered.store(false, Ordering::Relaxed);
    }

    /// Whether a peer that is waited for has begun a head, or never sent one: one that kept its
    /// connection for another request owes none.
    pub(super) fn owes_head(&self) -> bool {
        !self.is_answered.load(Ordering::Relaxed)
    }

    /// Whether no request is under way and no octets of an answer wait for the socket: what may
    /// be there is the beginning of a head.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Relaxed) == 0 && !self.is_blocked.load(Ordering::Relaxed)
    }

    /// Whom the certificate names that the client showed in TLS.
    pub(super) fn subject(&self) -> Option<Arc<str>> {
        self.subject.get().cloned().flatten()
    }

    /// Whether the peer speaks plain HTTP where TLS is spoken.
    pub(super) fn lacks_tls(&self) -> bool {
        self.lacks_tls.load(Ordering::Relaxed)
    }
}

/// A request that is under way.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
        self.0.is_answered.store(true, Ordering::Relaxed);
    }
}
