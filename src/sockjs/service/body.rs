//! The body of a response that receives frames: one end writes on the session's shard, the
//! other is read by the HTTP connection, perhaps on another.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::sockjs::octets::Octets;

/// The body of a response.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Frames as they come, each a piece of its own.
    Frames(Reader),
}

impl http_body::Body for Body {
    type Data = Octets;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Octets>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(octets) if octets.is_empty() => Poll::Ready(None),
            Self::Whole(octets) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(octets).into())))),
            Self::Frames(reader) => reader.poll(cx).map(|octets| octets.map(|octets| Ok(Frame::data(octets)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(octets) if octets.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(octets) => SizeHint::with_exact(octets.len() as u64),
            Self::Frames(_) => SizeHint::default(),
        }
    }
}

/// Makes the two ends.
pub(super) fn pipe() -> (Writer, Reader) {
    let pipe = Arc::new(Mutex::new(Pipe::default()));
    (Writer(Arc::clone(&pipe)), Reader(pipe))
}

#[derive(Default)]
struct Pipe {
    pieces: VecDeque<Octets>,
    has_ended: bool,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The session's end.
pub(super) struct Writer(Arc<Mutex<Pipe>>);

/// What became of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Some of it waits.
    Waiting,
    /// The connection has taken all of it.
    Taken,
    /// The response is over: after its end, or before it.
    Over {
        /// Whether octets were left, or the end had not come.
        aborted: bool,
    },
}

impl Writer {
    /// Adds octets. What bounds them is the session, which gives more only after
    /// [`Flow::Taken`].
    pub(super) fn write(&self, octets: Octets) {
        let mut pipe = lock(&self.0);
        pipe.pieces.push_back(octets);
        wake(pipe.reader.take(), pipe);
    }

    /// Ends the response after what was written.
    pub(super) fn end(&self) {
        let mut pipe = lock(&self.0);
        pipe.has_ended = true;
        wake(pipe.reader.take(), pipe);
    }

    /// How far the connection got; the task is woken when that changes.
    pub(super) fn poll_flow(&self, cx: &Context<'_>) -> Flow {
        let mut pipe = lock(&self.0);
        if pipe.reader_is_gone {
            return Flow::Over { aborted: !pipe.has_ended || !pipe.pieces.is_empty() };
        }
        pipe.writer = Some(cx.waker().clone());
        if pipe.pieces.is_empty() { Flow::Taken } else { Flow::Waiting }
    }
}

/// The connection's end.
#[derive(Debug)]
pub struct Reader(Arc<Mutex<Pipe>>);

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pieces", self.pieces.len())
    }
}

impl Reader {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Octets>> {
        let mut pipe = lock(&self.0);
        let Some(piece) = pipe.pieces.pop_front() else {
            if pipe.has_ended {
                return Poll::Ready(None);
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if pipe.pieces.is_empty() {
            pipe.pieces = VecDeque::new();
            wake(pipe.writer.take(), pipe);
        }
        Poll::Ready(Some(piece))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut pipe = lock(&self.0);
        pipe.reader_is_gone = true;
        wake(pipe.writer.take(), pipe);
    }
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes after the lock is released: the other thread would wait for it at once.
fn wake(waker: Option<Waker>, pipe: MutexGuard<'_, Pipe>) {
    drop(pipe);
    if let Some(waker) = waker {
        waker.wake();
    }
}
