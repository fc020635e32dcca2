//! [`HttpIo`]: a stream as hyper reads and writes it, and [`Activity`], what it shows of itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;

use crate::net::stream::Stream;

/// A stream as hyper reads and writes it.
pub(super) struct HttpIo {
    stream: Stream,
    /// What was decrypted and did not fit into hyper's buffer.
    ahead: BytesMut,
    activity: Arc<Activity>,
}

impl HttpIo {
    pub(super) fn new(stream: Stream, activity: Arc<Activity>) -> Self {
        Self { stream, ahead: BytesMut::new(), activity }
    }

    /// The stream, and what was read beyond what hyper had of it.
    pub(super) fn into_parts(self) -> (Stream, Bytes) {
        (self.stream, self.ahead.freeze())
    }
}

impl Read for HttpIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, ahead, activity } = &mut *self;
        if let Some(socket) = stream.plain_socket() {
            return Pin::new(&mut TokioIo::new(socket)).poll_read(cx, buffer);
        }
        if ahead.is_empty() {
            ready!(stream.poll_read(cx, |octets| {
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
        let written = self.stream.poll_write_slices(cx, slices);
        self.activity.is_blocked.store(written.is_pending(), Ordering::Relaxed);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.stream.poll_flush(cx);
        self.activity.is_blocked.store(flushed.is_pending(), Ordering::Relaxed);
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.stream.poll_flush(cx))?;
        self.stream.close_our_side();
        Poll::Ready(Ok(()))
    }
}

/// What a connection is doing. Atomic only because hyper wants its streams to be `Send`.
#[derive(Debug, Default)]
pub(super) struct Activity {
    requests: AtomicUsize,
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
    }
}
