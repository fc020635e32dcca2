//! The body of a response that receives frames: one end writes on the session's shard, the
//! other is read by the HTTP connection, perhaps on another.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::net::http::Shortcut;
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

/// Makes the two ends of a response; with a shortcut, what the socket takes at once does not go
/// through the other end.
pub fn pipe(shortcut: Option<Shortcut>) -> (Writer, Reader) {
    let pipe = Arc::new(Mutex::new(Pipe { shortcut, ..Pipe::default() }));
    (Writer(Arc::clone(&pipe)), Reader(pipe))
}

#[derive(Default)]
struct Pipe {
    shortcut: Option<Shortcut>,
    /// What the socket did not take of a chunk that was written past hyper; goes before `pieces`.
    rest: Octets,
    /// Whether some of that chunk has left.
    is_begun: bool,
    pieces: VecDeque<Octets>,
    /// Whether octets were taken since the writer last looked.
    has_progress: bool,
    has_ended: bool,
    reader_is_gone: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The session's end.
#[derive(Debug)]
pub struct Writer(Arc<Mutex<Pipe>>);

/// What became of what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Some of it waits.
    Waiting {
        /// Whether octets were taken since the last look.
        has_progress: bool,
    },
    /// The connection has taken all of it.
    Taken,
    /// The response is over: after its end, or before it.
    Over {
        /// Whether octets were left, or the end had not come.
        aborted: bool,
    },
}

impl Writer {
    /// Adds octets, and answers whether the connection has taken them already. What bounds them
    /// is the session, which gives more only after that, or after [`Flow::Taken`].
    pub fn write(&self, octets: Octets) -> bool {
        let mut pipe = lock(&self.0);
        let is_empty = pipe.rest.is_empty() && pipe.pieces.is_empty();
        match pipe.shortcut.as_ref().filter(|shortcut| is_empty && shortcut.is_open()) {
            Some(shortcut) => {
                let mut chunk = octets.into_chunk();
                let whole = chunk.len();
                // That the connection broke is what its own task finds out.
                let _ = shortcut.try_write(&mut chunk);
                if chunk.is_empty() {
                    return true;
                }
                pipe.is_begun = chunk.len() < whole;
                pipe.rest = chunk;
            }
            None => pipe.pieces.push_back(octets),
        }
        wake(pipe.reader.take(), pipe);
        false
    }

    /// Adds octets and ends the response after them.
    pub(super) fn write_last(&self, octets: Octets) {
        let mut pipe = lock(&self.0);
        pipe.pieces.push_back(octets);
        pipe.has_ended = true;
        wake(pipe.reader.take(), pipe);
    }

    /// Takes back what has not begun to leave.
    pub fn withdraw(&self) {
        let mut pipe = lock(&self.0);
        pipe.pieces = VecDeque::new();
        if !pipe.is_begun {
            pipe.rest = Octets::default();
        }
        wake(pipe.writer.take(), pipe);
    }

    /// Ends the response after what was written.
    pub fn end(&self) {
        let mut pipe = lock(&self.0);
        pipe.has_ended = true;
        wake(pipe.reader.take(), pipe);
    }

    /// Whether the connection has taken all of it, and still does.
    pub fn is_taken(&self) -> bool {
        let pipe = lock(&self.0);
        pipe.rest.is_empty() && pipe.pieces.is_empty() && !pipe.reader_is_gone
    }

    /// How far the connection got; the task is woken when that changes.
    pub fn poll_flow(&self, cx: &Context<'_>) -> Flow {
        let mut pipe = lock(&self.0);
        let is_empty = pipe.rest.is_empty() && pipe.pieces.is_empty();
        if pipe.reader_is_gone {
            return Flow::Over { aborted: !pipe.has_ended || !is_empty };
        }
        pipe.writer = Some(cx.waker().clone());
        let has_progress = std::mem::take(&mut pipe.has_progress);
        if is_empty { Flow::Taken } else { Flow::Waiting { has_progress } }
    }
}

/// The connection's end.
#[derive(Debug)]
pub struct Reader(Arc<Mutex<Pipe>>);

impl Pipe {
    fn hold_shortcut(&self) {
        if let Some(shortcut) = &self.shortcut {
            shortcut.hold();
        }
    }
}

impl std::fmt::Debug for Pipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} pieces", self.pieces.len())
    }
}

impl Reader {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Octets>> {
        let mut pipe = lock(&self.0);
        let Pipe { shortcut, rest, is_begun, has_progress, .. } = &mut *pipe;
        let mut is_blocked = false;
        if let Some(shortcut) = shortcut
            && !rest.is_empty()
        {
            let before = rest.len();
            match shortcut.poll_write(cx, rest) {
                Poll::Ready(Ok(())) => *rest = Octets::default(),
                // hyper notices, too: the writer sees a response that ended with a rest.
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => is_blocked = true,
            }
            if rest.len() < before {
                (*is_begun, *has_progress) = (true, true);
                if let Some(writer) = pipe.writer.take() {
                    writer.wake();
                }
            }
        }
        let piece = if is_blocked { None } else { pipe.pieces.pop_front() };
        let Some(piece) = piece else {
            if pipe.has_ended && !is_blocked {
                pipe.hold_shortcut();
                return Poll::Ready(None);
            }
            if let (Some(shortcut), false) = (&pipe.shortcut, is_blocked) {
                shortcut.settle();
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        pipe.hold_shortcut();
        pipe.has_progress = true;
        if pipe.pieces.is_empty() {
            pipe.pieces = VecDeque::new();
        }
        wake(pipe.writer.take(), pipe);
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

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn of_what_is_taken_back_only_what_the_connection_has_taken_leaves() {
        let (writer, reader) = pipe(None);
        let mut cx = Context::from_waker(Waker::noop());
        for text in ["taken", "taken back"] {
            writer.write([Bytes::from_static(text.as_bytes())].into_iter().collect());
        }
        assert!(matches!(reader.poll(&mut cx), Poll::Ready(Some(octets)) if octets.len() == "taken".len()));
        writer.withdraw();
        assert!(reader.poll(&mut cx).is_pending() && writer.is_taken());
        writer.write_last([Bytes::from_static(b"last")].into_iter().collect());
        assert!(matches!(reader.poll(&mut cx), Poll::Ready(Some(octets)) if octets.len() == "last".len()));
        assert!(matches!(reader.poll(&mut cx), Poll::Ready(None)));
    }

    #[tokio::test]
    async fn a_chunk_is_taken_back_if_the_socket_was_full_and_finished_if_a_part_of_it_has_left() {
        for is_full in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (socket, _) = listener.accept().await.unwrap();
            let mut filled = 0;
            socket.writable().await.unwrap();
            while is_full && let Ok(count) = socket.try_write(&[b'.'; 65_536]) {
                filled += count;
            }
            let (lane, shortcut) = Shortcut::of(socket);
            let (writer, reader) = pipe(Some(shortcut));
            let chunk = Bytes::from(vec![b'x'; 32 << 20]);
            assert!(!writer.write([chunk].into_iter().collect()));
            writer.withdraw();
            assert_eq!(writer.is_taken(), is_full);
            let read = tokio::spawn(async move {
                let mut octets = Vec::new();
                client.read_to_end(&mut octets).await.unwrap();
                octets
            });
            writer.end();
            std::future::poll_fn(|cx| reader.poll(cx).map(drop)).await;
            drop(lane);
            let chunk = if is_full { 0 } else { (32 << 20) + "2000000\r\n\r\n".len() };
            assert_eq!(read.await.unwrap().len(), filled + chunk);
        }
    }
}
