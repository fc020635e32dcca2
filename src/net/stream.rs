//! What the transports over a TCP stream share: one read buffer a shard, vectored writes, and
//! [`Stream`], for those that may be spoken over TLS.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use socket2::SockRef;
use tokio::net::TcpStream;

use super::io::Written;
use super::tls::{Identity, TlsStream};
use crate::message::Image;

/// A socket, with TLS or without.
#[derive(Debug)]
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Speaks TLS if there is an identity to show.
    ///
    /// # Errors
    /// As [`TlsStream::new`].
    pub(super) fn new(socket: TcpStream, identity: Option<&Identity>) -> io::Result<Self> {
        Ok(match identity {
            None => Self::Plain(socket),
            Some(identity) => Self::Tls(Box::new(TlsStream::new(socket, identity)?)),
        })
    }

    /// Whether TLS is spoken here.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether TLS is spoken here, but not by the peer, as its first octets showed. It can be
    /// told so; nothing else may be done for it.
    pub(super) fn lacks_tls(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.is_plain())
    }

    /// As [`poll_read`]; with TLS, a violation of it is [`io::ErrorKind::InvalidData`].
    pub(super) fn poll_read<T>(&self, cx: &mut Context<'_>, take: impl FnOnce(&mut [u8]) -> T) -> Poll<io::Result<T>> {
        match self {
            Self::Plain(socket) => poll_read(socket, cx, take),
            Self::Tls(stream) => stream.poll_read(cx, take),
        }
    }

    /// As [`try_write`]; with TLS, an empty queue may leave it blocked.
    pub(super) fn try_write(&self, queue: &mut VecDeque<Image>) -> io::Result<Written> {
        match self {
            Self::Plain(socket) => try_write(socket, queue),
            Self::Tls(stream) => stream.try_write(queue),
        }
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_write_ready(cx),
            Self::Tls(stream) => stream.poll_write_ready(cx),
        }
    }

    /// Says that nothing more comes, behind all that was taken already.
    pub(super) fn close_our_side(&self) {
        match self {
            Self::Plain(socket) => {
                // Nothing is left to be done if the peer is gone, too.
                let _ = SockRef::from(socket).shutdown(Shutdown::Write);
            }
            Self::Tls(stream) => stream.close_our_side(),
        }
    }
}

/// Reads what is there into the shard's buffer and shows it to `take`; 0 octets are the end.
pub(super) fn poll_read<T>(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    take: impl FnOnce(&mut [u8]) -> T,
) -> Poll<io::Result<T>> {
    READ_BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(READ_BUFFER_BYTES, 0);
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read(buffer) {
                Ok(count) => return Poll::Ready(Ok(take(&mut buffer[..count]))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    })
}

/// Writes from the front of `queue` with as few calls as it takes.
pub(super) fn try_write(stream: &TcpStream, queue: &mut VecDeque<Image>) -> io::Result<Written> {
    let mut bytes = 0;
    while !queue.is_empty() {
        match with_slices(queue, |slices| stream.try_write_vectored(slices)) {
            Ok(written) => {
                bytes += written;
                advance(queue, written);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written { bytes, is_blocked: true }),
            Err(error) => return Err(error),
        }
    }
    Ok(Written { bytes, is_blocked: false })
}

/// Shows the front of `queue` as a vectored write wants it.
pub(super) fn with_slices<T>(queue: &VecDeque<Image>, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
    let mut slices = [IoSlice::new(&[]); MAX_SLICES];
    let mut count = 0;
    for (pair, image) in slices.chunks_exact_mut(2).zip(queue.iter()) {
        pair[0] = IoSlice::new(&image.head);
        pair[1] = IoSlice::new(&image.tail);
        count += 2;
    }
    write(&slices[..count])
}

/// Takes off what was written, and images that are empty.
pub(super) fn advance(queue: &mut VecDeque<Image>, mut written: usize) {
    while let Some(front) = queue.front_mut() {
        if front.len() > written {
            let of_head = written.min(front.head.len());
            front.head.advance(of_head);
            front.tail.advance(written - of_head);
            return;
        }
        written -= front.len();
        queue.pop_front();
    }
}

/// Linux takes 1024 at most; beyond some dozens a longer call saves nothing.
const MAX_SLICES: usize = 64;

const READ_BUFFER_BYTES: usize = 64 * 1024;

thread_local! {
    /// One read buffer for all connections of a shard: between two reads none keeps anything.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_partial_write_leaves_the_rest_in_order() {
        let image = |head, tail| Image { head: Bytes::from_static(head), tail: Bytes::from_static(tail) };
        let mut queue = VecDeque::from([image(b"abc", b""), image(b"", b""), image(b"de", b"fgh")]);
        advance(&mut queue, 4);
        assert_eq!(queue, [image(b"e", b"fgh")]);
        advance(&mut queue, 2);
        assert_eq!(queue, [image(b"", b"gh")]);
        advance(&mut queue, 2);
        assert!(queue.is_empty());
    }
}
